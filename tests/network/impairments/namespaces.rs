//! Two network namespaces with two cables between them: one contains the device, the other the brokers
//! and users. The test creates and deletes them.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Addresses of the brokers' end and of the device's end of the first cable.
pub(crate) const CLOUD: [&str; 2] = ["10.77.1.1", "10.77.1.2"];
/// Addresses of both ends of the second cable.
pub(crate) const SITE: [&str; 2] = ["10.77.2.1", "10.77.2.2"];

/// Runs a program as root.
fn root(args: &[&str]) -> Command {
    let is_root = std::fs::metadata("/proc/self")
        .is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    let mut command = Command::new(if is_root { args[0] } else { "sudo" });
    if !is_root {
        command.args(["-n", args[0]]);
    }
    command.args(&args[1..]);
    command
}

fn must(args: &[&str]) {
    let out = root(args).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{args:?} (needs root): {said}");
}

/// Command that runs a program inside a namespace, under the process id of the started command.
pub(crate) fn inside(namespace: &str, program: &str) -> Command {
    root(&["ip", "netns", "exec", namespace, program])
}

pub(crate) struct Namespaces {
    pub(crate) people: String,
    pub(crate) device: String,
    wires: Vec<Child>,
}

/// Path of the control socket of a cable.
pub(crate) fn control(directory: &Path, cable: usize) -> PathBuf {
    directory.join(format!("cable-{cable}"))
}

/// Sets the share of packets that a cable loses, from 0 to 1, and the delay of the others in seconds.
pub(crate) fn set(directory: &Path, cable: usize, loss: f64, delay: f64) {
    let socket = UnixDatagram::unbound().unwrap();
    let text = format!("{loss} {delay}");
    socket
        .send_to(text.as_bytes(), control(directory, cable))
        .unwrap();
}

impl Namespaces {
    /// Creates the namespaces; the control sockets of the cables are in `directory`.
    pub(crate) fn new(directory: &Path) -> Self {
        let id = std::process::id();
        let mut made = Self {
            people: format!("dw-{id}-people"),
            device: format!("dw-{id}-device"),
            wires: Vec::new(),
        };
        for namespace in [&made.people, &made.device] {
            must(&["ip", "netns", "add", namespace]);
            must(&["ip", "-n", namespace, "link", "set", "lo", "up"]);
        }
        for (cable, addresses) in [CLOUD, SITE].into_iter().enumerate() {
            let names = [format!("dw{cable}p{id}"), format!("dw{cable}d{id}")];
            let script = concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/network/impairments/wire.py"
            );
            let socket = control(directory, cable);
            let mut wire = root(&["python3", script, socket.to_str().unwrap()])
                .args(&names)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            let said = wire.stdout.take().unwrap();
            BufReader::new(said).read_line(&mut line).unwrap();
            made.wires.push(wire);
            assert_eq!(line, "ready\n", "tun devices are needed");
            let namespaces = [&made.people, &made.device];
            for ((name, namespace), address) in names.iter().zip(namespaces).zip(addresses) {
                must(&["ip", "link", "set", name, "netns", namespace]);
                let address = format!("{address}/24");
                must(&["ip", "-n", namespace, "addr", "add", &address, "dev", name]);
                must(&["ip", "-n", namespace, "link", "set", name, "up"]);
            }
        }
        made
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for wire in &mut self.wires {
            let _ = wire.kill();
            let _ = wire.wait();
        }
        for namespace in [&self.people, &self.device] {
            let _ = root(&["ip", "netns", "del", namespace]).output();
        }
    }
}
