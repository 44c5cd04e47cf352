//! Statements on their way out. What a broker keeps is what the ledger has: each is published
//! after its transaction, again if somebody else changed it meanwhile, and again until the
//! device has said that it has it.

use sqlx::any::AnyRow;

use crate::IssuerError;
use crate::ledger::row::{broken, get, parsed, seconds, to_i64, u64_col};
use crate::ledger::{Connection, Ledger};
use doorward_protocol::wire::{Audience, Kind, Text, Timestamp};

/// How long one process has for publishing a statement before another may, in seconds.
const CLAIM: u64 = 30;
/// How long a device that is there may take to confirm, in seconds.
const PATIENCE: u64 = 60;
/// Pause after the first attempt, in seconds; after the n-th it is n times n as long.
const PAUSE: i64 = 5;
/// Longest pause between two attempts, in seconds.
const LONGEST_PAUSE: u64 = 3600;
/// Statements that are not to go out again.
const NEVER: i64 = i64::MAX;

/// Where a statement is kept: for whom, of what kind, and which of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// The device or site.
    pub audience: Audience,
    /// The kind.
    pub kind: Kind,
    /// A share's id, a group's key; empty where there is one only.
    pub name: String,
}

/// A statement that has to go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub topic: Topic,
    /// As signed; empty: the broker need not keep it any longer.
    pub bytes: Vec<u8>,
    revision: u64,
}

pub(crate) async fn put_statement(
    connection: &mut Connection,
    topic: &Topic,
    bytes: &[u8],
) -> Result<(), IssuerError> {
    sqlx::query(
        "INSERT INTO statement (audience, kind, name, bytes, revision, published, claimed_until, \
         tries, again) VALUES ($1, $2, $3, $4, 1, 0, 0, 0, 0) \
         ON CONFLICT (audience, kind, name) DO UPDATE SET bytes = $4, \
         revision = statement.revision + 1, tries = 0, again = 0",
    )
    .bind(topic.audience.to_string())
    .bind(topic.kind.name())
    .bind(&*topic.name)
    .bind(bytes)
    .execute(connection)
    .await?;
    Ok(())
}

/// What is kept for an audience, of one kind.
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

/// One statement.
pub(crate) async fn statement(
    connection: &mut Connection,
    topic: &Topic,
) -> Result<Option<Vec<u8>>, IssuerError> {
    let row =
        sqlx::query("SELECT bytes FROM statement WHERE audience = $1 AND kind = $2 AND name = $3")
            .bind(topic.audience.to_string())
            .bind(topic.kind.name())
            .bind(&*topic.name)
            .fetch_optional(connection)
            .await?;
    let bytes: Option<Vec<u8>> = row.as_ref().map(|row| get(row, "bytes")).transpose()?;
    Ok(bytes.filter(|bytes| !bytes.is_empty()))
}

/// Devices have what this statement says: it need not go out again until it changes.
pub(crate) async fn mark_delivered(
    connection: &mut Connection,
    topic: &Topic,
) -> Result<(), IssuerError> {
    sqlx::query(
        "UPDATE statement SET again = $4 WHERE audience = $1 AND kind = $2 AND name = $3 \
         AND published = revision",
    )
    .bind(topic.audience.to_string())
    .bind(topic.kind.name())
    .bind(&*topic.name)
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

/// A device is there: what it has not confirmed for long goes out at once. What went out a moment
/// ago may be on its way.
pub(crate) async fn retry_now(
    connection: &mut Connection,
    audience: &Audience,
    now: Timestamp,
) -> Result<(), IssuerError> {
    sqlx::query("UPDATE statement SET again = 0 WHERE audience = $1 AND again < $2 AND again > $3")
        .bind(audience.to_string())
        .bind(NEVER)
        .bind(seconds(now.plus(PATIENCE)))
        .execute(connection)
        .await?;
    Ok(())
}

/// What has ended by itself need not be kept by any broker.
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
    /// Takes statements that have to go out, for a while in which nobody else does.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn outgoing(&self, most: u64, now: Timestamp) -> Result<Vec<Outgoing>, IssuerError> {
        let rows = sqlx::query(
            "UPDATE statement SET claimed_until = $1 WHERE (audience, kind, name) IN \
             (SELECT audience, kind, name FROM statement WHERE again <= $2 AND claimed_until <= $2 \
             ORDER BY again LIMIT $3) AND claimed_until <= $2 RETURNING *",
        )
        .bind(seconds(now.plus(CLAIM)))
        .bind(seconds(now))
        .bind(to_i64(most))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// The broker has it. It goes out again after a pause, until a device has said that it has
    /// it; at once, if it was changed meanwhile.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn published(&self, outgoing: &Outgoing, now: Timestamp) -> Result<(), IssuerError> {
        let Topic {
            audience,
            kind,
            name,
        } = &outgoing.topic;
        if outgoing.bytes.is_empty() {
            // Gone from the broker, so there is nothing left to keep.
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
        // Rosters and releases are confirmed by nobody.
        let confirmed = !matches!(kind, Kind::Roster | Kind::Release);
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
        .bind(i64::from(confirmed))
        .bind(NEVER)
        .bind(to_i64(LONGEST_PAUSE))
        .bind(seconds(now))
        .bind(PAUSE)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The broker could not be reached: somebody else may try.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn release_claim(&self, outgoing: &Outgoing) -> Result<(), IssuerError> {
        let Topic {
            audience,
            kind,
            name,
        } = &outgoing.topic;
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

fn read(row: &AnyRow) -> Result<Outgoing, IssuerError> {
    let kind: String = get(row, "kind")?;
    Ok(Outgoing {
        topic: Topic {
            audience: parsed(row, "audience")?,
            kind: Kind::from_name(&kind).ok_or_else(|| broken("kind"))?,
            name: get(row, "name")?,
        },
        bytes: get(row, "bytes")?,
        revision: u64_col(row, "revision")?,
    })
}
