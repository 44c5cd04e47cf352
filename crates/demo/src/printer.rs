//! Prints the rows of the demo, and counts those that did not come out as expected.

use doorward_terminal::{outln, style};
use serde_json::json;

use crate::{DONE, Outcome};

/// Prints headings and rows, and counts unexpected results.
pub(super) struct Printer {
    pub(super) json: bool,
    pub(super) unexpected: usize,
}

impl Printer {
    pub(super) fn heading(&self, text: &str) {
        if !self.json {
            outln!("\n{}", style::bold(text));
        }
    }

    pub(super) fn row(
        &mut self,
        who: &str,
        operation: &str,
        link: &str,
        result: &Outcome,
        expected: &str,
    ) {
        let as_expected = result.code == expected;
        self.unexpected += usize::from(!as_expected);
        if self.json {
            outln!(
                "{}",
                json!({
                    "who": who, "operation": operation, "link": link,
                    "decision": result.decision, "code": result.code,
                    "took_ms": result.took.as_secs_f64() * 1000.0,
                    "as_expected": as_expected,
                })
            );
            return;
        }
        let decision = format!("{:<11}", result.decision);
        let decision = if result.decision == DONE {
            style::green(&decision)
        } else {
            style::red(&decision)
        };
        let code = if result.code == DONE {
            ""
        } else {
            &result.code
        };
        outln!(
            "  {who:<12} {operation:<14} {link:<6} {decision} {code:<13} {:>7.1} ms{}",
            result.took.as_secs_f64() * 1000.0,
            if as_expected {
                String::new()
            } else {
                format!("  EXPECTED {expected}")
            }
        );
    }

    pub(super) fn check(&mut self, holds: bool, text: &str) {
        self.unexpected += usize::from(!holds);
        if self.json {
            outln!("{}", json!({ "check": text, "holds": holds }));
        } else if holds {
            outln!("  {} {text}", style::green("ok"));
        } else {
            outln!("  {} {text}", style::red("FAILED:"));
        }
    }
}

impl Printer {
    pub(super) fn column_names(&self) {
        if !self.json {
            let names = format!(
                "  {:<12} {:<14} {:<6} {:<11} {:<13} {:>10}",
                "who", "operation", "link", "decision", "code", "time taken"
            );
            outln!("{}", style::dim(&names));
        }
    }
}
