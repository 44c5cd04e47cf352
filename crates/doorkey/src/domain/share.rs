//! Shares, from invitation to end.

use crate::domain::device::{Device, longest_lease};
use crate::domain::error::{Refusal, RuleCode};
use doorward_protocol::wire::{
    Audience, Bytes, Confirmation, Id, KeyBytes, Limits, Map, Operation, Permission, Share,
    ShareBody, Text, Timestamp,
};

/// The recipient of a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// An invited person who has not accepted yet: an e-mail address, or the name of a guest.
    Invited(String),
    /// An account, with the key with which it accepted.
    Account(Id, KeyBytes),
    /// A group, with its own key. The member list says who belongs to it.
    Group(Id, KeyBytes),
}

impl Recipient {
    /// The name in listings.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Invited(address) => address,
            Self::Account(id, _) | Self::Group(id, _) => id.as_str(),
        }
    }

    /// The public key; `None` until the invitation is accepted.
    #[must_use]
    pub fn key(&self) -> Option<KeyBytes> {
        match self {
            Self::Invited(_) => None,
            Self::Account(_, key) | Self::Group(_, key) => Some(*key),
        }
    }

    /// Identifies the recipient when users of a device are counted: all shares of one key count as
    /// one user.
    #[must_use]
    pub fn slot(&self) -> String {
        match self.key() {
            Some(key) => key.hex(),
            None => self.name().to_owned(),
        }
    }
}

/// How a share ended before its end date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Termination {
    /// Cancelled by the owner or a site administrator.
    Cancelled,
    /// Given up by the recipient.
    Relinquished,
    /// Declined by the recipient, or denied by the owner.
    Denied,
    /// The invitation was not accepted in time.
    Lapsed,
}

impl Termination {
    /// The name in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Relinquished => "relinquished",
            Self::Denied => "denied",
            Self::Lapsed => "lapsed",
        }
    }

    /// The termination with a name in the database.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [
            Self::Cancelled,
            Self::Relinquished,
            Self::Denied,
            Self::Lapsed,
        ];
        all.into_iter()
            .find(|termination| termination.name() == name)
    }
}

/// The signed confirmations of one device about a share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceReport {
    /// The version of the share that it has installed; 0 for none.
    pub version: u32,
    /// The code with which it refused the share, if it did.
    pub refused: Option<String>,
    /// Whether it has confirmed the revocation list that ends the share.
    pub ended: bool,
}

/// The status of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The recipient has not accepted yet.
    Pending,
    /// Signed, and not yet confirmed by every device.
    Active,
    /// Confirmed by every device.
    OnDevice,
    /// Confirmed, but the plan does not include all operations of the share.
    Suspended,
    /// The end date has passed.
    Expired,
    /// Declined by the recipient, or denied by the owner.
    Denied,
    /// The invitation was not accepted in time.
    Lapsed,
    /// Cancelled; not yet confirmed by every device.
    CancelRequested,
    /// Cancelled, and confirmed by every device.
    CancelApplied,
    /// Given up by the recipient.
    Relinquished,
    /// Refused by a device.
    Refused,
}

impl Status {
    /// The stable name, for scripts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::OnDevice => "active_on_device",
            Self::Suspended => "suspended_by_plan",
            Self::Expired => "expired",
            Self::Denied => "denied",
            Self::Lapsed => "lapsed",
            Self::CancelRequested => "cancel_requested",
            Self::CancelApplied => "cancelled",
            Self::Relinquished => "relinquished",
            Self::Refused => "refused_by_device",
        }
    }
}

/// A share in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareRecord {
    /// The share's id.
    pub id: Bytes<16>,
    /// The device or site that is shared.
    pub audience: Audience,
    /// The recipient.
    pub recipient: Recipient,
    /// The account that shares.
    pub by: Id,
    /// The account that approved it, if a recipient requested it.
    pub approved_by: Option<Id>,
    /// The permissions that it grants.
    pub permissions: Map<Operation, Permission>,
    /// The purpose, for people to read.
    pub description: Option<Text>,
    /// Time of creation.
    pub made: Timestamp,
    /// The first second at which it is valid.
    pub start: Timestamp,
    /// The first second at which it is no longer valid.
    pub end: Timestamp,
    /// Version of the token; increases whenever the share is signed with new content.
    pub version: u32,
    /// When its token was issued; the time of creation before it is accepted.
    pub signed: Timestamp,
    /// Limits on the number, time and origin of commands.
    pub limits: Option<Limits>,
    /// The region.
    pub region: Id,
    /// The invitation that it belongs to, if any.
    pub invitation: Option<Bytes<16>>,
    /// How and when it ended before its end date.
    pub ended: Option<(Termination, Timestamp)>,
    /// When it was last used, as far as the platform knows.
    pub used: Option<Timestamp>,
}

