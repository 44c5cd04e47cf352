//! A platform with an owner and devices, on a database of its own.

use std::pin::Pin;

use super::accounts;
pub use crate::accounts::{id, key};

use doorkey::IssuerError;
use doorkey::domain::{
    Account, AccountRole, Actor, Device, Email, InviteCode, NewRegistration, NewShare, RuleCode,
    ShareRecord, ShareTarget, Status,
};
use doorkey::service::{Acceptance, CreatedShares, Platform, accept_message};
use doorward_protocol::wire::{
    Audience, Bytes, DeviceStanding, Envelope, Hash, Kind, LogHead, Map, Object, Operation,
    Outcome, PublicKey, Receipt, ReceiptBody, Share, State, StateBody, Text, Timestamp, Value,
    hash, sign,
};

pub const NOW: Timestamp = Timestamp(1_800_000_000);
pub const DAY: u64 = 86400;

pub type StoryFuture = Pin<Box<dyn Future<Output = ()>>>;
pub type Story = fn(World) -> StoryFuture;

pub struct World {
    pub platform: Platform,
    _directory: tempfile::TempDir,
}

pub fn run(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future);
}

/// Plays a story on a new SQLite database.
pub fn on_sqlite(story: Story) {
    run(async { story(World::new(None).await).await });
}

pub fn device(name: &str) -> Audience {
    Audience::Device(id(name))
}

pub fn rule<T: std::fmt::Debug>(refused: Result<T, IssuerError>) -> RuleCode {
    match refused.unwrap_err() {
        IssuerError::Refused(refusal) => refusal.rule,
        other => panic!("{other}"),
    }
}

impl World {
    /// The platform acme with the holder ole and his three devices.
    pub async fn new(url: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let platform = Platform::init(directory.path(), url, id("acme"), NOW)
            .await
            .unwrap();
        let world = Self {
            platform,
            _directory: directory,
        };
        world.account("ole", AccountRole::Holder).await;
        for name in ["ups-1", "ups-2", "ups-3"] {
            world.register(name, |_| {}).await;
        }
        world
    }

    pub async fn register(&self, name: &str, with: impl FnOnce(&mut NewRegistration)) -> Device {
        let mut new = accounts::registration(name, "ole");
        with(&mut new);
        self.platform.register(new, NOW).await.unwrap()
    }

    /// Adds an account with the address NAME@example.org.
    pub async fn account(&self, name: &str, role: AccountRole) -> Account {
        let account = accounts::account(name, role, NOW);
        self.platform.add_account(&account).await.unwrap();
        account
    }

    pub async fn get_account(&self, name: &str) -> Account {
        self.platform.account(&id(name)).await.unwrap().unwrap()
    }

    pub fn new_share(to: ShareTarget, permissions: &[&str]) -> NewShare {
        NewShare {
            to,
            permissions: permissions.iter().map(ToString::to_string).collect(),
            end: NOW.plus(30 * DAY),
            description: None,
            region: id("eu"),
            limits: None,
        }
    }

    /// Shares as ole with a recipient whose key is known.
    pub async fn share(&self, on: &str, with: &str) -> Result<ShareRecord, IssuerError> {
        let to = ShareTarget::Key(id(with), key(with).public());
        let new = Self::new_share(to, &["status.read", "device.reboot"]);
        let ole = self.get_account("ole").await;
        let made = self
            .platform
            .share(Actor::Account(&ole), &[device(on)], &new, NOW)
            .await?;
        made.each.into_iter().next().unwrap().1
    }

    /// Invites NAME@example.org as ole.
    pub async fn invite(
        &self,
        on: &[&str],
        name: &str,
    ) -> (Bytes<16>, InviteCode, Vec<ShareRecord>) {
        let email = Email::new(&format!("{name}@example.org")).unwrap();
        let made = self.invite_to(on, ShareTarget::Address(email)).await;
        let (invitation, code) = made.invitation.unwrap();
        let shares = made
            .each
            .into_iter()
            .map(|(_, share)| share.unwrap())
            .collect();
        (invitation.id, code, shares)
    }

