//! Sessions: whoever signs a challenge with the key of an account is that account, for an hour.

use crate::IssuerError;
use crate::domain::RuleCode;
use crate::domain::account::Account;
use crate::ledger;
use crate::service::platform::Platform;
use doorward_protocol::wire::{Bytes, Id, PublicKey, Timestamp, hash};
use doorward_transport::files::Doing;
use doorward_transport::random;

/// How long a challenge waits, in seconds.
const CHALLENGE_LASTS: u64 = 120;
/// How long a session lasts, in seconds.
pub const SESSION_LASTS: u64 = 3600;

/// What an account signs to sign in.
#[must_use]
pub fn sign_in_message(platform: &Id, account: &Id, nonce: &Bytes<32>) -> String {
    format!("doorward session v1\n{platform}\n{account}\n{nonce}")
}

impl Platform {
    /// A challenge for an account. Whether there is one is not told.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn challenge(&self, account: &Id, now: Timestamp) -> Result<Bytes<32>, IssuerError> {
        let nonce = Bytes(random().doing("make a challenge in", &self.issuers_file())?);
        let mut change = self.ledger.begin().await?;
        let ends = now.plus(CHALLENGE_LASTS);
        ledger::add_challenge(&mut change, &nonce, account, ends).await?;
        change.commit().await?;
        Ok(nonce)
    }

    /// Signs in with a signed challenge, which is used up either way. The token.
    ///
    /// # Errors
    /// [`RuleCode::Session`], or if the ledger cannot be used.
    pub async fn sign_in(
        &self,
        account: &Id,
        nonce: &Bytes<32>,
        signature: &Bytes<64>,
        now: Timestamp,
    ) -> Result<Bytes<32>, IssuerError> {
        let refused = || {
            RuleCode::Session.because("That challenge is not signed with the key of that account")
        };
        let mut change = self.ledger.begin().await?;
        let known = ledger::use_challenge(&mut change, nonce, account, now).await?;
        let found = ledger::account(&mut change, account).await?;
        let key = found.and_then(|account| PublicKey::new(&account.key).ok());
        let message = sign_in_message(self.name(), account, nonce);
        let signed = key.is_some_and(|key| key.verify(message.as_bytes(), &signature.0).is_ok());
        let token: Bytes<32> = Bytes(random().doing("make a token in", &self.issuers_file())?);
        if known && signed {
            let ends = now.plus(SESSION_LASTS);
            ledger::add_session(&mut change, &hash(&token.0), account, ends).await?;
        }
        change.commit().await?;
        match known && signed {
            true => Ok(token),
            false => Err(refused().into()),
        }
    }

    /// Whose session a token is.
    ///
    /// # Errors
    /// [`RuleCode::Session`], or if the ledger cannot be used.
    pub async fn session(&self, token: &Bytes<32>, now: Timestamp) -> Result<Account, IssuerError> {
        let mut connection = self.ledger.read().await?;
        let id = ledger::session(&mut connection, &hash(&token.0), now).await?;
        let refused = || RuleCode::Session.because("There is no such session, or it is over");
        let id = id.ok_or_else(refused)?;
        Ok(ledger::account(&mut connection, &id)
            .await?
            .ok_or_else(refused)?)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn sign_out(&self, token: &Bytes<32>) -> Result<(), IssuerError> {
        let mut change = self.ledger.begin().await?;
        ledger::end_session(&mut change, &hash(&token.0)).await?;
        change.commit().await?;
        Ok(())
    }
}
