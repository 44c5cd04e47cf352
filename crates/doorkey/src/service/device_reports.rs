//! What devices say, believed only if they have signed it.

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
    /// Takes a device's `state`: which lists and which registration it obeys, what it offers,
    /// and that it is there. `false`: it is not that device's word.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn hear_state(
        &self,
        id: &Id,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<bool, IssuerError> {
        let Some(device) = self.device(id).await? else {
            return Ok(false);
        };
        let Some(state) = signed::<State>(&device, bytes).filter(|state| state.iss == *id) else {
            return Ok(false);
        };
        let standing = &state.body.standing;
        let mut change = self.ledger.begin().await?;
        let heard = (standing.registration, &state.body.operations[..]);
        ledger::heard_of(&mut change, id, heard.0, heard.1, state.iat).await?;
        if standing.registration >= device.seq {
            ledger::mark_delivered(
                &mut change,
                &crate::service::registration::registration_of(&device),
            )
            .await?;
        }
        for audience in device.audiences() {
            let seq = standing.revocations.get(&audience).copied().unwrap_or(0);
            let word = (state.iat, bytes);
            ledger::add_applied(&mut change, (id, &audience), seq, word).await?;
            let (newest, _) = ledger::list_number(&mut change, &audience).await?;
            if seq >= newest && ledger::all_have_applied(&mut change, &audience, newest).await? {
                ledger::mark_delivered(&mut change, &crate::service::revoke::list_topic(&audience))
                    .await?;
            }
        }
        for audience in device.audiences() {
            ledger::retry_now(&mut change, &audience, now).await?;
        }
        change.commit().await?;
        Ok(true)
    }

    /// Takes a device's receipt for a share. `false`: it is none, or not that device's word.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn hear_receipt(&self, id: &Id, bytes: &[u8]) -> Result<bool, IssuerError> {
        let Some(device) = self.device(id).await? else {
            return Ok(false);
        };
        let receipt = signed::<Receipt>(&device, bytes).filter(|receipt| receipt.iss == *id);
        let Some((receipt, share_id)) = receipt.and_then(|receipt| {
            let share = share_in(&receipt)?;
            Some((receipt, share))
        }) else {
            return Ok(false);
        };
        let mut change = self.ledger.begin().await?;
        ledger::lock_share(&mut change, &share_id).await?;
        let Some(share) = ledger::share(&mut change, &share_id).await? else {
            return Ok(false);
        };
        let topic = crate::service::shares::share_topic(&share);
        let kept = ledger::statement(&mut change, &topic).await?;
        // Which version it is about: the newest, if that is what the receipt answers.
        let Some(version) = kept
            .filter(|kept| hash(kept) == receipt.body.command)
            .and_then(|kept| {
                let share: Share = Envelope::parse(&kept).ok()?.claims().ok()?;
                Some(share.body.version)
            })
        else {
            return Ok(false);
        };
        let refused = match receipt.body.outcome {
            Outcome::Done => None,
            _ => Some(receipt.body.code.as_ref().map_or("denied", Id::as_str)),
        };
        let word = (receipt.iat, bytes);
        ledger::add_report(&mut change, (&share_id, id), version, refused, word).await?;
        let words = ledger::reports_on(&mut change, (&share_id, &share.audience)).await?;
        if words.iter().all(|(_, word)| word.version >= version) {
            ledger::mark_delivered(&mut change, &topic).await?;
        }
        if refused.is_none() {
            let what = format!("{} has {} now", share.recipient.name(), share.audience);
            alert(
                &mut change,
                &device,
                ("new_share", &share_id.hex()),
                receipt.iat,
                what,
            )
            .await?;
        }
        change.commit().await?;
        Ok(true)
    }

    /// Writes down that a share was used, as the device's log tells it.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn hear_use(
        &self,
        device: &Id,
        share: &Bytes<16>,
        at: Timestamp,
    ) -> Result<(), IssuerError> {
        let Some(device) = self.device(device).await? else {
            return Ok(());
        };
        let mut change = self.ledger.begin().await?;
        if ledger::used(&mut change, share, at).await?
            && let Some(share) = ledger::share(&mut change, share).await?
        {
            let what = format!(
                "{} has used {} for the first time",
                share.recipient.name(),
                device.id
            );
            alert(
                &mut change,
                &device,
                ("first_use", &share.id.hex()),
                at,
                what,
            )
            .await?;
        }
        change.commit().await?;
        Ok(())
    }

    /// Tells the owner that somebody was refused again and again.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn hear_refusals(
        &self,
        device: &Id,
        who: &str,
        at: Timestamp,
    ) -> Result<(), IssuerError> {
        let Some(device) = self.device(device).await? else {
            return Ok(());
        };
        let mut change = self.ledger.begin().await?;
        // One alert for each hour of a burst.
        let about = format!("{who} {}", at.0 / 3600);
        let what = format!(
            "{who} was refused by {} five times within a minute",
            device.id
        );
        alert(&mut change, &device, ("denials", &about), at, what).await?;
        change.commit().await?;
        Ok(())
    }

    /// The newest alerts of an account, newest first.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn alerts(&self, account: &Id, most: u64) -> Result<Vec<Alert>, IssuerError> {
        ledger::alerts(&mut *self.ledger.read().await?, account, most).await
    }
}

async fn alert(
    connection: &mut Connection,
    device: &Device,
    (kind, about): (&str, &str),
    at: Timestamp,
    words: String,
) -> Result<(), IssuerError> {
    let id: Hash = hash(format!("{kind}\n{}\n{about}", device.id).as_bytes());
    let alert = Alert {
        at,
        kind: kind.to_owned(),
        device: device.id.clone(),
        words,
    };
    ledger::add_alert(connection, &id, &device.owner, &alert).await?;
    Ok(())
}

/// What a device has signed, if it has.
fn signed<T: doorward_protocol::wire::Object>(device: &Device, bytes: &[u8]) -> Option<T> {
    let key = PublicKey::new(&device.key).ok()?;
    let envelope = Envelope::parse(bytes).ok()?;
    envelope.verify(&key).ok()?;
    envelope.claims().ok()
}

/// The share that a receipt is about, if it is about one.
fn share_in(receipt: &Receipt) -> Option<Bytes<16>> {
    match receipt.body.result.get(&Text::new("share").ok()?)? {
        Value::Bytes(bytes) => <[u8; 16]>::try_from(&bytes[..]).ok().map(Bytes),
        _ => None,
    }
}
