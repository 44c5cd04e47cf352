//! `docs/threats.md`: every attack has a rule and an existing test.

use crate::names;

use std::path::Path;

#[test]
fn every_attack_has_a_rule_and_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = names::of_all_tests();
    let page = std::fs::read_to_string(root.join("docs/threats.md")).unwrap();
    let mut number = 0;
    for line in page.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Some(Ok(row)) = cells.get(1).map(|cell| cell.parse::<u32>()) else {
            continue;
        };
        number += 1;
        assert_eq!(row, number, "rows are numbered one by one");
        assert_eq!(cells.len(), 6, "four cells: {line}");
        assert!(
            cells[2].len() > 10 && cells[3].len() > 10,
            "an empty cell: {line}"
        );
        let tests: Vec<&str> = cells[4]
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| !name.starts_with("fuzz: "))
            .collect();
        assert!(!tests.is_empty(), "no test: {line}");
        for test in tests {
            assert!(
                names.contains(test),
                "row {row} names {test}, which does not exist"
            );
        }
        for target in cells[4].split("`fuzz: ").skip(1) {
            let target = target.split('`').next().unwrap();
            let path = root
                .join("fuzz/fuzz_targets")
                .join(target)
                .with_extension("rs");
            assert!(path.exists(), "row {row} names the fuzz target {target}");
        }
    }
    assert!(number >= 45, "{number} attacks");
}
