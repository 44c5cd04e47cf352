//! The demo's world: two brokers on loopback, a daemon in its own process, people with keys.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use mqtt5::broker::config::{StorageBackend, StorageConfig};
use mqtt5::broker::{BrokerConfig, MqttBroker};

use crate::cli::{Failure, status};
use crate::issuer::{Actor, Holder, NewRegistration, NewShare, Platform, ShareRecord, To, Wish};
use crate::link::caller::Caller;
use crate::link::{Broker, BrokerUrl, topics};
use crate::store::Identity;
use crate::wire::{
    Audience, Id, Kind, Map, Operation, Plan, PublicKey, SecretKey, Text, Timestamp,
};

/// Things that can go wrong on the machine that shows the demo.
pub(super) fn broken(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::new(status::IO, format!("{what}: {error}"))
}

/// A broker on loopback, in a thread of its own.
pub(super) struct DemoBroker {
    pub(super) url: Broker,
    stop: tokio::sync::oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl DemoBroker {
    pub(super) fn start() -> Result<Self, Failure> {
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (sender, started) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async move {
                let config = BrokerConfig {
                    bind_addresses: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
                    sys_topics_enabled: false,
                    storage_config: StorageConfig {
                        backend: StorageBackend::Memory,
                        ..StorageConfig::default()
                    },
                    ..BrokerConfig::default()
                };
                let mut broker = match MqttBroker::with_config(config).await {
                    Ok(broker) => broker,
                    Err(error) => return drop(sender.send(Err(error.to_string()))),
                };
                let address = broker.local_addr().ok_or_else(|| "no address".to_owned());
                if sender.send(address).is_err() {
                    return;
                }
                tokio::select! {
                    _ = stopped => {}
                    _ = broker.run() => {}
                }
            });
            // Dropping the runtime drops every connection, like pulling the cable.
        });
        let address = started
            .recv()
            .map_err(|error| broken("the broker did not start", error))?
            .map_err(|error| broken("the broker did not start", error))?;
        let url: BrokerUrl = format!("mqtt://{address}")
            .parse()
            .map_err(|error| broken("the broker's address", error))?;
        let url = url.into();
        Ok(Self { url, stop, thread })
    }

    /// Ends the broker and every connection to it.
    pub(super) fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// A person with a key.
pub(super) struct Person {
    pub(super) name: &'static str,
    pub(super) holder: Holder,
    /// Statements that the person has: the pass, and what is to be carried.
    pub(super) carry: Vec<Vec<u8>>,
}

/// Everything that plays.
pub(super) struct World {
    pub(super) directory: PathBuf,
    pub(super) device: Id,
    pub(super) device_key: PublicKey,
    pub(super) platform: Platform,
    registration: Vec<u8>,
    daemon: Option<Child>,
}

impl World {
    /// Makes an issuer and a device, and registers the device to the owner.
    pub(super) async fn build(
        directory: &Path,
        cloud: &Broker,
        local: &Broker,
        now: Timestamp,
    ) -> Result<(Self, Person), Failure> {
        let id = |text: &str| Id::new(text).map_err(|error| broken(text, error));
        let platform = Platform::init(&directory.join("issuer"), None, id("acme")?, now).await?;
        let device = id("ups-demo")?;
        let key = SecretKey::from_seed(
            &crate::issuer::random().map_err(|error| broken("randomness", error))?,
        );
        let issuers = crate::files::read(&platform.issuers_file(), 1 << 16)?;
        Identity::create(&directory.join("device"), &device, &key, &issuers, "")?;
        write_handler(directory)?;
        let config = config(directory, cloud, local);
        crate::files::replace(&directory.join("doorward.toml"), config.as_bytes(), 0o644)?;
        let owner = person(directory, "owner")?;
        let registered = platform
            .register(
                NewRegistration {
                    device: device.clone(),
                    device_key: key.public(),
                    owner: id("owner")?,
                    owner_key: owner.holder.public(),
                    model: Text::new("Smart-UPS 1500").map_err(|error| broken("model", error))?,
                    region: id("eu")?,
                    site: None,
                    plan: Plan {
                        name: id("advanced")?,
                        end: None,
                    },
                    demo: false,
                },
                now,
            )
            .await?;
        let registration = platform
            .statement(&registered.audience(), Kind::Registration, "")
            .await?;
        let world = Self {
            directory: directory.to_owned(),
            device_key: PublicKey::new(&key.public()).map_err(|error| broken("key", error))?,
            device,
            platform,
            registration: registration.unwrap_or_default(),
            daemon: None,
        };
        let topic = topics::statement(&world.audience(), Kind::Registration, None);
        let caller = Caller::connect(cloud).await?;
        caller
            .publish(topic, world.registration.clone(), true)
            .await?;
        Ok((world, owner))
    }

    pub(super) fn audience(&self) -> Audience {
        Audience::Device(self.device.clone())
    }

    /// A person with a new key and no rights.
    pub(super) fn person(&self, name: &'static str) -> Result<Person, Failure> {
        person(&self.directory, name)
    }

