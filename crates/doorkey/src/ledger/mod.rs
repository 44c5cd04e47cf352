//! The database: SQLite in the issuer's directory, or PostgreSQL by URL.
//!
//! Every change is one transaction whose first statement is a write: to the row that it changes, or
//! to the audience whose shares it changes. In PostgreSQL this locks the row, in SQLite the file.
//! Concurrent writers therefore increase the sequence numbers of revocation lists and registrations
//! one by one.

mod accounts;
mod device_reports;
mod devices;
mod groups;
mod invitations;
mod outbox;
mod row;
mod sessions;
mod shares;

pub(crate) use accounts::*;
pub(crate) use device_reports::*;
pub(crate) use devices::*;
pub(crate) use groups::*;
pub(crate) use invitations::*;
pub use outbox::{OutgoingStatement, StatementId};
pub(crate) use outbox::{
    expire_ended, mark_delivered, put_release, put_statement, releases, retry_now, statement,
    statements,
};
pub use sessions::Alert;
pub(crate) use sessions::{
    add_alert, add_challenge, add_session, alerts, end_session, session, use_challenge,
};
pub(crate) use shares::*;

use std::path::Path;
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyConnection, AnyPool, Executor};

use crate::IssuerError;
use doorward_protocol::wire::{Audience, Id, KeyBytes};
use doorward_transport::files;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/ledger/migrations");

/// The database.
#[derive(Debug, Clone)]
pub struct Ledger {
    pool: AnyPool,
}

/// A transaction. It is rolled back when dropped without a commit.
pub(crate) type Transaction = sqlx::Transaction<'static, Any>;
/// A connection, inside or outside a transaction.
pub(crate) type Connection = AnyConnection;

impl Ledger {
    /// Opens the SQLite database of an issuer's directory, and creates it if it does not exist.
    ///
    /// # Errors
    /// If it cannot be used.
    pub async fn open_file(path: &Path) -> Result<Self, IssuerError> {
        // It holds e-mail addresses and permissions, so other users may not read it.
        files::create_private(path)?;
        let mut name = path.display().to_string();
        for (character, escape) in [("%", "%25"), ("?", "%3f"), ("#", "%23")] {
            name = name.replace(character, escape);
        }
        Self::open(&format!("sqlite://{name}")).await
    }

    /// Opens a database by its URL (`sqlite://` or `postgres://`) and applies pending migrations.
    ///
    /// # Errors
    /// If it cannot be used.
    pub async fn open(url: &str) -> Result<Self, IssuerError> {
        sqlx::any::install_default_drivers();
        let is_file = url.starts_with("sqlite:");
        let options = AnyPoolOptions::new()
            .max_connections(8)
            .acquire_timeout(Duration::from_secs(30))
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if is_file {
                        // With WAL, readers do not wait for writers. FULL makes commits durable.
                        for pragma in [
                            "busy_timeout = 30000",
                            "journal_mode = WAL",
                            "synchronous = FULL",
                        ] {
                            connection.execute(&*format!("PRAGMA {pragma}")).await?;
                        }
                    }
                    Ok(())
                })
            });
        let pool = options.connect(url).await?;
        MIGRATIONS.run(&pool).await.map_err(sqlx::Error::from)?;
        Ok(Self { pool })
    }

    /// Records the issuer that a new database belongs to.
    ///
    /// # Errors
    /// If it belongs to another issuer.
    pub(crate) async fn bind_to_issuer(
        &self,
        name: &Id,
        root: &KeyBytes,
    ) -> Result<(), IssuerError> {
        sqlx::query(
            "INSERT INTO platform (name, root) SELECT $1, $2 \
             WHERE NOT EXISTS (SELECT 1 FROM platform)",
        )
        .bind(name.as_str())
        .bind(root.hex())
        .execute(&self.pool)
        .await?;
        let (kept, _): (String, String) = sqlx::query_as("SELECT name, root FROM platform")
            .fetch_one(&self.pool)
            .await?;
        match kept == name.as_str() {
            true => Ok(()),
            false => Err(IssuerError::Rule(format!(
                "This database belongs to the issuer {kept}, not to {name}. Choose another one \
                 with --database."
            ))),
        }
    }

    /// Acquires a connection for reading.
    pub(crate) async fn read(&self) -> Result<sqlx::pool::PoolConnection<Any>, IssuerError> {
        Ok(self.pool.acquire().await?)
    }

    /// Starts a transaction. Its first statement must be a write, which takes the lock.
    pub(crate) async fn begin(&self) -> Result<Transaction, IssuerError> {
        Ok(self.pool.begin().await?)
    }

    /// Starts a transaction that locks audiences, to change their shares.
    pub(crate) async fn begin_locked(
        &self,
        audiences: &[Audience],
    ) -> Result<Transaction, IssuerError> {
        let mut tx = self.begin().await?;
        lock_audiences(&mut tx, audiences).await?;
        Ok(tx)
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Locks audiences in a transaction, in sorted order, so that two transactions cannot deadlock.
pub(crate) async fn lock_audiences(
    connection: &mut Connection,
    audiences: &[Audience],
) -> Result<(), IssuerError> {
    let mut names: Vec<String> = audiences.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        sqlx::query(
            "INSERT INTO audience (id, turn, seq, made, floor) VALUES ($1, 1, 0, 0, 0) \
             ON CONFLICT (id) DO UPDATE SET turn = audience.turn + 1",
        )
        .bind(name)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
