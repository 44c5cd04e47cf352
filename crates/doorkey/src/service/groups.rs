//! Groups on the platform: made, filled by rosters that they sign themselves, and let in.

use crate::IssuerError;
use crate::domain::RuleCode;
use crate::domain::account::Account;
use crate::domain::group::{Group, LookupKey, MAX_HOSTS, host};
use crate::domain::share::{Recipient, ShareRecord};
use crate::domain::{Actor, NewShare, ShareTarget};
use crate::ledger;
use crate::ledger::{Connection, Topic};
use crate::service::platform::Platform;
use doorward_protocol::wire::{
    Audience, Bytes, Envelope, Id, KeyBytes, Kind, PublicKey, Roster, Timestamp,
};
use doorward_transport::files::Doing;
use doorward_transport::random;

/// A group that is to be made.
#[derive(Debug, Clone)]
pub struct NewGroup {
    /// Its id.
    pub id: Id,
    /// Its lookup key.
    pub lookup_key: LookupKey,
    /// Its name for people.
    pub name: String,
    /// Its own key.
    pub key: KeyBytes,
    /// Hosts that people may be sent back to.
    pub hosts: Vec<String>,
}

/// The answer to a group's request for access.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The share, if it was approved.
    pub share: Option<ShareRecord>,
    /// Where to go back to, if the request named a place.
    pub return_to: Option<String>,
}

impl Platform {
    /// Makes a group that an account owns.
    ///
    /// # Errors
    /// If a rule forbids it or the ledger cannot be used.
    pub async fn add_group(&self, owner: &Account, new: NewGroup) -> Result<Group, IssuerError> {
        owner.may_share()?;
        PublicKey::new(&new.key)?;
        if new.name.trim().is_empty()
            || new.name.len() > 100
            || new.name.chars().any(char::is_control)
        {
            return Err(RuleCode::Invalid
                .because("A group's name has 1 to 100 characters")
                .into());
        }
        if new.hosts.len() > MAX_HOSTS {
            return Err(RuleCode::Invalid
                .because(format!("A group has at most {MAX_HOSTS} hosts"))
                .into());
        }
        let hosts: Result<Vec<String>, _> = new.hosts.iter().map(|name| host(name)).collect();
        let group = Group {
            id: new.id,
            lookup_key: new.lookup_key,
            name: new.name,
            owner: owner.id.clone(),
            key: new.key,
            hosts: hosts?,
            roster: 0,
        };
        let mut change = self.ledger.begin().await?;
        if !ledger::add_group(&mut change, &group).await? {
            let why = "Another group has that id, lookup key or key";
            return Err(RuleCode::Taken.because(why).into());
        }
        change.commit().await?;
        Ok(group)
    }

    /// The group of a lookup key: its public name is all that others should be shown.
    ///
    /// # Errors
    /// [`RuleCode::Unknown`], or if the ledger cannot be used.
    pub async fn group_by_lookup_key(&self, key: &LookupKey) -> Result<Group, IssuerError> {
        let found = ledger::group_by_lookup_key(&mut *self.ledger.read().await?, key).await?;
        Ok(found.ok_or_else(|| RuleCode::Unknown.because(format!("There is no group {key}")))?)
    }