    /// Shares the device, gives the person a pass, and publishes the share if there is a
    /// broker to do so.
    pub(super) async fn share(
        &self,
        person: &mut Person,
        operations: &[&str],
        end: Timestamp,
        now: Timestamp,
        broker: Option<&Broker>,
    ) -> Result<ShareRecord, Failure> {
        let to = Id::new(person.name).map_err(|error| broken(person.name, error))?;
        let new = NewShare {
            to: To::Key(to, person.holder.public()),
            permissions: operations.iter().map(ToString::to_string).collect(),
            end,
            description: None,
            region: Id::new("eu").map_err(|error| broken("region", error))?,
            limits: None,
        };
        let audience = self.audience();
        let made = self
            .platform
            .share(Actor::Issuer, std::slice::from_ref(&audience), &new, now);
        let Some((_, share)) = made.await?.each.pop() else {
            return Err(Failure::new(status::DATA, "nothing was shared"));
        };
        let (share, kind) = (share?, Kind::Share);
        let id = share.id.hex();
        let bytes = self
            .platform
            .statement(&audience, kind, &id)
            .await?
            .unwrap_or_default();
        let topic = topics::statement(&audience, kind, Some(&id));
        if let Some(broker) = broker {
            let caller = Caller::connect(broker).await?;
            caller.publish(topic, bytes.clone(), true).await?;
        }
        let pass = [self.registration.as_slice(), &bytes].concat();
        let path = self.directory.join(person.name).with_extension("pass");
        crate::files::replace(&path, &pass, 0o644)?;
        person.carry.push(bytes);
        Ok(share)
    }

    /// Starts `doorward run` in a process of its own.
    #[expect(
        clippy::disallowed_methods,
        reason = "the demo starts the daemon itself, as an installer would"
    )]
    pub(super) fn start_daemon(&mut self) -> Result<(), Failure> {
        let program = std::env::current_exe().map_err(|error| broken("this program", error))?;
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("doorward.log"))
            .map_err(|error| broken("the daemon's log", error))?;
        let child = std::process::Command::new(program)
            .arg("run")
            .arg("--config")
            .arg(self.directory.join("doorward.toml"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| broken("doorward run", error))?;
        self.daemon = Some(child);
        Ok(())
    }

    /// Ends the daemon as a power cut would: SIGKILL.
    pub(super) fn kill_daemon(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits until the device's retained state on a broker is signed after its start.
    pub(super) async fn ready(&self, broker: &Broker, registered: bool) -> Result<(), Failure> {
        let mut caller = Caller::connect(broker).await?;
        caller.subscribe(vec![topics::state(&self.device)]).await?;
        let watch = crate::clock::Stopwatch::start();
        while let Some(left) = Duration::from_secs(20).checked_sub(watch.elapsed()) {
            let Some((_, payload)) = caller.next(left).await? else {
                break;
            };
            let state = crate::wire::Envelope::parse(&payload)
                .and_then(|envelope| envelope.claims::<crate::wire::State>());
            if state.is_ok_and(|s| !registered || s.body.standing.registration > 0) {
                return Ok(());
            }
        }
        Err(Failure::new(
            status::UNAVAILABLE,
            format!(
                "the daemon did not come up; see {}",
                self.directory.join("doorward.log").display()
            ),
        ))
    }

    /// How often the reboot program has run.
    pub(super) fn reboots(&self) -> usize {
        fs::read_to_string(self.directory.join("reboots")).map_or(0, |text| text.lines().count())
    }

    pub(super) fn wish(&self, operation: &str) -> Result<Wish, Failure> {
        Ok(Wish {
            device: self.device.clone(),
            operation: Operation::new(operation).map_err(|error| broken(operation, error))?,
            args: Map::default(),
            ttl: 120,
            dry: false,
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill_daemon();
    }
}

fn person(directory: &Path, name: &'static str) -> Result<Person, Failure> {
    Ok(Person {
        name,
        holder: Holder::create(&directory.join(name).with_extension("key"))?,
        carry: Vec::new(),
    })
}

/// The program that stands for rebooting the machine: it only writes down that it ran.
fn write_handler(directory: &Path) -> Result<(), Failure> {
    let path = directory.join("reboot.sh");
    let script = format!(
        "#!/bin/sh\necho rebooted >> '{}'\n",
        directory.join("reboots").display()
    );
    fs::write(&path, script)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o700)))
        .map_err(|error| broken("the reboot program", error))
}

fn config(directory: &Path, cloud: &Broker, local: &Broker) -> String {
    format!(
        r#"state = "{state}"

[links.cloud]
url = "{cloud}"

[links.local]
url = "{local}"

[operations."status.read"]
class = "read"
handler = "builtin"

[operations."device.reboot"]
class = "interrupt"
handler = "exec"
argv = ["{reboot}"]
timeout_s = 10
"#,
        state = directory.join("device").display(),
        reboot = directory.join("reboot.sh").display(),
    )
}
