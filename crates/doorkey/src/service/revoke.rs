//! Cancelling shares, and the revocation lists that end them on devices.

use std::collections::BTreeMap;

use crate::IssuerError;
use crate::PerAudience;
use crate::domain::Actor;
use crate::domain::RuleCode;
use crate::domain::invitation::InvitationState;
use crate::domain::share::{Recipient, ShareRecord, Termination};
use crate::ledger;
use crate::ledger::{Connection, StatementId};
use crate::service::platform::Platform;
use crate::service::shares::share_statement_id;
use doorward_protocol::wire::{
    Audience, Bytes, Kind, MAX_REVOCATIONS, Map, Revocations, RevocationsBody, Role, Timestamp,
};

/// Interval after which a revocation list is signed again, in seconds. It must be shorter than the
/// offline validity of shares.
pub const LIST_REFRESH_INTERVAL: u64 = 6 * 3600;

impl Platform {
    /// Cancels shares: issues one complete revocation list for each audience, with the next
    /// sequence number. Returns this number for each audience, or why there is none.
    ///
    /// # Errors
    /// If the actor may not manage one of the shares, or the database cannot be used.
    pub async fn cancel(
        &self,
        actor: Actor<'_>,
        ids: &[Bytes<16>],
        now: Timestamp,
    ) -> Result<PerAudience<u64>, IssuerError> {
        let mut connection = self.ledger.read().await?;
        let mut by_audience: BTreeMap<Audience, Vec<Bytes<16>>> = BTreeMap::new();
        for id in ids {
            let unknown = || RuleCode::Unknown.because(format!("You have no share {id}"));
            let share = ledger::share(&mut connection, id)
                .await?
                .ok_or_else(unknown)?;
            by_audience.entry(share.audience).or_default().push(*id);
        }
        // All shares are checked before any is ended.
        for (audience, ids) in &by_audience {
            match self
                .check_may_manage(&mut connection, actor, audience)
                .await
            {
                Ok(_) => {}
                Err(IssuerError::Refused(_)) => {
                    let id = ids.first().map(Bytes::hex).unwrap_or_default();
                    let why = format!("You have no share {id}");
                    return Err(RuleCode::Unknown.because(why).into());
                }
                Err(error) => return Err(error),
            }
        }
        drop(connection);
        let mut each = PerAudience::new();
        for (audience, ids) in by_audience {
            let ended = self
                .end_shares_by_id(&audience, &ids, Termination::Cancelled, now)
                .await;
            each.push((audience, ended));
        }
        Ok(each)
    }

    /// Gives up a share that the account has received. The registration and other shares stay.
    ///
    /// # Errors
    /// If the account has no such share, or the database cannot be used.
    pub async fn relinquish(
        &self,
        account: &crate::domain::account::Account,
        id: &Bytes<16>,
        now: Timestamp,
    ) -> Result<(), IssuerError> {
        let found = ledger::share(&mut *self.ledger.read().await?, id).await?;
        let received = |share: &ShareRecord| match &share.recipient {
            Recipient::Account(to, _) => *to == account.id,
            Recipient::Invited(_) | Recipient::Group(..) => false,
        };
        let unknown = || RuleCode::Unknown.because(format!("You have no share {id}"));
        let share = found.filter(received).ok_or_else(unknown)?;
        self.end_shares_by_id(&share.audience, &[*id], Termination::Relinquished, now)
            .await?;
        Ok(())
    }

    /// Ends shares of one audience, given by id. Returns the sequence number of the revocation
    /// list.
    async fn end_shares_by_id(
        &self,
        audience: &Audience,
        ids: &[Bytes<16>],
        termination: Termination,
        now: Timestamp,
    ) -> Result<u64, IssuerError> {
        let mut tx = self
            .ledger
            .begin_locked(std::slice::from_ref(audience))
            .await?;
        let mut shares = Vec::new();
        for id in ids {
            shares.extend(ledger::share(&mut tx, id).await?);
        }
        let seq = self
            .end_shares(&mut tx, audience, &shares, termination, now)
            .await?;
        tx.commit().await?;
        Ok(seq)
    }