impl ShareRecord {
    /// The share token; `None` while the recipient's key is unknown.
    #[must_use]
    pub fn token(&self, iss: &Id) -> Option<Share> {
        let key = self.recipient.key()?;
        let group = match &self.recipient {
            Recipient::Group(id, _) => Some(id.clone()),
            _ => None,
        };
        Some(Share {
            iss: iss.clone(),
            sub: Id::new(self.recipient.name()).ok()?,
            aud: self.audience.clone(),
            exp: self.end,
            nbf: self.start,
            iat: self.signed,
            cti: self.id,
            cnf: Confirmation(key),
            body: ShareBody {
                format: 1,
                version: self.version,
                permissions: self.permissions.clone(),
                by: self.by.clone(),
                description: self.description.clone(),
                lease: None,
                region: self.region.clone(),
                group,
                limits: self.limits.clone(),
            },
        })
    }

    /// Whether the share has not ended: it is valid, or will be once it is accepted.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ended.is_none() && self.end > now
    }

    /// The status, given the reports of the devices of its audience.
    #[must_use]
    pub fn status(&self, devices: &[(&Device, DeviceReport)], now: Timestamp) -> Status {
        match self.ended {
            Some((Termination::Denied, _)) => return Status::Denied,
            Some((Termination::Lapsed, _)) => return Status::Lapsed,
            Some((Termination::Relinquished, _)) => return Status::Relinquished,
            Some((Termination::Cancelled, _)) => {
                let everywhere = devices.iter().all(|(_, report)| report.ended);
                return match everywhere || self.end <= now || self.recipient.key().is_none() {
                    true => Status::CancelApplied,
                    false => Status::CancelRequested,
                };
            }
            None if self.end <= now => return Status::Expired,
            None if self.recipient.key().is_none() => return Status::Pending,
            None => {}
        }
        if devices.iter().any(|(_, report)| report.refused.is_some()) {
            return Status::Refused;
        }
        let confirmed = |(_, report): &(&Device, DeviceReport)| report.version >= self.version;
        if devices.is_empty() || !devices.iter().all(confirmed) {
            return Status::Active;
        }
        let suspended = |(device, _): &(&Device, DeviceReport)| {
            !self.operations_outside_plan(device, now).is_empty()
        };
        match devices.iter().any(suspended) {
            true => Status::Suspended,
            false => Status::OnDevice,
        }
    }

    /// The granted operations that the device's plan does not include at `now`; the device suspends
    /// them.
    #[must_use]
    pub fn operations_outside_plan(&self, device: &Device, now: Timestamp) -> Vec<Operation> {
        let granted = self.permissions.iter().map(|(operation, _)| operation);
        granted
            .filter(|operation| !device.includes(operation, now))
            .cloned()
            .collect()
    }

    /// Whether the recipient counts as a user of the device: while the share is valid or can become
    /// valid, and after its termination until the device has confirmed it (`confirmed`), or until
    /// the longest lease has passed, after which a device without an update suspends the share.
    #[must_use]
    pub fn takes_slot(&self, confirmed: bool, now: Timestamp) -> bool {
        match self.ended {
            _ if self.end <= now => false,
            None => true,
            Some(_) if self.recipient.key().is_none() => false,
            Some((_, at)) => !confirmed && now < at.plus(longest_lease()),
        }
    }

    /// Moves the end of the share by `seconds`, counted from its current end.
    ///
    /// # Errors
    /// [`RuleCode::Ended`], [`RuleCode::Invalid`].
    pub fn extend(&mut self, seconds: u64, now: Timestamp) -> Result<(), Refusal> {
        if !self.is_live(now) {
            return Err(RuleCode::Ended.because("This share has ended"));
        }
        let end = self.end.plus(seconds);
        if end <= self.end {
            return Err(RuleCode::Invalid.because("An extension must move the end to a later time"));
        }
        self.end = end;
        self.version = self.version.saturating_add(1);
        Ok(())
    }
}

/// Checks that `recipient` may become a user of the device: `taken` are its present users, and
/// `slots` is the maximum number.
///
/// # Errors
/// [`RuleCode::SlotsFull`].
pub fn check_slot_free(
    device: &Id,
    recipient: &str,
    taken: &[String],
    slots: u32,
) -> Result<(), Refusal> {
    let mut others: Vec<&String> = taken.iter().filter(|slot| *slot != recipient).collect();
    others.sort_unstable();
    others.dedup();
    if others.len() < slots as usize {
        return Ok(());
    }
    let why = format!(
        "{device} already has the maximum number of users ({})",
        others.len()
    );
    Err(RuleCode::SlotsFull.because(why))
}

#[cfg(test)]
mod tests {
    use super::super::device::tests::sample as device;
    use super::*;

