//! Accounts on the platform.

use crate::IssuerError;
use crate::domain::RuleCode;
use crate::domain::account::{Account, Email};
use crate::ledger;
use crate::service::platform::Platform;
use doorward_protocol::wire::{Id, PublicKey};

impl Platform {
    /// Signs an account up.
    ///
    /// # Errors
    /// [`RuleCode::Taken`], or if the ledger cannot be used.
    pub async fn add_account(&self, account: &Account) -> Result<(), IssuerError> {
        PublicKey::new(&account.key)?;
        let mut change = self.ledger.begin().await?;
        if !ledger::add_account(&mut change, account).await? {
            let why = format!("There is an account {} already", account.id);
            return Err(RuleCode::Taken.because(why).into());
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
