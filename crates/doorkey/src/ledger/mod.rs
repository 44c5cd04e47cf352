//! What the sharing side keeps, in SQL: SQLite in the issuer's directory, or PostgreSQL by URL.
//!
//! Every change is one transaction that begins with a write: of the row that it is about, or of
//! the audience whose shares it changes. In PostgreSQL that locks the row, in SQLite the file;
//! so the numbers of lists and registrations rise by one whoever else writes.

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
pub use outbox::{Outgoing, Topic};
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
use sqlx::{Any, AnyConnection, AnyPool, Executor, Transaction};

use crate::IssuerError;
use doorward_protocol::wire::{Audience, Id, KeyBytes};
use doorward_transport::files;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/ledger/migrations");

/// The ledger.
#[derive(Debug, Clone)]
pub struct Ledger {
    pool: AnyPool,
}

/// A transaction: commit it, or nothing has happened.
pub(crate) type Change = Transaction<'static, Any>;
/// A connection, in a transaction or not.
pub(crate) type Connection = AnyConnection;

impl Ledger {
    /// Opens the ledger of an issuer's directory, and makes it if it is not there.
    ///
    /// # Errors
    /// If it cannot be used.
    pub async fn open_file(path: &Path) -> Result<Self, IssuerError> {
        // It holds addresses and who may do what: nobody else's to read.
        files::create_private(path)?;
        let mut name = path.display().to_string();
        for (sign, code) in [("%", "%25"), ("?", "%3f"), ("#", "%23")] {
            name = name.replace(sign, code);
        }
        Self::open(&format!("sqlite://{name}")).await
    }

    /// Opens a ledger by its URL, `sqlite://` or `postgres://`, and brings it up to date.
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
                        // Readers do not wait for writers; a commit is on the disk.
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

    /// Says whose ledger it is, if that was not said before.
    ///
    /// # Errors
    /// If it is another issuer's.
    pub(crate) async fn belongs_to(&self, name: &Id, root: &KeyBytes) -> Result<(), IssuerError> {
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
                "This ledger belongs to the issuer {kept}, not to {name}. Give another --ledger."
            ))),
        }
    }

    /// A connection to read with.
    pub(crate) async fn read(&self) -> Result<sqlx::pool::PoolConnection<Any>, IssuerError> {
        Ok(self.pool.acquire().await?)
    }

    /// A transaction. Its first statement has to write.
    pub(crate) async fn begin(&self) -> Result<Change, IssuerError> {
        Ok(self.pool.begin().await?)
    }

    /// A transaction that changes what is shared of some audiences: others wait. Always in one
    /// order, so that no two wait for each other.
    pub(crate) async fn change(&self, audiences: &[Audience]) -> Result<Change, IssuerError> {
        let mut transaction = self.begin().await?;
        lock(&mut transaction, audiences).await?;
        Ok(transaction)
    }

    /// Ends every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Locks audiences in a transaction, always in one order.
pub(crate) async fn lock(
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
