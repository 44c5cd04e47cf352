//! Images for Debian's SWUpdate: a cpio archive with a signed description.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use doorward_protocol::wire::hash;

use super::certificate::{self, run};
use doorward_testkit::site::{Process, wait_until};

/// The SWUpdate daemon with its own sockets.
pub(crate) struct Swu(PathBuf, Option<Process>);

impl Swu {
    pub(crate) fn new(directory: &Path) -> Self {
        let mut swu = Self(directory.to_owned(), None);
        certificate::make(directory, "swupdate");
        let log = std::fs::File::create(swu.file("log")).unwrap();
        let daemon = Command::new("/usr/bin/swupdate")
            .args(["-k", "cert.pem", "-H", "board:1.0"])
            .current_dir(directory)
            .env("TMPDIR", directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        swu.1 = Some(Process(daemon));
        wait_until("swupdate is ready", || swu.file("sockinstctrl").exists());
        swu
    }

    /// Command that installs an image; the client finds the daemon by the environment variable.
    pub(crate) fn argv(&self) -> Vec<String> {
        let directory = format!("TMPDIR={}", self.0.display());
        [
            "/usr/bin/env",
            &directory,
            "/usr/bin/swupdate-client",
            "{image}",
        ]
        .map(str::to_owned)
        .into()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn target(&self) -> Vec<u8> {
        std::fs::read(self.file("target")).unwrap_or_default()
    }

    pub(crate) fn image(&self, version: &str, content: &[u8]) -> Vec<u8> {
        std::fs::write(self.file("rootfs.img"), content).unwrap();
        let description = format!(
            "software = {{ version = \"{version}\"; hardware-compatibility: [\"1.0\"]; files: ( {{ \
             filename = \"rootfs.img\"; sha256 = \"{}\"; path = \"{}\"; }} ); }}\n",
            hash(content).hex(),
            self.file("target").display()
        );
        std::fs::write(self.file("sw-description"), description).unwrap();
        run(Command::new("openssl").current_dir(&self.0).args([
            "cms",
            "-sign",
            "-in",
            "sw-description",
            "-out",
            "sw-description.sig",
            "-signer",
            "cert.pem",
            "-inkey",
            "key.pem",
            "-outform",
            "DER",
            "-nosmimecap",
            "-binary",
        ]));
        let mut cpio = Command::new("cpio")
            .current_dir(&self.0)
            .args(["--create", "--format=crc", "--file=image.swu", "--quiet"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("cpio is not installed; `tests/run` installs what tests need");
        let mut names = cpio.stdin.take().unwrap();
        names
            .write_all(b"sw-description\nsw-description.sig\nrootfs.img\n")
            .unwrap();
        drop(names);
        assert!(cpio.wait().unwrap().success());
        std::fs::read(self.file("image.swu")).unwrap()
    }
}
