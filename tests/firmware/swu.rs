//! Images as Debian's SWUpdate takes them: a cpio archive with a signed description.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use doorward::wire::hash;

pub(crate) struct Swu(PathBuf);

impl Swu {
    pub(crate) fn new(directory: &Path) -> Self {
        let swu = Self(directory.to_owned());
        swu.run(Command::new("openssl").args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
            "-days",
            "2",
            "-subj",
            "/O=doorward test/CN=swupdate",
        ]));
        swu
    }

    fn run(&self, command: &mut Command) {
        let out = command.current_dir(&self.0).output().unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }

    /// How SWUpdate is started, without its daemon.
    pub(crate) fn argv(&self) -> Vec<String> {
        let certificate = self.0.join("cert.pem").to_str().unwrap().to_owned();
        let argv = [
            "/usr/bin/swupdate",
            "-k",
            &certificate,
            "-H",
            "board:1.0",
            "-i",
            "{image}",
        ];
        argv.map(str::to_owned).into()
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
        self.run(Command::new("openssl").args([
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
