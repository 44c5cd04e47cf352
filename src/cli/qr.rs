//! What is to be held up to a camera.

use std::io::IsTerminal;

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

/// Shows a text as QR code, if people look on and it is not too long for one.
pub(super) fn show(text: &str) {
    if std::io::stdout().is_terminal()
        && let Some(picture) = picture(text)
    {
        println!("{picture}");
    }
}

/// Dark on light, whatever the terminal's colours: cameras want it so.
fn picture(text: &str) -> Option<String> {
    let code = QrCode::new(text).ok()?;
    let mut picture = code.render::<Dense1x2>();
    picture
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark);
    Some(picture.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_fits_on_a_terminal_of_80_columns() {
        let claim = crate::wire::Claim {
            device: crate::wire::Id::new("ups-7.rack-12.example.org").unwrap(),
            key: crate::wire::Bytes([255; 32]),
            secret: "XXXX-XXXX-XXXX-XXXX".into(),
        };
        let picture = picture(&claim.to_string()).unwrap();
        assert!(picture.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn what_no_code_can_hold_is_not_shown() {
        assert_eq!(picture(&"x".repeat(4000)), None);
    }
}
