//! Groups, their members and what they asked for, in the ledger.

use sqlx::any::AnyRow;

use crate::IssuerError;
use crate::domain::group::{Group, LookupKey};
use crate::ledger::Connection;
use crate::ledger::row::{get, hex, parsed, seconds, to_i64, u64_col};
use doorward_protocol::wire::{Bytes, Id, KeyBytes, Roster, Timestamp};

pub(crate) async fn group(
    connection: &mut Connection,
    id: &Id,
) -> Result<Option<Group>, IssuerError> {
    one(
        connection,
        "SELECT * FROM user_group WHERE id = $1",
        id.as_str(),
    )
    .await
}

pub(crate) async fn group_by_lookup_key(
    connection: &mut Connection,
    key: &LookupKey,
) -> Result<Option<Group>, IssuerError> {
    let sql = "SELECT * FROM user_group WHERE lookup_key = $1";
    one(connection, sql, key.as_str()).await
}

pub(crate) async fn group_by_key(
    connection: &mut Connection,
    key: &KeyBytes,
) -> Result<Option<Group>, IssuerError> {
    one(
        connection,
        "SELECT * FROM user_group WHERE key = $1",
        &key.hex(),
    )
    .await
}

async fn one(
    connection: &mut Connection,
    sql: &'static str,
    value: &str,
) -> Result<Option<Group>, IssuerError> {
    let row = sqlx::query(sql)
        .bind(value)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read).transpose()
}

/// The groups that somebody owns or is a member of.
pub(crate) async fn groups_of(
    connection: &mut Connection,
    account: &Id,
) -> Result<Vec<Group>, IssuerError> {
    let rows = sqlx::query(
        "SELECT * FROM user_group WHERE owner = $1 \
         OR id IN (SELECT user_group FROM member WHERE account = $1) ORDER BY id",
    )
    .bind(account.as_str())
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

/// Makes a group. `false`: its id, lookup key or key is taken.
pub(crate) async fn add_group(
    connection: &mut Connection,
    group: &Group,
) -> Result<bool, IssuerError> {
    let done = sqlx::query(
        "INSERT INTO user_group (id, lookup_key, name, owner, key, hosts, roster) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
    )
    .bind(group.id.as_str())
    .bind(group.lookup_key.as_str())
    .bind(&*group.name)
    .bind(group.owner.as_str())
    .bind(group.key.hex())
    .bind(group.hosts.join(" "))
    .bind(to_i64(group.roster))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes a roster's number and members. `false`: it is not newer than what is there.
pub(crate) async fn take_roster(
    connection: &mut Connection,
    group: &Id,
    roster: &Roster,
) -> Result<bool, IssuerError> {
    let done = sqlx::query("UPDATE user_group SET roster = $2 WHERE id = $1 AND roster < $2")
        .bind(group.as_str())
        .bind(to_i64(roster.body.seq))
        .execute(&mut *connection)
        .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query("DELETE FROM member WHERE user_group = $1")
        .bind(group.as_str())
        .execute(&mut *connection)
        .await?;
    for (key, account) in roster.body.members.iter() {
        sqlx::query("INSERT INTO member (user_group, account, key) VALUES ($1, $2, $3)")
            .bind(group.as_str())
            .bind(account.as_str())
            .bind(key.hex())
            .execute(&mut *connection)
            .await?;
    }
    Ok(true)
}

/// Locks a group for a change.
pub(crate) async fn lock_group(
    connection: &mut Connection,
    key: &KeyBytes,
) -> Result<(), IssuerError> {
    sqlx::query("UPDATE user_group SET roster = roster WHERE key = $1")
        .bind(key.hex())
        .execute(connection)
        .await?;
    Ok(())
}

/// Keeps a roster as it was signed.
pub(crate) async fn keep_roster(
    connection: &mut Connection,
    group: &Id,
    bytes: &[u8],
) -> Result<(), IssuerError> {
    sqlx::query("UPDATE user_group SET roster_bytes = $2 WHERE id = $1")
        .bind(group.as_str())
        .bind(bytes)
        .execute(connection)
        .await?;
    Ok(())
}

/// The newest roster of a group, as it was signed.
pub(crate) async fn roster(
    connection: &mut Connection,
    group: &Id,
) -> Result<Option<Vec<u8>>, IssuerError> {
    let row = sqlx::query("SELECT roster_bytes FROM user_group WHERE id = $1")
        .bind(group.as_str())
        .fetch_optional(connection)
        .await?;
    let bytes = row
        .as_ref()
        .map(|row| get(row, "roster_bytes"))
        .transpose()?;
    Ok(bytes.flatten())
}

/// What somebody decided on a group's request.
#[derive(Debug, Clone)]
pub(crate) struct Decided<'a> {
    pub(crate) id: Bytes<16>,
    pub(crate) group: &'a Id,
    pub(crate) site: &'a Id,
    pub(crate) by: &'a Id,
    pub(crate) share: Option<Bytes<16>>,
    pub(crate) at: Timestamp,
}

pub(crate) async fn add_decision(
    connection: &mut Connection,
    decided: &Decided<'_>,
) -> Result<(), IssuerError> {
    sqlx::query(
        "INSERT INTO access_request (id, user_group, site, approved, decided_by, share, at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(decided.id.hex())
    .bind(decided.group.as_str())
    .bind(decided.site.as_str())
    .bind(i64::from(decided.share.is_some()))
    .bind(decided.by.as_str())
    .bind(decided.share.map(|id| id.hex()))
    .bind(seconds(decided.at))
    .execute(connection)
    .await?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<Group, IssuerError> {
    let hosts: String = get(row, "hosts")?;
    Ok(Group {
        id: parsed(row, "id")?,
        lookup_key: parsed(row, "lookup_key")?,
        name: get(row, "name")?,
        owner: parsed(row, "owner")?,
        key: hex(row, "key")?,
        hosts: hosts.split_whitespace().map(str::to_owned).collect(),
        roster: u64_col(row, "roster")?,
    })
}
