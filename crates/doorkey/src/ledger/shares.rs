//! Shares in the database.

use sqlx::any::AnyRow;

use crate::IssuerError;
use crate::domain::share::{Recipient, ShareRecord, Termination};
use crate::ledger::Connection;
use crate::ledger::row::{
    get, hex, parsed, parsed_option, seconds, time, time_option, to_i64, u32_col, u64_col,
    unreadable,
};
use doorward_protocol::wire::{Audience, Bytes, Id, KeyBytes, Timestamp, decode_exact, to_bytes};

pub(crate) async fn share(
    connection: &mut Connection,
    id: &Bytes<16>,
) -> Result<Option<ShareRecord>, IssuerError> {
    let row = sqlx::query("SELECT * FROM share WHERE id = $1")
        .bind(id.hex())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read).transpose()
}

/// The shares of an audience whose end date is after `since`, oldest first. Shares that were
/// cancelled are included.
pub(crate) async fn shares_of(
    connection: &mut Connection,
    audience: &Audience,
    since: Timestamp,
) -> Result<Vec<ShareRecord>, IssuerError> {
    let rows =
        sqlx::query("SELECT * FROM share WHERE audience = $1 AND ends > $2 ORDER BY made, id")
            .bind(audience.to_string())
            .bind(seconds(since))
            .fetch_all(connection)
            .await?;
    rows.iter().map(read).collect()
}

pub(crate) async fn shares_of_invitation(
    connection: &mut Connection,
    invitation: &Bytes<16>,
) -> Result<Vec<ShareRecord>, IssuerError> {
    let rows = sqlx::query("SELECT * FROM share WHERE invitation = $1 ORDER BY audience, id")
        .bind(invitation.hex())
        .fetch_all(connection)
        .await?;
    rows.iter().map(read).collect()
}