    /// Ends shares of one audience in a transaction that has locked it, and signs the revocation
    /// list. Returns its sequence number.
    pub(crate) async fn end_shares(
        &self,
        tx: &mut Connection,
        audience: &Audience,
        shares: &[ShareRecord],
        termination: Termination,
        now: Timestamp,
    ) -> Result<u64, IssuerError> {
        let (seq, floor) = ledger::newest_list(tx, audience).await?;
        for share in shares {
            let signed = share.recipient.key().is_some();
            let list_seq = signed.then_some(seq + 1);
            ledger::end_share(tx, &share.id, termination, now, list_seq).await?;
            if signed {
                ledger::put_statement(tx, &share_statement_id(share), &[]).await?;
            }
            if let Some(id) = &share.invitation {
                self.withdraw_if_empty(tx, id).await?;
            }
        }
        self.sign_list(tx, audience, (seq + 1, floor), now).await?;
        Ok(seq + 1)
    }

    /// Withdraws an open invitation whose shares have all ended.
    async fn withdraw_if_empty(
        &self,
        tx: &mut Connection,
        id: &Bytes<16>,
    ) -> Result<(), IssuerError> {
        let shares = ledger::shares_of_invitation(tx, id).await?;
        if shares.iter().any(|share| share.ended.is_none()) {
            return Ok(());
        }
        if let Some(mut invitation) = ledger::invitation(tx, id).await?
            && invitation.stage == InvitationState::Open
        {
            invitation.stage = InvitationState::Withdrawn;
            ledger::put_invitation(tx, &invitation).await?;
        }
        Ok(())
    }

    /// Signs and stores the revocation list of an audience.
    async fn sign_list(
        &self,
        tx: &mut Connection,
        audience: &Audience,
        (seq, mut floor): (u64, Timestamp),
        now: Timestamp,
    ) -> Result<(), IssuerError> {
        let mut entries = ledger::ended_shares(tx, audience, (now, floor)).await?;
        if entries.len() > MAX_REVOCATIONS {
            // The list is full: raise the floor, which ends all shares signed before now, and issue
            // the live shares again. No entry is ever dropped for lack of space.
            floor = now;
            for share in ledger::shares_of(tx, audience, now).await? {
                if share.is_live(now) && share.recipient.key().is_some() {
                    let reissued = ShareRecord {
                        version: share.version.saturating_add(1),
                        signed: now,
                        ..share
                    };
                    self.save_and_publish(tx, &reissued).await?;
                }
            }
            entries = ledger::ended_shares(tx, audience, (now, floor)).await?;
        }
        let list = Revocations {
            iss: self.name().clone(),
            aud: audience.clone(),
            iat: now,
            body: RevocationsBody {
                format: 1,
                seq,
                next: now.plus(LIST_REFRESH_INTERVAL),
                shares: Map::new(entries),
                holders: Map::default(),
                subjects: Map::default(),
                before: floor,
            },
        };
        let bytes = self.keys.sign(Role::Revocations, &list)?;
        ledger::put_statement(tx, &revocation_list_id(audience), &bytes).await?;
        ledger::set_newest_list(tx, audience, seq, now, floor).await
    }

    /// Signs the revocation list of an audience again, as a proof of freshness. Returns its
    /// sequence number.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn refresh_revocation_list(
        &self,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<u64, IssuerError> {
        self.end_shares_by_id(audience, &[], Termination::Cancelled, now)
            .await
    }

    /// Runs the maintenance that is due: expires invitations, shares and sessions, and signs stale
    /// revocation lists again. Returns the number of lists signed.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn run_maintenance(&self, now: Timestamp) -> Result<usize, IssuerError> {
        let mut tx = self.ledger.begin().await?;
        ledger::expire_invitations(&mut tx, now).await?;
        ledger::expire_ended(&mut tx, now).await?;
        tx.commit().await?;
        self.ledger.delete_expired_sessions(now).await?;
        let before = Timestamp(now.0.saturating_sub(LIST_REFRESH_INTERVAL));
        let stale = ledger::stale_lists(&mut *self.ledger.read().await?, before, 1000).await?;
        let mut signed = 0;
        for audience in stale {
            let mut tx = self
                .ledger
                .begin_locked(std::slice::from_ref(&audience))
                .await?;
            // Another process may have signed it meanwhile.
            let (seq, floor) = ledger::newest_list(&mut tx, &audience).await?;
            if ledger::list_issued_at(&mut tx, &audience).await? < before {
                self.sign_list(&mut tx, &audience, (seq + 1, floor), now)
                    .await?;
                signed += 1;
            }
            tx.commit().await?;
        }
        Ok(signed)
    }
}

/// Identifies the revocation list of an audience.
pub(crate) fn revocation_list_id(audience: &Audience) -> StatementId {
    StatementId {
        audience: audience.clone(),
        kind: Kind::Revocations,
        name: String::new(),
    }
}
