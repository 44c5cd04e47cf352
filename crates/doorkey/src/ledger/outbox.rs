//! The outbox: signed statements to publish. The broker retains the newest form of each. A
//! statement is published after its transaction, again if it has changed meanwhile, and again until
//! the device has confirmed it.

use sqlx::any::AnyRow;

use crate::IssuerError;
use crate::ledger::row::{get, parsed, seconds, to_i64, u64_col, unreadable};
use crate::ledger::{Connection, Ledger};
use doorward_protocol::wire::{Audience, Kind, Text, Timestamp};

/// How long a process claims a statement before another may publish it, in seconds.
const CLAIM_DURATION: u64 = 30;
/// How long an online device may take to confirm a statement, in seconds.
const CONFIRMATION_TIMEOUT: u64 = 60;
/// Delay before the first retry, in seconds. The n-th retry waits n² times as long.
const RETRY_DELAY: i64 = 5;
/// Longest delay between two attempts, in seconds.
const MAX_RETRY_DELAY: u64 = 3600;
/// Time of the next attempt for statements that need no other.
const NEVER: i64 = i64::MAX;

/// Identifies a statement: its audience, its kind, and its name among those of this kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementId {
    /// The device or site.
    pub audience: Audience,
    /// The kind of statement.
    pub kind: Kind,
    /// A share's id or a group's key; empty for kinds of which an audience has only one.
    pub name: String,
}

/// A statement to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingStatement {
    /// Identifies the statement.
    pub id: StatementId,
    /// The signed statement. Empty bytes tell the broker to delete the retained one.
    pub bytes: Vec<u8>,
    revision: u64,
}

/// Stores the newest form of a statement, to be published. Empty `bytes` withdraw it.
pub(crate) async fn put_statement(
    connection: &mut Connection,
    id: &StatementId,
    bytes: &[u8],
) -> Result<(), IssuerError> {
    sqlx::query(
        "INSERT INTO statement (audience, kind, name, bytes, revision, published, claimed_until, \
         tries, again) VALUES ($1, $2, $3, $4, 1, 0, 0, 0, 0) \
         ON CONFLICT (audience, kind, name) DO UPDATE SET bytes = $4, \
         revision = statement.revision + 1, tries = 0, again = 0",
    )
    .bind(id.audience.to_string())
    .bind(id.kind.name())
    .bind(&*id.name)
    .bind(bytes)
    .execute(connection)
    .await?;
    Ok(())
}

/// The statements of one kind for an audience.
pub(crate) async fn statements(
    connection: &mut Connection,
    audience: &Audience,
    kind: Kind,
) -> Result<Vec<Vec<u8>>, IssuerError> {
    let rows =
        sqlx::query("SELECT bytes FROM statement WHERE audience = $1 AND kind = $2 ORDER BY name")
            .bind(audience.to_string())
            .bind(kind.name())
            .fetch_all(connection)
            .await?;
    let bytes: Result<Vec<Vec<u8>>, _> = rows.iter().map(|row| get(row, "bytes")).collect();
    Ok(bytes?
        .into_iter()
        .filter(|bytes| !bytes.is_empty())
        .collect())
}

/// One statement; `None` if it is unknown or was withdrawn.
pub(crate) async fn statement(
    connection: &mut Connection,
    id: &StatementId,
) -> Result<Option<Vec<u8>>, IssuerError> {
    let row =
        sqlx::query("SELECT bytes FROM statement WHERE audience = $1 AND kind = $2 AND name = $3")
            .bind(id.audience.to_string())
            .bind(id.kind.name())
            .bind(&*id.name)
            .fetch_optional(connection)
            .await?;
    let bytes: Option<Vec<u8>> = row.as_ref().map(|row| get(row, "bytes")).transpose()?;
    Ok(bytes.filter(|bytes| !bytes.is_empty()))
}

/// Marks a statement as confirmed by all its devices: it is not published again until it changes.
pub(crate) async fn mark_delivered(
    connection: &mut Connection,
    id: &StatementId,
) -> Result<(), IssuerError> {
    sqlx::query(
        "UPDATE statement SET again = $4 WHERE audience = $1 AND kind = $2 AND name = $3 \
         AND published = revision",
    )
    .bind(id.audience.to_string())
    .bind(id.kind.name())
    .bind(&*id.name)
    .bind(NEVER)
    .execute(connection)
    .await?;
    Ok(())
}

/// The releases for a model, oldest version first.
pub(crate) async fn releases(
    connection: &mut Connection,
    model: &Text,
) -> Result<Vec<Vec<u8>>, IssuerError> {
    let rows = sqlx::query("SELECT bytes FROM release_image WHERE model = $1 ORDER BY version")
        .bind(model.as_str())
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| get(row, "bytes")).collect()
}