    pub async fn invite_to(&self, on: &[&str], to: ShareTarget) -> CreatedShares {
        let audiences: Vec<Audience> = on.iter().map(|name| device(name)).collect();
        let ole = self.get_account("ole").await;
        let new = Self::new_share(to, &["view"]);
        self.platform
            .share(Actor::Account(&ole), &audiences, &new, NOW)
            .await
            .unwrap()
    }

    /// The acceptance of an invitation by NAME.
    pub fn acceptance(&self, invitation: &Bytes<16>, name: &str) -> Acceptance {
        let message = accept_message(self.platform.name(), invitation, &id(name));
        Acceptance {
            account: id(name),
            key: key(name).public(),
            enterprise: None,
            region: id("eu"),
            language: "en".into(),
            proof: key(name).sign_text(&message),
        }
    }

    pub async fn status(&self, share: &Bytes<16>) -> Status {
        self.platform
            .find_share(share, NOW)
            .await
            .unwrap()
            .unwrap()
            .status
    }

    /// The published share token of a share, verified.
    pub async fn token(&self, share: &ShareRecord) -> Option<Share> {
        let id = share.id.hex();
        let bytes = self
            .platform
            .statement(&share.audience, Kind::Share, &id)
            .await
            .unwrap()?;
        let envelope = Envelope::parse(&bytes).unwrap();
        envelope
            .verify(&PublicKey::new(&envelope.signer).unwrap())
            .unwrap();
        Some(envelope.claims().unwrap())
    }

    /// Claims of the only statement of its kind for an audience.
    pub async fn claims<T: Object>(&self, audience: &Audience) -> T {
        let kept = self
            .platform
            .statement(audience, T::KIND, "")
            .await
            .unwrap()
            .unwrap();
        Envelope::parse(&kept).unwrap().claims().unwrap()
    }

    /// Applies a `state` of a device: it has applied the registration and the lists with these numbers.
    pub async fn apply_state(
        &self,
        name: &str,
        registration: u64,
        lists: &[(&Audience, u64)],
    ) -> bool {
        let bytes = state(name, name, registration, lists);
        self.platform
            .apply_state(&id(name), &bytes, NOW)
            .await
            .unwrap()
    }

    /// Applies a device's confirmation of the published version of a share.
    pub async fn confirm_share(&self, name: &str, share: &ShareRecord, outcome: Outcome) -> bool {
        let hex = share.id.hex();
        let kept = self
            .platform
            .statement(&share.audience, Kind::Share, &hex)
            .await
            .unwrap();
        let bytes = receipt(name, name, &share.id, hash(&kept.unwrap()), outcome);
        self.platform
            .apply_receipt(&id(name), &bytes)
            .await
            .unwrap()
    }
}

pub fn state(name: &str, signer: &str, registration: u64, lists: &[(&Audience, u64)]) -> Vec<u8> {
    let mut standing = standing();
    standing.registration = registration;
    standing.revocations = Map::new(
        lists
            .iter()
            .map(|(audience, seq)| ((*audience).clone(), *seq)),
    );
    let state = State {
        iss: id(name),
        iat: NOW.plus(60),
        body: StateBody {
            format: 1,
            standing,
            operations: ["status.read", "device.reboot"]
                .map(|o| Operation::new(o).unwrap())
                .to_vec(),
            log: head(),
        },
    };
    sign(&state, &key(signer))
}

pub fn receipt(
    name: &str,
    signer: &str,
    share: &Bytes<16>,
    about: Hash,
    outcome: Outcome,
) -> Vec<u8> {
    let refused = outcome == Outcome::Denied;
    let receipt = Receipt {
        iss: id(name),
        iat: NOW.plus(60),
        body: ReceiptBody {
            format: 1,
            command: about,
            outcome,
            code: refused.then(|| id("slots_full")),
            detail: None,
            result: Map::new([(Text::new("share").unwrap(), Value::Bytes(share.0.to_vec()))]),
            standing: standing(),
            log: head(),
        },
    };
    sign(&receipt, &key(signer))
}

fn standing() -> DeviceStanding {
    DeviceStanding {
        epoch: Bytes([1; 16]),
        boot: Bytes([2; 16]),
        uptime: 100,
        quality: 3,
        registration: 1,
        revocations: Map::default(),
    }
}

fn head() -> LogHead {
    LogHead {
        size: 3,
        hash: Bytes([3; 32]),
    }
}
