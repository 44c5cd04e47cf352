//! Hostile text inputs for handlers.

/// Texts that cause harm if a program interprets them instead of passing them on.
pub fn hostile() -> Vec<String> {
    let seeds = [
        "; reboot",
        "$(reboot)",
        "`reboot`",
        "| reboot",
        "& reboot",
        "&& reboot",
        "> /etc/passwd",
        "\" FSD ups \"",
        "\\",
        "\"",
        "'",
        "\\\"",
        "\" ; INSTCMD ups load.off",
        "$HOME",
        "${IFS}",
        "%s%n",
        "%00",
        "../../etc/shadow",
        "/etc/shadow",
        "{value}",
        "{{value}}",
        "*",
        "?",
        "~root",
        "!!",
        "#",
        "\u{202e}gpj",
        "é\u{301}",
        "\u{feff}",
        "-rf",
        "--help",
        "-",
        "a\nFSD ups",
        "a\r\nINSTCMD ups load.off",
        "a\0b",
        "\u{1b}[2J",
        "\t",
        "\u{7f}",
        "a\u{85}b",
        "\\x41",
    ];
    let wrapped = seeds.iter().flat_map(|seed| {
        [
            (*seed).to_owned(),
            format!("x{seed}"),
            format!("{seed}x"),
            format!("x {seed} x"),
            seed.repeat(5),
        ]
    });
    wrapped.collect()
}
