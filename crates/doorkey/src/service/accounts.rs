//! Accounts of the platform.

use crate::IssuerError;
use crate::domain::RuleCode;
use crate::domain::account::{Account, Email};
use crate::ledger;
use crate::service::platform::Platform;
use doorward_protocol::wire::{Id, PublicKey};

impl Platform {
    /// Adds an account.
    ///
    /// # Errors
    /// [`RuleCode::Taken`], or if the database cannot be used.
    pub async fn add_account(&self, account: &Account) -> Result<(), IssuerError> {
        PublicKey::new(&account.key)?;
        let mut tx = self.ledger.begin().await?;
        if !ledger::add_account(&mut tx, account).await? {
            let why = format!("An account {} already exists", account.id);
            return Err(RuleCode::Taken.because(why).into());
        }
        tx.commit().await?;
        Ok(())
    }

    /// The language of the account with an e-mail address, if there is one.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn language_of(&self, address: &str) -> Result<Option<String>, IssuerError> {
        let Ok(email) = Email::new(address) else {
            return Ok(None);
        };
        let accounts = ledger::accounts_with_email(&mut *self.ledger.read().await?, &email).await?;
        Ok(accounts.into_iter().next().map(|account| account.language))
    }

    /// Returns an account; `None` if it does not exist.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn account(&self, id: &Id) -> Result<Option<Account>, IssuerError> {
        ledger::account(&mut *self.ledger.read().await?, id).await
    }
}
