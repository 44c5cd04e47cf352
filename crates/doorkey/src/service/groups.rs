//! Groups: create them, store their signed member lists, and decide on their access requests.

use crate::IssuerError;
use crate::domain::RuleCode;
use crate::domain::account::Account;
use crate::domain::group::{Group, LookupKey, MAX_HOSTS, check_host};
use crate::domain::share::{Recipient, ShareRecord};
use crate::domain::{Actor, NewShare, ShareTarget};
use crate::ledger;
use crate::ledger::{Connection, StatementId};
use crate::service::platform::Platform;
use doorward_protocol::wire::{
    Audience, Bytes, Envelope, Id, KeyBytes, Kind, PublicKey, Roster, Timestamp,
};
use doorward_transport::files::Doing;
use doorward_transport::random;

/// A new group.
#[derive(Debug, Clone)]
pub struct NewGroup {
    /// The group's id.
    pub id: Id,
    /// The lookup key.
    pub lookup_key: LookupKey,
    /// The display name.
    pub name: String,
    /// The group's own public key, which signs its member lists.
    pub key: KeyBytes,
    /// Hosts that approvers may be sent back to.
    pub hosts: Vec<String>,
}

/// The result of a decision on a group's access request.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The share, if the request was approved.
    pub share: Option<ShareRecord>,
    /// The address to return to, if the request contained one.
    pub return_to: Option<String>,
}

impl Platform {
    /// Creates a group that an account owns.
    ///
    /// # Errors
    /// If a rule forbids it or the database cannot be used.
    pub async fn add_group(&self, owner: &Account, new: NewGroup) -> Result<Group, IssuerError> {
        owner.check_may_share()?;
        PublicKey::new(&new.key)?;
        if new.name.trim().is_empty()
            || new.name.len() > 100
            || new.name.chars().any(char::is_control)
        {
            return Err(RuleCode::Invalid
                .because("A group's name has 1 to 100 characters, none of them a control character")
                .into());
        }
        if new.hosts.len() > MAX_HOSTS {
            return Err(RuleCode::Invalid
                .because(format!("A group has at most {MAX_HOSTS} hosts"))
                .into());
        }
        let hosts: Result<Vec<String>, _> = new.hosts.iter().map(|name| check_host(name)).collect();
        let group = Group {
            id: new.id,
            lookup_key: new.lookup_key,
            name: new.name,
            owner: owner.id.clone(),
            key: new.key,
            hosts: hosts?,
            roster: 0,
        };
        let mut tx = self.ledger.begin().await?;
        if !ledger::add_group(&mut tx, &group).await? {
            let why = "Another group has this id, lookup key or public key";
            return Err(RuleCode::Taken.because(why).into());
        }
        tx.commit().await?;
        Ok(group)
    }

    /// Returns the group with a lookup key. Only its public name may be shown to other accounts.
    ///
    /// # Errors
    /// [`RuleCode::Unknown`], or if the database cannot be used.
    pub async fn group_by_lookup_key(&self, key: &LookupKey) -> Result<Group, IssuerError> {
        let found = ledger::group_by_lookup_key(&mut *self.ledger.read().await?, key).await?;
        Ok(found.ok_or_else(|| RuleCode::Unknown.because(format!("There is no group {key}")))?)
    }

