//! A system bus for one test: Debian's dbus-daemon in the test's directory. Where a service of the
//! machine cannot run, a stub provides its interface.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use doorward_testkit::site::{Process, wait_until};

const CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=PATH</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/>
<allow eavesdrop="true"/><allow own="*"/></policy></busconfig>"#;

pub struct SystemBus {
    pub address: String,
    _daemon: Process,
}

impl SystemBus {
    pub fn start(directory: &Path) -> Self {
        let socket = directory.join("bus");
        let config = directory.join("bus.conf");
        let text = CONFIG.replace("PATH", socket.to_str().unwrap());
        std::fs::write(&config, text).unwrap();
        let daemon = Command::new("dbus-daemon")
            .arg("--nofork")
            .arg("--config-file")
            .arg(config)
            .stdout(Stdio::null())
            .spawn()
            .expect("dbus-daemon is not installed; `tests/run` installs what tests need");
        wait_until("the bus is ready", || socket.exists());
        Self {
            address: format!("unix:path={}", socket.display()),
            _daemon: Process(daemon),
        }
    }

    /// Environment variable with the address of the bus.
    pub fn environment(&self) -> (&'static str, String) {
        ("DBUS_SYSTEM_BUS_ADDRESS", self.address.clone())
    }

    /// Starts Debian's systemd-logind on this bus, if it can run on this machine.
    pub fn logind(&self) -> Option<Process> {
        let program = Path::new("/lib/systemd/systemd-logind");
        // Not beside the machine's own logind, since both would share files.
        if !program.exists() || Path::new("/run/systemd/system").exists() {
            return None;
        }
        let logind = Command::new(program)
            .env("DBUS_SYSTEM_BUS_ADDRESS", &self.address)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let logind = Process(logind);
        for _ in 0..200 {
            if self.call("org.freedesktop.login1", "CanReboot").is_some() {
                return Some(logind);
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        None
    }

    /// Calls a method of a manager that returns one string.
    pub fn call(&self, service: &'static str, method: &str) -> Option<String> {
        let path = format!("/{}", service.replace('.', "/"));
        doorward_testkit::site::block_on(async {
            let connection = self.connect().await;
            let interface = format!("{service}.Manager");
            let proxy = zbus::Proxy::new(&connection, service, path, interface);
            proxy.await.ok()?.call(method, &()).await.ok()
        })
    }

    /// Returns whether the name has an owner on the bus.
    pub fn has(&self, name: &'static str) -> bool {
        doorward_testkit::site::block_on(async {
            let connection = self.connect().await;
            let proxy = zbus::Proxy::new(
                &connection,
                "org.freedesktop.DBus",
                "/org/freedesktop/DBus",
                "org.freedesktop.DBus",
            );
            let has = proxy.await.unwrap().call("NameHasOwner", &name).await;
            has.unwrap()
        })
    }

    pub async fn connect(&self) -> zbus::Connection {
        let address: zbus::Address = self.address.parse().unwrap();
        let connection = zbus::connection::Builder::address(address);
        connection.build().await.unwrap()
    }

    /// Serves a stub until the end of the test.
    pub fn serve<I>(&self, name: &'static str, path: &'static str, service: I)
    where
        I: zbus::object_server::Interface,
    {
        self.serving(name, move |builder| builder.serve_at(path, service));
    }

    /// Serves two objects under one name.
    pub fn serve_both<I, J>(
        &self,
        name: &'static str,
        one: (&'static str, I),
        two: (&'static str, J),
    ) where
        I: zbus::object_server::Interface,
        J: zbus::object_server::Interface,
    {
        self.serving(name, move |builder| {
            let builder = builder.serve_at(one.0, one.1);
            builder.serve_at(two.0, two.1)
        });
    }

    fn serving(
        &self,
        name: &'static str,
        objects: impl FnOnce(zbus::connection::Builder<'static>) -> zbus::connection::Builder<'static>
        + Send
        + 'static,
    ) {
        let address: zbus::Address = self.address.parse().unwrap();
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            doorward_testkit::site::block_on(async move {
                let builder = objects(zbus::connection::Builder::address(address));
                let served = builder.name(name).build().await.unwrap();
                ready.send(()).unwrap();
                std::future::pending::<()>().await;
                drop(served);
            });
        });
        is_ready.recv().unwrap();
    }
}

/// Calls of a stub, in order.
#[derive(Clone, Default)]
pub struct Calls(Arc<Mutex<Vec<String>>>);

impl Calls {
    pub fn add(&self, call: impl Into<String>) {
        self.0.lock().unwrap().push(call.into());
    }

    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}