    fn share() -> ShareRecord {
        let operation = |name| (Operation::new(name).unwrap(), Permission::default());
        ShareRecord {
            id: Bytes([7; 16]),
            audience: Audience::Device(Id::new("ups-7").unwrap()),
            recipient: Recipient::Account(Id::new("anna").unwrap(), Bytes([3; 32])),
            by: Id::new("ole").unwrap(),
            approved_by: None,
            permissions: Map::new([operation("status.read"), operation("device.reboot")]),
            description: None,
            made: Timestamp(100),
            start: Timestamp(100),
            end: Timestamp(5000),
            version: 1,
            signed: Timestamp(100),
            limits: None,
            region: Id::new("eu").unwrap(),
            invitation: None,
            ended: None,
            used: None,
        }
    }

    fn report(version: u32, ended: bool) -> DeviceReport {
        DeviceReport {
            version,
            refused: None,
            ended,
        }
    }

    #[test]
    fn s38_s59_s63_a_share_is_active_on_the_device_and_cancelled_only_by_the_devices_report() {
        let (mut share, device) = (share(), device());
        let at = Timestamp(500);
        assert_eq!(
            share.status(&[(&device, report(0, false))], at),
            Status::Active
        );
        assert_eq!(
            share.status(&[(&device, report(1, false))], at),
            Status::OnDevice
        );
        let refused = DeviceReport {
            refused: Some("slots_full".into()),
            ..report(0, false)
        };
        assert_eq!(share.status(&[(&device, refused)], at), Status::Refused);
        assert_eq!(
            share.status(&[(&device, report(1, false))], Timestamp(5000)),
            Status::Expired
        );
        share.ended = Some((Termination::Cancelled, at));
        let two = [(&device, report(1, true)), (&device, report(1, false))];
        assert_eq!(share.status(&two, at), Status::CancelRequested);
        assert_eq!(share.status(&two[..1], at), Status::CancelApplied);
    }

    #[test]
    fn s20_when_the_plan_ends_a_share_is_suspended_and_with_a_new_plan_it_is_back() {
        let (share, mut device) = (share(), device());
        let status = |device: &Device| share.status(&[(device, report(1, false))], Timestamp(1000));
        assert_eq!(status(&device), Status::Suspended);
        let suspended = share.operations_outside_plan(&device, Timestamp(1000));
        assert_eq!(suspended, [Operation::new("device.reboot").unwrap()]);
        device.plan.end = None;
        assert_eq!(status(&device), Status::OnDevice);
    }

    #[test]
    fn s60_an_extension_counts_from_the_end_and_what_has_ended_is_not_extended() {
        let mut extended = share();
        extended.extend(700, Timestamp(200)).unwrap();
        assert_eq!((extended.end, extended.version), (Timestamp(5700), 2));
        let mut still = share();
        assert_eq!(
            still.extend(0, Timestamp(200)).unwrap_err().rule,
            RuleCode::Invalid
        );
        assert_eq!(
            still.extend(700, Timestamp(5000)).unwrap_err().rule,
            RuleCode::Ended
        );
        still.ended = Some((Termination::Cancelled, Timestamp(150)));
        assert_eq!(
            still.extend(700, Timestamp(200)).unwrap_err().rule,
            RuleCode::Ended
        );
        assert_eq!(still.end, Timestamp(5000));
    }

    #[test]
    fn s02_five_people_have_slots_and_a_cancelled_one_keeps_it_until_the_device_obeys() {
        let device = Id::new("ups-7").unwrap();
        let taken: Vec<String> = ["a", "b", "c", "d", "e", "e"].map(String::from).to_vec();
        let refusal = check_slot_free(&device, "f", &taken, 5).unwrap_err();
        assert_eq!(refusal.rule, RuleCode::SlotsFull);
        assert_eq!(check_slot_free(&device, "e", &taken, 5), Ok(()));
        assert_eq!(check_slot_free(&device, "f", &taken[..4], 5), Ok(()));
        let mut share = ShareRecord {
            end: Timestamp(u64::MAX),
            ..share()
        };
        assert!(share.takes_slot(false, Timestamp(200)));
        share.ended = Some((Termination::Cancelled, Timestamp(300)));
        assert!(share.takes_slot(false, Timestamp(301)));
        assert!(!share.takes_slot(true, Timestamp(301)));
        let lease = longest_lease();
        assert!(share.takes_slot(false, Timestamp(299 + lease)));
        assert!(!share.takes_slot(false, Timestamp(300 + lease)));
        share.recipient = Recipient::Invited("anna@example.org".into());
        assert!(
            !share.takes_slot(false, Timestamp(301)),
            "it was never on the device"
        );
    }

    #[test]
    fn s23_s25_the_token_of_a_group_names_the_group_and_holds_its_key() {
        let mut share = share();
        let iss = Id::new("acme").unwrap();
        assert_eq!(share.token(&iss).unwrap().body.group, None);
        share.recipient = Recipient::Group(Id::new("tzbv").unwrap(), Bytes([9; 32]));
        let token = share.token(&iss).unwrap();
        assert_eq!(token.body.group, Some(Id::new("tzbv").unwrap()));
        assert_eq!(token.cnf.0, Bytes([9; 32]));
        share.recipient = Recipient::Invited("a@b.c".into());
        assert_eq!(share.token(&iss), None);
    }
}
