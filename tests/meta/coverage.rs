//! `docs/coverage.md` has a row for every requirement, and every test is in its row.

use crate::names;

use std::collections::BTreeMap;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rules_of(test: &str) -> Vec<String> {
    test.split('_')
        .map_while(|part| {
            let (kind, number) = part.split_at_checked(1)?;
            let number: u32 = number.parse().ok().filter(|_| number.len() == 2)?;
            matches!(kind, "s" | "n").then(|| format!("{}{number}", kind.to_uppercase()))
        })
        .collect()
}

fn table() -> BTreeMap<String, Vec<String>> {
    let page = std::fs::read_to_string(root().join("docs/coverage.md")).unwrap();
    let rows = page.lines().filter_map(|line| {
        let (rule, tests) = line.strip_prefix("| ")?.split_once(" | ")?;
        let rule = rule.starts_with(['S', 'N']).then(|| rule.to_owned())?;
        let names = tests.split('`').skip(1).step_by(2).map(str::to_owned);
        Some((rule, names.collect()))
    });
    rows.collect()
}

#[test]
fn every_rule_has_a_test_and_every_test_its_row() {
    let (tests, table) = (names::of_all_tests(), table());
    let promises = [
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25,
        26, 27, 28, 29,
    ];
    let rules = (1..=65).map(|n| ('S', n)).chain(promises.map(|n| ('N', n)));
    for (kind, number) in rules {
        let rule = format!("{kind}{number}");
        let named = table
            .get(&rule)
            .unwrap_or_else(|| panic!("{rule} has no row"));
        assert!(!named.is_empty(), "{rule}");
    }
    for (rule, named) in &table {
        for test in named {
            assert!(
                tests.contains(test),
                "{rule} names {test}, which does not exist"
            );
        }
    }
    for test in &tests {
        for rule in rules_of(test) {
            let row = table.get(&rule);
            assert!(
                row.is_some_and(|row| row.contains(test)),
                "{test} is missing at {rule}"
            );
        }
    }
    assert!(
        tests
            .iter()
            .filter(|test| !rules_of(test).is_empty())
            .count()
            > 50
    );
}
