//! Fields of CSV tables.

/// Returns a field of a CSV table, quoted where RFC 4180 (section 2) requires it.
///
/// A text that a spreadsheet would evaluate as a formula gets a leading `'`, so that it is shown as
/// text.
#[must_use]
pub fn csv_field(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let field = format!("{}{text}", if is_formula { "'" } else { "" });
    match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_one_field_and_never_a_formula() {
        for (text, field) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("a,\"b\"", "\"a,\"\"b\"\"\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "'=1+1"),
            ("@x", "'@x"),
            ("-2,3", "\"'-2,3\""),
            ("\tx", "'\tx"),
            ("\r=1", "\"'\r=1\""),
        ] {
            assert_eq!(csv_field(text), field, "{text:?}");
        }
    }
}
