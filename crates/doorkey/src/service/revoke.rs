//! Ending shares, and the lists that say so to devices.

use std::collections::BTreeMap;

use crate::IssuerError;
use crate::PerAudience;
use crate::domain::Actor;
use crate::domain::RuleCode;
use crate::domain::invitation::InvitationState;
use crate::domain::share::{ShareRecord, Termination};
use crate::ledger;
use crate::ledger::{Connection, Topic};
use crate::service::platform::Platform;
use crate::service::shares::share_topic;
use doorward_protocol::wire::{
    Audience, Bytes, Kind, MAX_REVOCATIONS, Map, Revocations, RevocationsBody, Role, Timestamp,
};

/// After how many seconds a list is signed anew, so that leases stay fresh.
pub const FRESH_FOR: u64 = 6 * 3600;

impl Platform {
    /// Ends shares: one new list for each audience, whole and one number higher. For each
    /// audience the list, or why there is none.
    ///
    /// # Errors
    /// If one of the shares is none of theirs, or the ledger cannot be used.
    pub async fn cancel(
        &self,
        actor: Actor<'_>,
        ids: &[Bytes<16>],
        now: Timestamp,
    ) -> Result<PerAudience<u64>, IssuerError> {
        let mut connection = self.ledger.read().await?;
        let mut by_audience: BTreeMap<Audience, Vec<Bytes<16>>> = BTreeMap::new();
        for id in ids {
            let unknown = || RuleCode::Unknown.because(format!("There is no share {id} of yours"));
            let share = ledger::share(&mut connection, id)
                .await?
                .ok_or_else(unknown)?;
            by_audience.entry(share.audience).or_default().push(*id);
        }
        // Before anything is ended: is all of it theirs?
        for (audience, ids) in &by_audience {
            match self.may_manage(&mut connection, actor, audience).await {
                Ok(_) => {}
                Err(IssuerError::Refused(_)) => {
                    let id = ids.first().map(Bytes::hex).unwrap_or_default();
                    let why = format!("There is no share {id} of yours");
                    return Err(RuleCode::Unknown.because(why).into());
                }
                Err(error) => return Err(error),
            }
        }
        drop(connection);
        let mut each = PerAudience::new();
        for (audience, ids) in by_audience {
            let ended = self
                .cancel_of(&audience, &ids, Termination::Cancelled, now)
                .await;
            each.push((audience, ended));
        }
        Ok(each)
    }

    /// Gives up a share that somebody has. The registration and other people's shares stay.
    ///
    /// # Errors
    /// If it is not theirs, or the ledger cannot be used.
    pub async fn relinquish(
        &self,
        account: &crate::domain::account::Account,
        id: &Bytes<16>,
        now: Timestamp,
    ) -> Result<(), IssuerError> {
        let found = ledger::share(&mut *self.ledger.read().await?, id).await?;
        let theirs = |share: &ShareRecord| matches!(&share.recipient, crate::domain::share::Recipient::Account(to, _) if *to == account.id);
        let unknown = || RuleCode::Unknown.because(format!("There is no share {id} of yours"));
        let share = found.filter(theirs).ok_or_else(unknown)?;
        self.cancel_of(&share.audience, &[*id], Termination::Relinquished, now)
            .await?;
        Ok(())
    }

    async fn cancel_of(
        &self,
        audience: &Audience,
        ids: &[Bytes<16>],
        how: Termination,
        now: Timestamp,
    ) -> Result<u64, IssuerError> {
        let mut change = self.ledger.change(std::slice::from_ref(audience)).await?;
        let mut shares = Vec::new();
        for id in ids {
            shares.extend(ledger::share(&mut change, id).await?);
        }
        let list = self.end(&mut change, audience, &shares, how, now).await?;
        change.commit().await?;
        Ok(list)
    }

