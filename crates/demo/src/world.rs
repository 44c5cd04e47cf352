//! The demo's environment: two brokers on loopback, a daemon in its own process, users with keys.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use doorward_client::{CommandRequest, HolderKey};
use doorward_protocol::wire::{
    Audience, Bytes, Confirmation, Id, KeyBytes, Kind, Map, Operation, Permission, Plan, PublicKey,
    Registration, RegistrationBody, Revocations, RevocationsBody, Role, Share, ShareBody, Text,
    Timestamp, default_leases, default_plans, topics,
};
use doorward_terminal::{CliError, exit_status};
use doorward_transport::{Broker, MqttClient, files, random};

use crate::broken;
use crate::issuer::DemoIssuer;

const REGION: &str = "eu";
const DAY: u64 = 86400;

fn id(text: &str) -> Result<Id, CliError> {
    Id::new(text).map_err(|error| broken(text, error))
}

/// A user with a key.
pub(super) struct Person {
    pub(super) name: &'static str,
    pub(super) holder: HolderKey,
    /// Statements to attach to commands: the pass, and a newer revocation list.
    pub(super) carry: Vec<Vec<u8>>,
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
    /// Creates an issuer and a device, and registers the device to the owner.
    pub(super) async fn build(
        directory: &Path,
        cloud: &Broker,
        local: &Broker,
        now: Timestamp,
    ) -> Result<(Self, Person), CliError> {
        let issuer = DemoIssuer::new(id("acme")?)?;
        let device = id("ups-demo")?;
        write_handler(directory)?;
        let config = config(directory, cloud, local);
        files::replace(&directory.join("doorward.toml"), config.as_bytes(), 0o644)?;
        let device_key = provision(directory, &device, &issuer.issuers(now)?)?;
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
        let client = MqttClient::connect(cloud).await?;
        client
            .publish(topic, world.registration.clone(), true)
            .await?;
        let topic = topics::statement(&world.audience(), Kind::Revocations, None);
        let first = world.revocations(1, &[], now)?;
        client.publish(topic, first, true).await?;
        Ok((world, owner))
    }

    /// A signed revocation list with the given shares and their end times.
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

    /// A user with a new key and no permissions.
    pub(super) fn person(&self, name: &'static str) -> Result<Person, CliError> {
        person(&self.directory, name)
    }

    /// Shares the device, writes a pass for the user, and publishes the share if there is a broker.
    /// Returns the ID of the share.
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
            let client = MqttClient::connect(broker).await?;
            client.publish(topic, bytes.clone(), true).await?;
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

    /// Ends the daemon with SIGKILL, like a power cut.
    pub(super) fn kill_daemon(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits until the device has published its `state` on a broker, and with `registered` until it
    /// has its registration.
    pub(super) async fn ready(&self, broker: &Broker, registered: bool) -> Result<(), CliError> {
        let mut client = MqttClient::connect(broker).await?;
        client.subscribe(vec![topics::state(&self.device)]).await?;
        let watch = doorward_transport::clock::Stopwatch::start();
        while let Some(left) = Duration::from_secs(20).checked_sub(watch.elapsed()) {
            let Some((_, payload)) = client.next(left).await? else {
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
                "the daemon did not start; see {}",
                self.directory.join("doorward.log").display()
            ),
        ))
    }

    /// The number of runs of the reboot program.
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

/// Writes the program that replaces rebooting the machine: it only records its runs.
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

/// Provisions the device by `doorward provision`. Returns its public key.
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
    let output: Option<serde_json::Value> = serde_json::from_slice(&out.stdout).ok();
    let key = output.as_ref().and_then(|output| output["key"].as_str());
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