    /// Lists the groups that an account owns or is a member of.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn groups(&self, account: &Account) -> Result<Vec<Group>, IssuerError> {
        ledger::groups_of(&mut *self.ledger.read().await?, &account.id).await
    }

    /// Stores a member list that is signed with a group's key, and queues it for every device and
    /// site that the group may use. Returns their number.
    ///
    /// # Errors
    /// If a rule forbids it or the database cannot be used.
    pub async fn accept_roster(&self, bytes: &[u8], now: Timestamp) -> Result<usize, IssuerError> {
        let invalid = |why: &str| RuleCode::Invalid.because(format!("Invalid member list: {why}"));
        let envelope = Envelope::parse(bytes).map_err(|error| invalid(&error.to_string()))?;
        let roster: Roster = envelope
            .claims()
            .map_err(|error| invalid(&error.to_string()))?;
        let signer = PublicKey::new(&envelope.signer)?;
        envelope
            .verify(&signer)
            .map_err(|_| invalid("its signature is invalid"))?;
        if roster.exp <= now || roster.iat > now.plus(300) {
            return Err(invalid("it has expired, or was issued in the future").into());
        }
        let mut tx = self.ledger.begin().await?;
        let unknown = || RuleCode::Unknown.because("No group has the key that signed this list");
        // The first statement must be a write, which takes the lock.
        ledger::lock_group(&mut tx, &envelope.signer).await?;
        let group = ledger::group_by_key(&mut tx, &envelope.signer)
            .await?
            .ok_or_else(unknown)?;
        if group.id != roster.sub {
            return Err(invalid("it names a different group").into());
        }
        if !ledger::replace_members(&mut tx, &group.id, &roster).await? {
            let why = format!(
                "{} already has member list {} or a newer one",
                group.id, roster.body.seq
            );
            return Err(RuleCode::Taken.because(why).into());
        }
        ledger::store_roster(&mut tx, &group.id, bytes).await?;
        let audiences = ledger::audiences_shared_with_group(&mut tx, &group.key, now).await?;
        for audience in &audiences {
            ledger::put_statement(&mut tx, &roster_id(audience, &group.key), bytes).await?;
        }
        tx.commit().await?;
        Ok(audiences.len())
    }

    /// Queues a group's member list for an audience that the group may use from now on.
    pub(crate) async fn publish_roster(
        &self,
        tx: &mut Connection,
        group: &Id,
        key: &KeyBytes,
        audience: &Audience,
    ) -> Result<(), IssuerError> {
        if let Some(bytes) = ledger::roster(tx, group).await? {
            ledger::put_statement(tx, &roster_id(audience, key), &bytes).await?;
        }
        Ok(())
    }

    /// Lists the sites for which an account may approve requests.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn sites(&self, account: &Account) -> Result<Vec<Id>, IssuerError> {
        if !account.role.may_share() {
            return Ok(Vec::new());
        }
        ledger::sites_of(&mut *self.ledger.read().await?, &account.id).await
    }

    /// Decides on a group's request for a whole site. An approval creates a share of the site with
    /// the preset `partner`, which includes devices added later.
    ///
    /// # Errors
    /// If a rule forbids it or the database cannot be used.
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
        // An invalid return address is refused before anything is changed.
        let return_to = return_url
            .map(|url| group.return_to(url, Some(site), approve))
            .transpose()?;
        if !self.sites(account).await?.contains(site) {
            return Err(RuleCode::Unknown
                .because(format!("You manage no site {site}"))
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
                let created = self
                    .share(Actor::Account(account), &[audience], &new, now)
                    .await?;
                match created.each.into_iter().next() {
                    Some((_, share)) => Some(share?),
                    None => None,
                }
            }
        };
        let mut tx = self.ledger.begin().await?;
        let decision = ledger::AccessDecision {
            id: Bytes(random().doing("make an id in", &self.issuers_file())?),
            group: &group.id,
            site,
            by: &account.id,
            share: share.as_ref().map(|share| share.id),
            at: now,
        };
        ledger::add_decision(&mut tx, &decision).await?;
        tx.commit().await?;
        Ok(Decision { share, return_to })
    }

    /// Lists the groups that may use a site. The accounts that manage the site and the members of
    /// these groups may see it.
    ///
    /// # Errors
    /// If a rule forbids it or the database cannot be used.
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
                .because(format!("You have no access to a site {site}"))
                .into()),
        }
    }
}

/// Identifies the member list of a group for an audience.
fn roster_id(audience: &Audience, group: &KeyBytes) -> StatementId {
    StatementId {
        audience: audience.clone(),
        kind: Kind::Roster,
        name: group.hex(),
    }
}
