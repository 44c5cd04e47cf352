//! TLS to upsd: Debian's upsd with NSS.

use std::path::Path;
use std::process::Command;

use super::powered::{OPERATIONS, Powered, SIMULATED};
use doorward_testkit::test_ca::{Authority, Files, today};

fn run(directory: &Path, program: &str, args: &[&str]) {
    let out = Command::new(program)
        .args(args)
        .current_dir(directory)
        .output();
    let out = out.expect("libnss3-tools is not installed; `tests/run` installs what tests need");
    assert!(
        out.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// A UPS behind an upsd with a certificate for `name`; `trusted` says whether its client trusts the
/// issuing authority.
fn powered(name: &str, trusted: bool) -> Powered {
    let lines = "driver = doorward-sim\nport = none\n";
    Powered::secured(SIMULATED, lines, OPERATIONS, |nut| {
        let files = Files(nut.to_owned());
        let (authority, other) = (Authority::new("upsd"), Authority::new("another"));
        files.write("ca.pem", &authority.pem);
        files.write("other.pem", &other.pem);
        files.pair("upsd", authority.sign(name, today()));
        run(
            nut,
            "openssl",
            &[
                "pkcs12", "-export", "-in", "upsd.pem", "-inkey", "upsd.key", "-name", "upsd",
                "-out", "upsd.p12", "-passout", "pass:",
            ],
        );
        run(nut, "certutil", &["-N", "-d", "sql:.", "--empty-password"]);
        run(
            nut,
            "certutil",
            &["-A", "-d", "sql:.", "-n", "ca", "-t", "C,,", "-i", "ca.pem"],
        );
        run(
            nut,
            "pk12util",
            &["-i", "upsd.p12", "-d", "sql:.", "-W", ""],
        );
        let upsd = format!("CERTPATH {}\nCERTIDENT upsd \"\"\n", nut.display());
        let ca = if trusted { "ca.pem" } else { "other.pem" };
        (upsd, format!("tls.ca = \"{}\"\n", nut.join(ca).display()))
    })
}

#[test]
fn upsd_is_contacted_over_tls_and_only_if_its_certificate_is_valid() {
    let secured = powered("127.0.0.1", true);
    let read = secured.try_read();
    assert_eq!(read["outcome"], "done", "{read}");
    let set = secured.send("ole", "config.write:ups.delay.shutdown", &["value=60"]);
    assert_eq!(set["result"]["ups.delay.shutdown"], "60", "{set}");
    for (name, trusted) in [("127.0.0.1", false), ("10.0.0.1", true)] {
        let read = powered(name, trusted).try_read();
        assert_eq!(read["outcome"], "failed", "{read}");
        let detail = read["detail"].as_str().unwrap();
        assert!(detail.contains("certificate"), "{detail}");
    }
}

#[test]
fn no_credentials_are_sent_to_upsd_without_a_certificate() {
    let lines = "driver = doorward-sim\nport = none\n";
    let powered = Powered::secured(SIMULATED, lines, OPERATIONS, |_| {
        let ca = "/etc/ssl/certs/ca-certificates.crt";
        (String::new(), format!("tls.ca = \"{ca}\"\n"))
    });
    let read = powered.try_read();
    assert_eq!(read["outcome"], "failed", "{read}");
    assert!(
        read["detail"]
            .as_str()
            .unwrap()
            .contains("give upsd a certificate"),
        "{read}"
    );
}
