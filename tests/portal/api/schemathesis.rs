//! The fuzzer schemathesis, which makes requests of all kinds from the OpenAPI description, finds no
//! fault.

use std::path::Path;
use std::process::Command;

use super::server::ApiServer;

#[test]
fn a_fuzzer_that_uses_the_openapi_description_finds_nothing() {
    let server = ApiServer::start(100_000_000);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = root.join("target/interop/bin/schemathesis");
    assert!(program.exists(), "`tests/run` makes the Python environment");
    let directory = tempfile::tempdir().unwrap();
    let seed = std::env::var("DOORWARD_SEED").unwrap_or_else(|_| "1".into());
    for who in [None, Some("ole"), Some("otto")] {
        let mut command = Command::new(&program);
        command
            .current_dir(directory.path())
            .arg("--config-file")
            .arg(root.join("tests/interop/schemathesis.toml"))
            .args(["run", &format!("http://{}/v1/openapi.json", server.address)])
            .args([
                "--checks",
                "all",
                "--max-examples",
                "25",
                "--seed",
                &seed,
                "--workers",
                "1",
            ])
            // It would end the session that the other requests need.
            .args(["--exclude-operation-id", "sign_out"]);
        if let Some(who) = who {
            command.args([
                "-H",
                &format!("Authorization: Bearer {}", server.sign_in(who)),
            ]);
        }
        let out = command.output().unwrap();
        let output = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "as {who:?}:\n{output}");
        let generated = output
            .lines()
            .find(|line| line.contains(" generated, "))
            .unwrap_or_default();
        println!("{who:?}: {}", generated.trim());
    }
}
