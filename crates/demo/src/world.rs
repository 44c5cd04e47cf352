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

use doorward_client::{CommandRequest, HolderKey};
use doorward_protocol::wire::{
    Audience, Bytes, Confirmation, Id, Issuers, KeyBytes, Kind, Map, Object, Operation, Permission,
    Plan, PublicKey, Registration, RegistrationBody, Revocations, RevocationsBody, Role, RoleKeys,
    SecretKey, Share, ShareBody, Text, Timestamp, default_leases, default_plans, sign, topics,
};
use doorward_terminal::{CliError, exit_status};
use doorward_transport::{Broker, BrokerUrl, MqttClient, files, random};

const REGION: &str = "eu";
const DAY: u64 = 86400;

/// Things that can go wrong on the machine that shows the demo.
pub(super) fn broken(what: &str, error: impl std::fmt::Display) -> CliError {
    CliError::new(exit_status::IO, format!("{what}: {error}"))
}

/// A broker on loopback, in a thread of its own.
pub(super) struct DemoBroker {
    pub(super) url: Broker,
    stop: tokio::sync::oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl DemoBroker {
    pub(super) fn start() -> Result<Self, CliError> {
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

fn id(text: &str) -> Result<Id, CliError> {
    Id::new(text).map_err(|error| broken(text, error))
}

/// A person with a key.
pub(super) struct Person {
    pub(super) name: &'static str,
    pub(super) holder: HolderKey,
    /// Statements that the person has: the pass, and what is to be carried.
    pub(super) carry: Vec<Vec<u8>>,
}

/// The demo's issuer: a key for each role, held in memory only.
struct DemoIssuer {
    id: Id,
    keys: Vec<(Role, SecretKey)>,
}

impl DemoIssuer {
    fn new(id: Id) -> Result<Self, CliError> {
        let mut keys = Vec::new();
        for role in Role::ALL {
            keys.push((role, new_key()?));
        }
        Ok(Self { id, keys })
    }

    /// The signed list of keys that the device pins.
    fn issuers(&self, now: Timestamp) -> Result<Vec<u8>, CliError> {
        let roles = self.keys.iter().map(|(role, key)| {
            let keys = vec![key.public()];
            (*role, RoleKeys { threshold: 1, keys })
        });
        let issuers = Issuers::new(self.id.clone(), now, 1, Map::new(roles));
        self.sign(Role::Root, &issuers)
    }

    fn sign<T: Object>(&self, role: Role, claims: &T) -> Result<Vec<u8>, CliError> {
        let key = self.keys.iter().find(|(of, _)| *of == role);
        let (_, key) = key.ok_or_else(|| broken("signing", "the role has no key"))?;
        claims.check().map_err(|error| broken("signing", error))?;
        Ok(sign(claims, key))
    }
}

fn new_key() -> Result<SecretKey, CliError> {
    let seed = random().map_err(|error| broken("no random bytes", error))?;
    Ok(SecretKey::from_seed(&seed))
}

/// The device, its daemon, and the issuer.
pub(super) struct World {
    pub(super) directory: PathBuf,
    pub(super) device: Id,
    pub(super) device_key: PublicKey,
    issuer: DemoIssuer,
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
    ) -> Result<(Self, Person), CliError> {
        let issuer = DemoIssuer::new(id("acme")?)?;
        let device = id("ups-demo")?;
        let device_key = provision(directory, &device, &issuer.issuers(now)?)?;
        write_handler(directory)?;
        let config = config(directory, cloud, local);
        files::replace(&directory.join("doorward.toml"), config.as_bytes(), 0o644)?;
        let owner = person(directory, "owner")?;
        let registration = Registration {
            iss: issuer.id.clone(),
            sub: id(owner.name)?,
            aud: Audience::Device(device.clone()),
            iat: now,
            cnf: Confirmation(owner.holder.public()),
            body: RegistrationBody {
                format: 1,
                seq: 1,
                device: device_key,
                region: id(REGION)?,
                model: Text::new("Smart-UPS 1500").map_err(|error| broken("model", error))?,
                site: None,
                plan: Plan {
                    name: id("advanced")?,
                    end: None,
                },
                table: default_plans(),
                demo: false,
                slots: 5,
                leases: default_leases(),
                since: now,
                ages: None,
            },
        };
        let world = Self {
            registration: issuer.sign(Role::Registry, &registration)?,
            directory: directory.to_owned(),
            device_key: PublicKey::new(&device_key).map_err(|error| broken("key", error))?,
            device,
            issuer,
            daemon: None,
        };
        let topic = topics::statement(&world.audience(), Kind::Registration, None);
        let caller = MqttClient::connect(cloud).await?;
        caller
            .publish(topic, world.registration.clone(), true)
            .await?;
        let topic = topics::statement(&world.audience(), Kind::Revocations, None);
        let first = world.revocations(1, &[], now)?;
        caller.publish(topic, first, true).await?;
        Ok((world, owner))
    }

    /// A revocation list with these shares and their ends.
    pub(super) fn revocations(
        &self,
        seq: u64,
        shares: &[(Bytes<16>, Timestamp)],
        now: Timestamp,
    ) -> Result<Vec<u8>, CliError> {
        let list = Revocations {
            iss: self.issuer.id.clone(),
            aud: self.audience(),
            iat: now,
            body: RevocationsBody {
                format: 1,
                seq,
                next: now.plus(DAY),
                shares: Map::new(shares.iter().copied()),
                holders: Map::default(),
                subjects: Map::default(),
                before: Timestamp(0),
            },
        };
        self.issuer.sign(Role::Revocations, &list)
    }

    pub(super) fn audience(&self) -> Audience {
        Audience::Device(self.device.clone())
    }

    /// A person with a new key and no rights.
    pub(super) fn person(&self, name: &'static str) -> Result<Person, CliError> {
        person(&self.directory, name)
    }

    /// Shares the device, gives the person a pass, and publishes the share if there is a broker.
    /// Returns the id of the share.
    pub(super) async fn share(
        &self,
        person: &mut Person,
        operations: &[&str],
        end: Timestamp,
        now: Timestamp,
        broker: Option<&Broker>,
    ) -> Result<Bytes<16>, CliError> {
        let mut permissions = Vec::new();
        for name in operations {
            let operation = Operation::new(name).map_err(|error| broken(name, error))?;
            permissions.push((operation, Permission::default()));
        }
        let share = Share {
            iss: self.issuer.id.clone(),
            sub: id(person.name)?,
            aud: self.audience(),
            exp: end,
            nbf: now,
            iat: now,
            cti: Bytes(random().map_err(|error| broken("no random bytes", error))?),
            cnf: Confirmation(person.holder.public()),
            body: ShareBody {
                format: 1,
                version: 1,
                permissions: Map::new(permissions),
                by: id("owner")?,
                description: None,
                lease: None,
                region: id(REGION)?,
                group: None,
                limits: None,
            },
        };
        let bytes = self.issuer.sign(Role::Shares, &share)?;
        if let Some(broker) = broker {
            let topic = topics::statement(&share.aud, Kind::Share, Some(&share.cti.hex()));
            let caller = MqttClient::connect(broker).await?;
            caller.publish(topic, bytes.clone(), true).await?;
        }
        let pass = [self.registration.as_slice(), &bytes].concat();
        let path = self.directory.join(person.name).with_extension("pass");
        files::replace(&path, &pass, 0o644)?;
        person.carry.push(bytes);
        Ok(share.cti)
    }

    /// Starts `doorward run` in a process of its own.
    #[expect(
        clippy::disallowed_methods,
        reason = "the demo starts the daemon itself, as an installer would"
    )]
    pub(super) fn start_daemon(&mut self) -> Result<Option<u32>, CliError> {
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
        let id = child.id();
        self.daemon = Some(child);
        Ok(Some(id))
    }

