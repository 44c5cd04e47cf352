//! QR codes on the terminal, to be scanned by a camera.

use std::io::IsTerminal;

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

/// Prints a text as QR code, if standard output is a terminal and the text fits into one.
pub fn show(text: &str) {
    if std::io::stdout().is_terminal()
        && let Some(picture) = picture(text)
    {
        crate::outln!("{picture}");
    }
}

/// Black on white, independent of the terminal's colours: cameras need this.
fn picture(text: &str) -> Option<String> {
    let code = QrCode::new(text).ok()?;
    let plain = code.render::<Dense1x2>().build();
    let lines = plain
        .lines()
        .map(|line| format!("{BLACK_ON_WHITE}{line}{RESET}"));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
const RESET: &str = "\x1b[0m";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_fits_on_a_terminal_of_80_columns() {
        let claim = doorward_protocol::wire::Claim {
            device: doorward_protocol::wire::Id::new("ups-7.rack-12.example.org").unwrap(),
            key: doorward_protocol::wire::Bytes([255; 32]),
            secret: "XXXX-XXXX-XXXX-XXXX".into(),
        };
        let picture = picture(&claim.to_string()).unwrap();
        for line in picture.lines() {
            let line = line.strip_prefix(BLACK_ON_WHITE).unwrap();
            let line = line.strip_suffix(RESET).unwrap();
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn what_no_code_can_hold_is_not_shown() {
        assert_eq!(picture(&"x".repeat(4000)), None);
    }
}