/// The shares that an account has given, newest first. `page` is a limit and an offset.
pub(crate) async fn shared_by(
    connection: &mut Connection,
    account: &Id,
    page: (u64, u64),
) -> Result<Vec<ShareRecord>, IssuerError> {
    let rows = sqlx::query(
        "SELECT * FROM share WHERE shared_by = $1 ORDER BY made DESC, id LIMIT $2 OFFSET $3",
    )
    .bind(account.as_str())
    .bind(to_i64(page.0))
    .bind(to_i64(page.1))
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

/// The shares for an account or for a group that it is a member of. `page` is a limit and an
/// offset.
pub(crate) async fn shared_with(
    connection: &mut Connection,
    account: &Id,
    page: (u64, u64),
) -> Result<Vec<ShareRecord>, IssuerError> {
    let rows = sqlx::query(
        "SELECT * FROM share WHERE (is_group = 0 AND recipient_key IS NOT NULL AND recipient = $1) \
         OR (is_group = 1 AND recipient IN (SELECT user_group FROM member WHERE account = $1)) \
         ORDER BY shared_by, made DESC, id LIMIT $2 OFFSET $3",
    )
    .bind(account.as_str())
    .bind(to_i64(page.0))
    .bind(to_i64(page.1))
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

/// Whether an account has or had a share of one of these audiences, and so knows that they exist.
pub(crate) async fn was_shared_with(
    connection: &mut Connection,
    account: &Id,
    audiences: &[Audience],
) -> Result<bool, IssuerError> {
    for audience in audiences {
        let row = sqlx::query(
            "SELECT id FROM share WHERE audience = $2 AND \
             ((is_group = 0 AND recipient_key IS NOT NULL AND recipient = $1) OR (is_group = 1 \
             AND recipient IN (SELECT user_group FROM member WHERE account = $1))) LIMIT 1",
        )
        .bind(account.as_str())
        .bind(audience.to_string())
        .fetch_optional(&mut *connection)
        .await?;
        if row.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The audiences that a group has shares of. Its member list is sent to them.
pub(crate) async fn audiences_shared_with_group(
    connection: &mut Connection,
    group: &KeyBytes,
    now: Timestamp,
) -> Result<Vec<Audience>, IssuerError> {
    let rows = sqlx::query(
        "SELECT DISTINCT audience FROM share WHERE is_group = 1 AND recipient_key = $1 \
         AND ended IS NULL AND ends > $2 ORDER BY audience",
    )
    .bind(group.hex())
    .bind(seconds(now))
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| parsed(row, "audience")).collect()
}

/// Stores a share that is new, accepted or extended.
pub(crate) async fn put_share(
    connection: &mut Connection,
    share: &ShareRecord,
) -> Result<(), IssuerError> {
    let is_group = matches!(share.recipient, Recipient::Group(..));
    sqlx::query(
        "INSERT INTO share (id, audience, recipient, recipient_key, is_group, shared_by, approved_by, \
         permissions, description, made, begins, ends, version, limits, region, invitation, signed) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) \
         ON CONFLICT (id) DO UPDATE SET recipient = $3, recipient_key = $4, begins = $11, \
         ends = $12, version = $13, signed = $17",
    )
    .bind(share.id.hex())
    .bind(share.audience.to_string())
    .bind(share.recipient.name())
    .bind(share.recipient.key().map(|key| key.hex()))
    .bind(i64::from(is_group))
    .bind(share.by.as_str())
    .bind(share.approved_by.as_ref().map(ToString::to_string))
    .bind(to_bytes(&share.permissions))
    .bind(share.description.as_ref().map(ToString::to_string))
    .bind(seconds(share.made))
    .bind(seconds(share.start))
    .bind(seconds(share.end))
    .bind(i64::from(share.version))
    .bind(share.limits.as_ref().map(to_bytes))
    .bind(share.region.as_str())
    .bind(share.invitation.map(|id| id.hex()))
    .bind(seconds(share.signed))
    .execute(connection)
    .await?;
    Ok(())
}

/// Locks the row of a share in the transaction.
pub(crate) async fn lock_share(
    connection: &mut Connection,
    id: &Bytes<16>,
) -> Result<(), IssuerError> {
    sqlx::query("UPDATE share SET version = version WHERE id = $1")
        .bind(id.hex())
        .execute(connection)
        .await?;
    Ok(())
}

/// Records the termination of a share, with the sequence number of the revocation list that ends it
/// on devices. Returns `false` if it had ended before.
pub(crate) async fn end_share(
    connection: &mut Connection,
    id: &Bytes<16>,
    termination: Termination,
    at: Timestamp,
    list_seq: Option<u64>,
) -> Result<bool, IssuerError> {
    let done = sqlx::query(
        "UPDATE share SET ended = $2, ended_at = $3, ended_seq = $4 WHERE id = $1 AND ended IS NULL",
    )
    .bind(id.hex())
    .bind(termination.name())
    .bind(seconds(at))
    .bind(list_seq.map(to_i64))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ids and end dates of the shares that a revocation list must contain: signed since the floor,
/// ended early, and not past their end date.
pub(crate) async fn ended_shares(
    connection: &mut Connection,
    audience: &Audience,
    (now, floor): (Timestamp, Timestamp),
) -> Result<Vec<(Bytes<16>, Timestamp)>, IssuerError> {
    let rows = sqlx::query(
        "SELECT id, ends FROM share WHERE audience = $1 AND ends > $2 AND ended IS NOT NULL \
         AND recipient_key IS NOT NULL AND signed >= $3",
    )
    .bind(audience.to_string())
    .bind(seconds(now))
    .bind(seconds(floor))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Ok((hex(row, "id")?, time(row, "ends")?)))
        .collect()
}

/// Sequence number and floor of the newest revocation list of an audience; 0 if there is none.
pub(crate) async fn newest_list(
    connection: &mut Connection,
    audience: &Audience,
) -> Result<(u64, Timestamp), IssuerError> {
    let row = sqlx::query("SELECT seq, floor FROM audience WHERE id = $1")
        .bind(audience.to_string())
        .fetch_optional(connection)
        .await?;
    match row {
        Some(row) => Ok((u64_col(&row, "seq")?, time(&row, "floor")?)),
        None => Ok((0, Timestamp(0))),
    }
}

/// When the newest share token for an audience was issued.
pub(crate) async fn newest_token(
    connection: &mut Connection,
    audience: &Audience,
) -> Result<Timestamp, IssuerError> {
    let row = sqlx::query(
        "SELECT COALESCE(MAX(signed), 0) AS signed FROM share WHERE audience = $1 \
         AND recipient_key IS NOT NULL",
    )
    .bind(audience.to_string())
    .fetch_one(connection)
    .await?;
    time(&row, "signed")
}

/// When the newest revocation list of an audience was issued.
pub(crate) async fn list_issued_at(
    connection: &mut Connection,
    audience: &Audience,
) -> Result<Timestamp, IssuerError> {
    let row = sqlx::query("SELECT made FROM audience WHERE id = $1")
        .bind(audience.to_string())
        .fetch_one(connection)
        .await?;
    time(&row, "made")
}

pub(crate) async fn set_newest_list(
    connection: &mut Connection,
    audience: &Audience,
    seq: u64,
    made: Timestamp,
    floor: Timestamp,
) -> Result<(), IssuerError> {
    sqlx::query("UPDATE audience SET seq = $2, made = $3, floor = $4 WHERE id = $1")
        .bind(audience.to_string())
        .bind(to_i64(seq))
        .bind(seconds(made))
        .bind(seconds(floor))
        .execute(connection)
        .await?;
    Ok(())
}

/// Up to `limit` audiences whose newest revocation list was issued before a time, oldest first.
pub(crate) async fn stale_lists(
    connection: &mut Connection,
    before: Timestamp,
    limit: u64,
) -> Result<Vec<Audience>, IssuerError> {
    let rows = sqlx::query("SELECT id FROM audience WHERE made < $1 ORDER BY made LIMIT $2")
        .bind(seconds(before))
        .bind(to_i64(limit))
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| parsed(row, "id")).collect()
}

/// Records a use of a share. Returns whether it is the first one.
pub(crate) async fn record_share_use(
    connection: &mut Connection,
    id: &Bytes<16>,
    at: Timestamp,
) -> Result<bool, IssuerError> {
    let first = sqlx::query("UPDATE share SET used = $2 WHERE id = $1 AND used IS NULL")
        .bind(id.hex())
        .bind(seconds(at))
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE share SET used = $2 WHERE id = $1 AND used < $2")
        .bind(id.hex())
        .bind(seconds(at))
        .execute(connection)
        .await?;
    Ok(first.rows_affected() == 1)
}

fn read(row: &AnyRow) -> Result<ShareRecord, IssuerError> {
    let key: Option<String> = get(row, "recipient_key")?;
    let is_group: i64 = get(row, "is_group")?;
    let recipient = match key {
        None => Recipient::Invited(get(row, "recipient")?),
        Some(_) if is_group != 0 => {
            Recipient::Group(parsed(row, "recipient")?, hex(row, "recipient_key")?)
        }
        Some(_) => Recipient::Account(parsed(row, "recipient")?, hex(row, "recipient_key")?),
    };
    let permissions: Vec<u8> = get(row, "permissions")?;
    let limits: Option<Vec<u8>> = get(row, "limits")?;
    let limits = limits.map(|bytes| decode_exact(&bytes)).transpose();
    let ended: Option<String> = get(row, "ended")?;
    let ended = match (ended, time_option(row, "ended_at")?) {
        (Some(name), Some(at)) => Some((
            Termination::from_name(&name).ok_or_else(|| unreadable("ended"))?,
            at,
        )),
        _ => None,
    };
    let invitation: Option<String> = get(row, "invitation")?;
    Ok(ShareRecord {
        id: hex(row, "id")?,
        audience: parsed(row, "audience")?,
        recipient,
        by: parsed(row, "shared_by")?,
        approved_by: parsed_option(row, "approved_by")?,
        permissions: decode_exact(&permissions).map_err(|_| unreadable("permissions"))?,
        description: parsed_option(row, "description")?,
        made: time(row, "made")?,
        start: time(row, "begins")?,
        end: time(row, "ends")?,
        version: u32_col(row, "version")?,
        signed: time(row, "signed")?,
        limits: limits.map_err(|_| unreadable("limits"))?,
        region: parsed(row, "region")?,
        invitation: invitation.and_then(|id| Bytes::from_hex(&id)),
        ended,
        used: time_option(row, "used")?,
    })
}

/// Up to `limit` shares whose id begins with `prefix`, lower-case hexadecimal digits, in the order
/// of their ids.
pub(crate) async fn shares_with_prefix(
    connection: &mut Connection,
    prefix: &str,
    limit: u64,
) -> Result<Vec<ShareRecord>, IssuerError> {
    let rows = sqlx::query("SELECT * FROM share WHERE id LIKE $1 ORDER BY id LIMIT $2")
        .bind(format!("{prefix}%"))
        .bind(to_i64(limit))
        .fetch_all(connection)
        .await?;
    rows.iter().map(read).collect()
}

/// Up to `limit` invitations whose id begins with `prefix`, lower-case hexadecimal digits: ids and
/// addresses.
pub(crate) async fn invitations_with_prefix(
    connection: &mut Connection,
    prefix: &str,
    limit: u64,
) -> Result<Vec<(Bytes<16>, String)>, IssuerError> {
    let rows =
        sqlx::query("SELECT id, address FROM invitation WHERE id LIKE $1 ORDER BY id LIMIT $2")
            .bind(format!("{prefix}%"))
            .bind(to_i64(limit))
            .fetch_all(connection)
            .await?;
    rows.iter()
        .map(|row| Ok((hex(row, "id")?, get(row, "address")?)))
        .collect()
}