pub(crate) async fn put_release(
    connection: &mut Connection,
    (model, version): (&Text, u32),
    bytes: &[u8],
) -> Result<(), IssuerError> {
    sqlx::query(
        "INSERT INTO release_image (model, version, bytes) VALUES ($1, $2, $3) \
         ON CONFLICT (model, version) DO UPDATE SET bytes = $3",
    )
    .bind(model.as_str())
    .bind(i64::from(version))
    .bind(bytes)
    .execute(connection)
    .await?;
    Ok(())
}

/// A device is online: its unconfirmed statements are retried now, except those published less than
/// [`CONFIRMATION_TIMEOUT`] ago.
pub(crate) async fn retry_now(
    connection: &mut Connection,
    audience: &Audience,
    now: Timestamp,
) -> Result<(), IssuerError> {
    sqlx::query("UPDATE statement SET again = 0 WHERE audience = $1 AND again < $2 AND again > $3")
        .bind(audience.to_string())
        .bind(NEVER)
        .bind(seconds(now.plus(CONFIRMATION_TIMEOUT)))
        .execute(connection)
        .await?;
    Ok(())
}

/// Withdraws the tokens of shares whose end date has passed, so that brokers delete them.
pub(crate) async fn expire_ended(
    connection: &mut Connection,
    now: Timestamp,
) -> Result<(), IssuerError> {
    sqlx::query(
        "UPDATE statement SET bytes = $2, revision = revision + 1, tries = 0, again = 0 \
         WHERE kind = $3 AND length(bytes) > 0 AND EXISTS \
         (SELECT 1 FROM share WHERE share.id = statement.name AND share.ends <= $1)",
    )
    .bind(seconds(now))
    .bind(Vec::<u8>::new())
    .bind(Kind::Share.name())
    .execute(connection)
    .await?;
    Ok(())
}

impl Ledger {
    /// Claims up to `limit` statements that are due, so that no other process publishes them within
    /// the next 30 seconds.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn claim_outgoing(
        &self,
        limit: u64,
        now: Timestamp,
    ) -> Result<Vec<OutgoingStatement>, IssuerError> {
        let rows = sqlx::query(
            "UPDATE statement SET claimed_until = $1 WHERE (audience, kind, name) IN \
             (SELECT audience, kind, name FROM statement WHERE again <= $2 AND claimed_until <= $2 \
             ORDER BY again LIMIT $3) AND claimed_until <= $2 RETURNING *",
        )
        .bind(seconds(now.plus(CLAIM_DURATION)))
        .bind(seconds(now))
        .bind(to_i64(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Records that the broker has accepted a statement. It is published again after a delay until
    /// it is confirmed, or at once if it has changed meanwhile.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn mark_published(
        &self,
        outgoing: &OutgoingStatement,
        now: Timestamp,
    ) -> Result<(), IssuerError> {
        let StatementId {
            audience,
            kind,
            name,
        } = &outgoing.id;
        if outgoing.bytes.is_empty() {
            // The broker has deleted it, so the row is not needed any longer.
            sqlx::query(
                "DELETE FROM statement WHERE audience = $1 AND kind = $2 AND name = $3 \
                 AND revision = $4",
            )
            .bind(audience.to_string())
            .bind(kind.name())
            .bind(&**name)
            .bind(to_i64(outgoing.revision))
            .execute(&self.pool)
            .await?;
        }
        // Devices do not confirm member lists and releases.
        let confirmable = !matches!(kind, Kind::Roster | Kind::Release);
        sqlx::query(
            "UPDATE statement SET claimed_until = 0, published = $4, tries = tries + 1, \
             again = CASE WHEN revision > $4 THEN 0 WHEN $5 = 0 THEN $6 \
             WHEN tries > 6 THEN $8 + $7 ELSE $8 + $9 * (tries + 1) * (tries + 1) END \
             WHERE audience = $1 AND kind = $2 AND name = $3",
        )
        .bind(audience.to_string())
        .bind(kind.name())
        .bind(&**name)
        .bind(to_i64(outgoing.revision))
        .bind(i64::from(confirmable))
        .bind(NEVER)
        .bind(to_i64(MAX_RETRY_DELAY))
        .bind(seconds(now))
        .bind(RETRY_DELAY)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Gives up the claim on a statement that could not be published, so that another process may
    /// publish it.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn release_claim(&self, outgoing: &OutgoingStatement) -> Result<(), IssuerError> {
        let StatementId {
            audience,
            kind,
            name,
        } = &outgoing.id;
        sqlx::query(
            "UPDATE statement SET claimed_until = 0 WHERE audience = $1 AND kind = $2 AND name = $3",
        )
        .bind(audience.to_string())
        .bind(kind.name())
        .bind(&**name)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

fn read(row: &AnyRow) -> Result<OutgoingStatement, IssuerError> {
    let kind: String = get(row, "kind")?;
    Ok(OutgoingStatement {
        id: StatementId {
            audience: parsed(row, "audience")?,
            kind: Kind::from_name(&kind).ok_or_else(|| unreadable("kind"))?,
            name: get(row, "name")?,
        },
        bytes: get(row, "bytes")?,
        revision: u64_col(row, "revision")?,
    })
}
