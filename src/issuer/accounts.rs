//! Accounts on the platform.

use super::account::{Account, Email};
use super::ledger;
use super::platform::Platform;
use super::refusal::Rule;
use super::terms::IssuerError;
use crate::wire::{Id, PublicKey};

impl Platform {
    /// Signs an account up.
    ///
    /// # Errors
    /// [`Rule::Taken`], or if the ledger cannot be used.
    pub async fn add_account(&self, account: &Account) -> Result<(), IssuerError> {
        PublicKey::new(&account.key)?;
        let mut change = self.ledger.begin().await?;
        if !ledger::add_account(&mut change, account).await? {
            let why = format!("There is an account {} already", account.id);
            return Err(Rule::Taken.because(why).into());
        }
        change.commit().await?;
        Ok(())
    }

    /// The language that whoever has an address reads, if somebody has it.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn language_of(&self, address: &str) -> Result<Option<String>, IssuerError> {
        let Ok(email) = Email::new(address) else {
            return Ok(None);
        };
        let accounts = ledger::accounts_of(&mut *self.ledger.read().await?, &email).await?;
        Ok(accounts.into_iter().next().map(|account| account.language))
    }

    /// An account.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn account(&self, id: &Id) -> Result<Option<Account>, IssuerError> {
        ledger::account(&mut *self.ledger.read().await?, id).await
    }
}
