//! Processing of device reports: `state` and receipts, accepted only with the device's signature.

use crate::IssuerError;
use crate::domain::device::Device;
use crate::ledger;
use crate::ledger::{Alert, Connection};
use crate::service::platform::Platform;
use doorward_protocol::wire::{
    Bytes, Envelope, Hash, Id, Outcome, PublicKey, Receipt, Share, State, Text, Timestamp, Value,
    hash,
};

impl Platform {
    /// Processes a device's `state`: the revocation lists and the registration that it has applied,
    /// and the operations that it offers. Its overdue statements are retried, since it is online.
    /// Returns `false` if the device is unknown or the signature is not its own.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn apply_state(
        &self,
        id: &Id,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<bool, IssuerError> {
        let Some(device) = self.device(id).await? else {
            return Ok(false);
        };
        let Some(state) = verified::<State>(&device, bytes).filter(|state| state.iss == *id) else {
            return Ok(false);
        };
        let standing = &state.body.standing;
        let mut tx = self.ledger.begin().await?;
        let operations = &state.body.operations;
        let applied = standing.registration;
        ledger::record_device_state(&mut tx, id, applied, operations, state.iat).await?;
        if standing.registration >= device.seq {
            ledger::mark_delivered(
                &mut tx,
                &crate::service::registration::registration_id(&device),
            )
            .await?;
        }
        for audience in device.audiences() {
            let seq = standing.revocations.get(&audience).copied().unwrap_or(0);
            let report = (state.iat, bytes);
            ledger::put_applied_list(&mut tx, (id, &audience), seq, report).await?;
            let (newest, _) = ledger::newest_list(&mut tx, &audience).await?;
            if seq >= newest && ledger::all_have_applied(&mut tx, &audience, newest).await? {
                ledger::mark_delivered(
                    &mut tx,
                    &crate::service::revoke::revocation_list_id(&audience),
                )
                .await?;
            }
        }
        for audience in device.audiences() {
            ledger::retry_now(&mut tx, &audience, now).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Processes a device's receipt for a share. Returns `false` if it is not a receipt for a known
    /// share or the signature is not the device's own.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn apply_receipt(&self, id: &Id, bytes: &[u8]) -> Result<bool, IssuerError> {
        let Some(device) = self.device(id).await? else {
            return Ok(false);
        };
        let receipt = verified::<Receipt>(&device, bytes).filter(|receipt| receipt.iss == *id);
        let Some((receipt, share_id)) = receipt.and_then(|receipt| {
            let share_id = share_of_receipt(&receipt)?;
            Some((receipt, share_id))
        }) else {
            return Ok(false);
        };
        let mut tx = self.ledger.begin().await?;
        ledger::lock_share(&mut tx, &share_id).await?;
        let Some(share) = ledger::share(&mut tx, &share_id).await? else {
            return Ok(false);
        };
        let statement_id = crate::service::shares::share_statement_id(&share);
        let newest = ledger::statement(&mut tx, &statement_id).await?;
        // A receipt contains the hash of the statement that it answers; only the newest counts.
        let Some(version) = newest
            .filter(|statement| hash(statement) == receipt.body.command)
            .and_then(|statement| {
                let share: Share = Envelope::parse(&statement).ok()?.claims().ok()?;
                Some(share.body.version)
            })
        else {
            return Ok(false);
        };
        let refused = match receipt.body.outcome {
            Outcome::Done => None,
            _ => Some(receipt.body.code.as_ref().map_or("denied", Id::as_str)),
        };
        let report = (receipt.iat, bytes);
        ledger::put_device_report(&mut tx, (&share_id, id), version, refused, report).await?;
        let reports = ledger::device_reports_on(&mut tx, (&share_id, &share.audience)).await?;
        if reports.iter().all(|(_, report)| report.version >= version) {
            ledger::mark_delivered(&mut tx, &statement_id).await?;
        }
        if refused.is_none() {
            let text = format!("{} can now use {}", share.recipient.name(), share.audience);
            add_alert(
                &mut tx,
                &device,
                ("new_share", &share_id.hex()),
                receipt.iat,
                text,
            )
            .await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Records the use of a share, as found in the device's event log. The first use causes an
    /// alert.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn record_share_use(
        &self,
        device: &Id,
        share: &Bytes<16>,
        at: Timestamp,
    ) -> Result<(), IssuerError> {
        let Some(device) = self.device(device).await? else {
            return Ok(());
        };
        let mut tx = self.ledger.begin().await?;
        if ledger::record_share_use(&mut tx, share, at).await?
            && let Some(share) = ledger::share(&mut tx, share).await?
        {
            let text = format!(
                "{} has used {} for the first time",
                share.recipient.name(),
                device.id
            );
            add_alert(&mut tx, &device, ("first_use", &share.id.hex()), at, text).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Adds an alert for the owner that commands of `person` were refused repeatedly.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn add_refusal_alert(
        &self,
        device: &Id,
        person: &str,
        at: Timestamp,
    ) -> Result<(), IssuerError> {
        let Some(device) = self.device(device).await? else {
            return Ok(());
        };
        let mut tx = self.ledger.begin().await?;
        // At most one alert per person and hour.
        let about = format!("{person} {}", at.0 / 3600);
        let text = format!(
            "{} refused five commands of {person} within a minute",
            device.id
        );
        add_alert(&mut tx, &device, ("denials", &about), at, text).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Returns the newest `limit` alerts of an account, newest first.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn alerts(&self, account: &Id, limit: u64) -> Result<Vec<Alert>, IssuerError> {
        ledger::alerts(&mut *self.ledger.read().await?, account, limit).await
    }
}

/// Adds an alert for the owner of a device, once for each `kind` and cause (`about`).
async fn add_alert(
    connection: &mut Connection,
    device: &Device,
    (kind, about): (&str, &str),
    at: Timestamp,
    text: String,
) -> Result<(), IssuerError> {
    let id: Hash = hash(format!("{kind}\n{}\n{about}", device.id).as_bytes());
    let alert = Alert {
        at,
        kind: kind.to_owned(),
        device: device.id.clone(),
        text,
    };
    ledger::add_alert(connection, &id, &device.owner, &alert).await?;
    Ok(())
}

/// Returns the claims of an envelope if the device has signed it.
fn verified<T: doorward_protocol::wire::Object>(device: &Device, bytes: &[u8]) -> Option<T> {
    let key = PublicKey::new(&device.key).ok()?;
    let envelope = Envelope::parse(bytes).ok()?;
    envelope.verify(&key).ok()?;
    envelope.claims().ok()
}

/// The id of the share that a receipt answers, if it answers one.
fn share_of_receipt(receipt: &Receipt) -> Option<Bytes<16>> {
    match receipt.body.result.get(&Text::new("share").ok()?)? {
        Value::Bytes(bytes) => <[u8; 16]>::try_from(&bytes[..]).ok().map(Bytes),
        _ => None,
    }
}