    /// Ends the daemon as a power cut would: SIGKILL.
    pub(super) fn kill_daemon(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits until the device's retained state on a broker is signed after its start.
    pub(super) async fn ready(&self, broker: &Broker, registered: bool) -> Result<(), CliError> {
        let mut caller = MqttClient::connect(broker).await?;
        caller.subscribe(vec![topics::state(&self.device)]).await?;
        let watch = doorward_transport::clock::Stopwatch::start();
        while let Some(left) = Duration::from_secs(20).checked_sub(watch.elapsed()) {
            let Some((_, payload)) = caller.next(left).await? else {
                break;
            };
            let state = doorward_protocol::wire::Envelope::parse(&payload)
                .and_then(|envelope| envelope.claims::<doorward_protocol::wire::State>());
            if state.is_ok_and(|s| !registered || s.body.standing.registration > 0) {
                return Ok(());
            }
        }
        Err(CliError::new(
            exit_status::UNAVAILABLE,
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

    pub(super) fn command(&self, operation: &str) -> Result<CommandRequest, CliError> {
        Ok(CommandRequest {
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

fn person(directory: &Path, name: &'static str) -> Result<Person, CliError> {
    Ok(Person {
        name,
        holder: HolderKey::create(&directory.join(name).with_extension("key"))?,
        carry: Vec::new(),
    })
}

/// The program that stands for rebooting the machine: it only writes down that it ran.
fn write_handler(directory: &Path) -> Result<(), CliError> {
    let path = directory.join("reboot.sh");
    let script = format!(
        "#!/bin/sh\necho rebooted >> '{}'\n",
        directory.join("reboots").display()
    );
    fs::write(&path, script)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o700)))
        .map_err(|error| broken("the reboot program", error))
}

/// Gives the device its id and the issuer by `doorward provision`. Returns its public key.
#[expect(
    clippy::disallowed_methods,
    reason = "the demo provisions the device as an installer would"
)]
fn provision(directory: &Path, device: &Id, issuers: &[u8]) -> Result<KeyBytes, CliError> {
    let file = directory.join("issuers.cwt");
    files::replace(&file, issuers, 0o644)?;
    let program = std::env::current_exe().map_err(|error| broken("this program", error))?;
    let out = std::process::Command::new(program)
        .arg("provision")
        .arg("--json")
        .arg("--yes")
        .arg("--config")
        .arg(directory.join("doorward.toml"))
        .arg("--state")
        .arg(directory.join("device"))
        .arg("--device")
        .arg(device.as_str())
        .arg("--issuers")
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| broken("doorward provision", error))?;
    let answer: Option<serde_json::Value> = serde_json::from_slice(&out.stdout).ok();
    let key = answer.as_ref().and_then(|answer| answer["key"].as_str());
    key.and_then(Bytes::from_hex).ok_or_else(|| {
        let why = String::from_utf8_lossy(&out.stderr).into_owned();
        broken("doorward provision", why)
    })
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