    /// The groups that somebody owns or is a member of.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn groups(&self, account: &Account) -> Result<Vec<Group>, IssuerError> {
        ledger::groups_of(&mut *self.ledger.read().await?, &account.id).await
    }

    /// Takes a roster that a group has signed with its own key, and sends it to every device and
    /// site that the group may use. How many those are.
    ///
    /// # Errors
    /// If a rule forbids it or the ledger cannot be used.
    pub async fn accept_roster(&self, bytes: &[u8], now: Timestamp) -> Result<usize, IssuerError> {
        let invalid = |why: &str| RuleCode::Invalid.because(format!("That is no roster: {why}"));
        let envelope = Envelope::parse(bytes).map_err(|error| invalid(&error.to_string()))?;
        let roster: Roster = envelope
            .claims()
            .map_err(|error| invalid(&error.to_string()))?;
        let signer = PublicKey::new(&envelope.signer)?;
        envelope
            .verify(&signer)
            .map_err(|_| invalid("its signature is wrong"))?;
        if roster.exp <= now || roster.iat > now.plus(300) {
            return Err(invalid("it is over, or from the future").into());
        }
        let mut change = self.ledger.begin().await?;
        let unknown = || RuleCode::Unknown.because("There is no group with that key");
        // A write first, which finds nothing to change.
        ledger::lock_group(&mut change, &envelope.signer).await?;
        let group = ledger::group_by_key(&mut change, &envelope.signer)
            .await?
            .ok_or_else(unknown)?;
        if group.id != roster.sub {
            return Err(invalid("it names another group").into());
        }
        if !ledger::take_roster(&mut change, &group.id, &roster).await? {
            let why = format!(
                "Roster {} of {} is there already, or a newer one",
                roster.body.seq, group.id
            );
            return Err(RuleCode::Taken.because(why).into());
        }
        ledger::keep_roster(&mut change, &group.id, bytes).await?;
        let audiences = ledger::audiences_of_group(&mut change, &group.key, now).await?;
        for audience in &audiences {
            ledger::put_statement(&mut change, &roster_topic(audience, &group.key), bytes).await?;
        }
        change.commit().await?;
        Ok(audiences.len())
    }

    /// Has a group's roster go out to an audience that it may use from now on.
    pub(crate) async fn publish_roster(
        &self,
        change: &mut Connection,
        group: &Id,
        key: &KeyBytes,
        audience: &Audience,
    ) -> Result<(), IssuerError> {
        if let Some(bytes) = ledger::roster(change, group).await? {
            ledger::put_statement(change, &roster_topic(audience, key), &bytes).await?;
        }
        Ok(())
    }

    /// The sites for which an account may approve requests.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn sites(&self, account: &Account) -> Result<Vec<Id>, IssuerError> {
        if !account.role.may_share() {
            return Ok(Vec::new());
        }
        ledger::sites_of(&mut *self.ledger.read().await?, &account.id).await
    }

    /// Answers a group's request for a whole site: approved, it is a share with the preset
    /// `partner` for every device of the site, later ones too; denied, nothing at all.
    ///
    /// # Errors
    /// If a rule forbids it or the ledger cannot be used.
    pub async fn decide(
        &self,
        account: &Account,
        key: &LookupKey,
        site: &Id,
        (approve, end): (bool, Timestamp),
        return_url: Option<&str>,
        now: Timestamp,
    ) -> Result<Decision, IssuerError> {
        let group = self.group_by_lookup_key(key).await?;
        // Nothing is decided that could not be answered.
        let back = |granted| return_url.map(|url| group.return_to(url, Some(site), granted));
        let return_to = back(approve).transpose()?;
        if !self.sites(account).await?.contains(site) {
            return Err(RuleCode::Unknown
                .because(format!("There is no {site} of yours"))
                .into());
        }
        let share = match approve {
            false => None,
            true => {
                let new = NewShare {
                    to: ShareTarget::Group(group.id.clone()),
                    permissions: vec!["partner".to_owned()],
                    end,
                    description: None,
                    region: account.region.clone(),
                    limits: None,
                };
                let audience = Audience::Site(site.clone());
                let made = self
                    .share(Actor::Account(account), &[audience], &new, now)
                    .await?;
                match made.each.into_iter().next() {
                    Some((_, share)) => Some(share?),
                    None => None,
                }
            }
        };
        let mut change = self.ledger.begin().await?;
        let decided = ledger::Decided {
            id: Bytes(random().doing("make an id in", &self.issuers_file())?),
            group: &group.id,
            site,
            by: &account.id,
            share: share.as_ref().map(|share| share.id),
            at: now,
        };
        ledger::add_decision(&mut change, &decided).await?;
        change.commit().await?;
        Ok(Decision { share, return_to })
    }

    /// Groups that may use a site, for whoever may see its permissions.
    ///
    /// # Errors
    /// If a rule forbids it or the ledger cannot be used.
    pub async fn groups_at(
        &self,
        account: &Account,
        site: &Id,
        now: Timestamp,
    ) -> Result<Vec<Group>, IssuerError> {
        let audience = Audience::Site(site.clone());
        let mut connection = self.ledger.read().await?;
        let mine = ledger::groups_of(&mut connection, &account.id).await?;
        let sees_all = ledger::sites_of(&mut connection, &account.id)
            .await?
            .contains(site);
        let mut groups = Vec::new();
        for share in ledger::shares_of(&mut connection, &audience, now).await? {
            if let (Recipient::Group(id, _), true) = (&share.recipient, share.is_live(now))
                && let Some(group) = ledger::group(&mut connection, id).await?
            {
                groups.push(group);
            }
        }
        let member = groups.iter().any(|group| mine.contains(group));
        match sees_all || member {
            true => Ok(groups),
            false => Err(RuleCode::Unknown
                .because(format!("There is no {site} of yours"))
                .into()),
        }
    }
}

/// Where a roster is kept.
fn roster_topic(audience: &Audience, group: &KeyBytes) -> Topic {
    Topic {
        audience: audience.clone(),
        kind: Kind::Roster,
        name: group.hex(),
    }
}
