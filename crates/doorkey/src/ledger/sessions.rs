//! Challenges, sessions and alerts in the database, so that all processes of the service share
//! them.

use sqlx::any::AnyRow;

use crate::IssuerError;
use crate::ledger::row::{get, parsed, seconds, time, to_i64};
use crate::ledger::{Connection, Ledger};
use doorward_protocol::wire::{Bytes, Hash, Id, Timestamp};

/// An alert for an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Time of the event.
    pub at: Timestamp,
    /// The kind, for scripts: new_share, first_use or denials.
    pub kind: String,
    /// The device.
    pub device: Id,
    /// The alert as a sentence.
    pub text: String,
}

pub(crate) async fn add_challenge(
    connection: &mut Connection,
    nonce: &Bytes<32>,
    account: &Id,
    ends: Timestamp,
) -> Result<(), IssuerError> {
    sqlx::query("INSERT INTO challenge (nonce, account, ends) VALUES ($1, $2, $3)")
        .bind(nonce.hex())
        .bind(account.as_str())
        .bind(seconds(ends))
        .execute(connection)
        .await?;
    Ok(())
}

/// Deletes a challenge. Returns `false` if the account has no such challenge or it has expired.
pub(crate) async fn use_challenge(
    connection: &mut Connection,
    nonce: &Bytes<32>,
    account: &Id,
    now: Timestamp,
) -> Result<bool, IssuerError> {
    let done = sqlx::query("DELETE FROM challenge WHERE nonce = $1 AND account = $2 AND ends > $3")
        .bind(nonce.hex())
        .bind(account.as_str())
        .bind(seconds(now))
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn add_session(
    connection: &mut Connection,
    token: &Hash,
    account: &Id,
    ends: Timestamp,
) -> Result<(), IssuerError> {
    sqlx::query("INSERT INTO session (token, account, ends) VALUES ($1, $2, $3)")
        .bind(token.hex())
        .bind(account.as_str())
        .bind(seconds(ends))
        .execute(connection)
        .await?;
    Ok(())
}

/// The account of a session token; `None` if it is unknown or has expired.
pub(crate) async fn session(
    connection: &mut Connection,
    token: &Hash,
    now: Timestamp,
) -> Result<Option<Id>, IssuerError> {
    let row = sqlx::query("SELECT account FROM session WHERE token = $1 AND ends > $2")
        .bind(token.hex())
        .bind(seconds(now))
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(|row| parsed(row, "account")).transpose()
}

pub(crate) async fn end_session(
    connection: &mut Connection,
    token: &Hash,
) -> Result<(), IssuerError> {
    sqlx::query("DELETE FROM session WHERE token = $1")
        .bind(token.hex())
        .execute(connection)
        .await?;
    Ok(())
}

/// Adds an alert. `id` identifies its cause; a second alert with the same id is ignored. Returns
/// whether the alert is new.
pub(crate) async fn add_alert(
    connection: &mut Connection,
    id: &Hash,
    account: &Id,
    alert: &Alert,
) -> Result<bool, IssuerError> {
    let done = sqlx::query(
        "INSERT INTO alert (id, account, at, kind, device, words) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(id.hex())
    .bind(account.as_str())
    .bind(seconds(alert.at))
    .bind(&*alert.kind)
    .bind(alert.device.as_str())
    .bind(&*alert.text)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn alerts(
    connection: &mut Connection,
    account: &Id,
    limit: u64,
) -> Result<Vec<Alert>, IssuerError> {
    let rows = sqlx::query("SELECT * FROM alert WHERE account = $1 ORDER BY at DESC, id LIMIT $2")
        .bind(account.as_str())
        .bind(to_i64(limit))
        .fetch_all(connection)
        .await?;
    let read = |row: &AnyRow| {
        Ok(Alert {
            at: time(row, "at")?,
            kind: get(row, "kind")?,
            device: parsed(row, "device")?,
            text: get(row, "words")?,
        })
    };
    rows.iter().map(read).collect()
}

impl Ledger {
    /// Deletes challenges and sessions that have expired.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub(crate) async fn delete_expired_sessions(&self, now: Timestamp) -> Result<(), IssuerError> {
        for sql in [
            "DELETE FROM challenge WHERE ends <= $1",
            "DELETE FROM session WHERE ends <= $1",
        ] {
            sqlx::query(sql)
                .bind(seconds(now))
                .execute(&self.pool)
                .await?;
        }
        Ok(())
    }
}