    /// Ends shares of one audience in a transaction that has locked it, and signs the list. The
    /// number of that list.
    pub(crate) async fn end(
        &self,
        change: &mut Connection,
        audience: &Audience,
        shares: &[ShareRecord],
        how: Termination,
        now: Timestamp,
    ) -> Result<u64, IssuerError> {
        let (seq, floor) = ledger::list_number(change, audience).await?;
        for share in shares {
            let signed = share.recipient.key().is_some();
            let list = signed.then_some(seq + 1);
            ledger::end_share(change, &share.id, how, now, list).await?;
            if signed {
                ledger::put_statement(change, &share_topic(share), &[]).await?;
            }
            if let Some(id) = &share.invitation {
                self.withdraw_if_over(change, id).await?;
            }
        }
        self.sign_list(change, audience, (seq + 1, floor), now)
            .await?;
        Ok(seq + 1)
    }

    /// An invitation to nothing that is left is no longer valid.
    async fn withdraw_if_over(
        &self,
        change: &mut Connection,
        id: &Bytes<16>,
    ) -> Result<(), IssuerError> {
        let shares = ledger::shares_of_invitation(change, id).await?;
        if shares.iter().any(|share| share.ended.is_none()) {
            return Ok(());
        }
        if let Some(mut invitation) = ledger::invitation(change, id).await?
            && invitation.stage == InvitationState::Open
        {
            invitation.stage = InvitationState::Withdrawn;
            ledger::put_invitation(change, &invitation).await?;
        }
        Ok(())
    }

    async fn sign_list(
        &self,
        change: &mut Connection,
        audience: &Audience,
        (seq, mut floor): (u64, Timestamp),
        now: Timestamp,
    ) -> Result<(), IssuerError> {
        let mut entries = ledger::ended_shares(change, audience, (now, floor)).await?;
        if entries.len() > MAX_REVOCATIONS {
            // The list overflows: everything signed before now ends, and what is live is signed
            // anew. No entry is ever dropped for want of room.
            floor = now;
            for share in ledger::shares_of(change, audience, now).await? {
                if share.is_live(now) && share.recipient.key().is_some() {
                    let anew = ShareRecord {
                        version: share.version.saturating_add(1),
                        signed: now,
                        ..share
                    };
                    self.save_and_publish(change, &anew).await?;
                }
            }
            entries = ledger::ended_shares(change, audience, (now, floor)).await?;
        }
        let list = Revocations {
            iss: self.name().clone(),
            aud: audience.clone(),
            iat: now,
            body: RevocationsBody {
                format: 1,
                seq,
                next: now.plus(FRESH_FOR),
                shares: Map::new(entries),
                holders: Map::default(),
                subjects: Map::default(),
                before: floor,
            },
        };
        let bytes = self.keys.sign(Role::Revocations, &list)?;
        ledger::put_statement(change, &list_topic(audience), &bytes).await?;
        ledger::set_list_number(change, audience, seq, now, floor).await
    }

    /// Signs the list of an audience anew, as a proof of freshness. Its number.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn refresh(&self, audience: &Audience, now: Timestamp) -> Result<u64, IssuerError> {
        self.cancel_of(audience, &[], Termination::Cancelled, now)
            .await
    }

    /// What is due: invitations that have lapsed, lists that are no longer fresh, sessions that
    /// are over. How many lists were signed.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn chores(&self, now: Timestamp) -> Result<usize, IssuerError> {
        let mut change = self.ledger.begin().await?;
        ledger::lapse(&mut change, now).await?;
        ledger::expire_ended(&mut change, now).await?;
        change.commit().await?;
        self.ledger.forget_sessions(now).await?;
        let before = Timestamp(now.0.saturating_sub(FRESH_FOR));
        let stale = ledger::stale_lists(&mut *self.ledger.read().await?, before, 1000).await?;
        let mut signed = 0;
        for audience in stale {
            let mut change = self.ledger.change(std::slice::from_ref(&audience)).await?;
            // Another process may have been faster.
            let (seq, floor) = ledger::list_number(&mut change, &audience).await?;
            if ledger::list_made(&mut change, &audience).await? < before {
                self.sign_list(&mut change, &audience, (seq + 1, floor), now)
                    .await?;
                signed += 1;
            }
            change.commit().await?;
        }
        Ok(signed)
    }
}

/// Where a list is kept.
pub(crate) fn list_topic(audience: &Audience) -> Topic {
    Topic {
        audience: audience.clone(),
        kind: Kind::Revocations,
        name: String::new(),
    }
}
