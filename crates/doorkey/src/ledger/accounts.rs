//! Accounts in the database.

use sqlx::any::AnyRow;

use crate::IssuerError;
use crate::domain::account::{Account, Email};
use crate::ledger::Connection;
use crate::ledger::row::{get, hex, parsed, seconds, time};
use doorward_protocol::wire::{Id, KeyBytes};

pub(crate) async fn account(
    connection: &mut Connection,
    id: &Id,
) -> Result<Option<Account>, IssuerError> {
    let row = sqlx::query("SELECT * FROM account WHERE id = $1")
        .bind(id.as_str())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read).transpose()
}

/// The accounts with an e-mail address, one for each enterprise.
pub(crate) async fn accounts_with_email(
    connection: &mut Connection,
    email: &Email,
) -> Result<Vec<Account>, IssuerError> {
    let rows = sqlx::query("SELECT * FROM account WHERE email = $1 ORDER BY id")
        .bind(email.as_str())
        .fetch_all(connection)
        .await?;
    rows.iter().map(read).collect()
}

/// Adds an account. Returns `false` if the name is taken.
pub(crate) async fn add_account(
    connection: &mut Connection,
    account: &Account,
) -> Result<bool, IssuerError> {
    let done = sqlx::query(
        "INSERT INTO account (id, email, key, role, enterprise, region, language, made) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING",
    )
    .bind(account.id.as_str())
    .bind(account.email.as_ref().map_or("", Email::as_str))
    .bind(account.key.hex())
    .bind(account.role.name())
    .bind(account.enterprise.as_str())
    .bind(account.region.as_str())
    .bind(&*account.language)
    .bind(seconds(account.made))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Replaces the key of an account, as a new registration of its device does.
pub(crate) async fn set_account_key(
    connection: &mut Connection,
    id: &Id,
    key: &KeyBytes,
) -> Result<(), IssuerError> {
    sqlx::query("UPDATE account SET key = $2 WHERE id = $1")
        .bind(id.as_str())
        .bind(key.hex())
        .execute(connection)
        .await?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<Account, IssuerError> {
    let email: String = get(row, "email")?;
    Ok(Account {
        id: parsed(row, "id")?,
        email: (!email.is_empty())
            .then(|| Email::new(&email))
            .transpose()?,
        key: hex(row, "key")?,
        role: parsed(row, "role")?,
        enterprise: parsed(row, "enterprise")?,
        region: parsed(row, "region")?,
        language: get(row, "language")?,
        made: time(row, "made")?,
    })
}
