//! Groups, their members and the decisions on their access requests, in the database.

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
    find_group(
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
    find_group(connection, sql, key.as_str()).await
}

pub(crate) async fn group_by_key(
    connection: &mut Connection,
    key: &KeyBytes,
) -> Result<Option<Group>, IssuerError> {
    find_group(
        connection,
        "SELECT * FROM user_group WHERE key = $1",
        &key.hex(),
    )
    .await
}

async fn find_group(
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

/// The groups that an account owns or is a member of.
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

/// Adds a group. Returns `false` if its id, lookup key or key is taken.
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

/// Replaces the members of a group by those of a member list. Returns `false` if the list is not
/// newer than the present one.
pub(crate) async fn replace_members(
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

/// Locks the row of a group in the transaction.
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

/// Stores a member list in its signed form.
pub(crate) async fn store_roster(
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

/// The newest member list of a group in its signed form.
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

/// The decision on a group's access request.
#[derive(Debug, Clone)]
pub(crate) struct AccessDecision<'a> {
    pub(crate) id: Bytes<16>,
    pub(crate) group: &'a Id,
    pub(crate) site: &'a Id,
    pub(crate) by: &'a Id,
    pub(crate) share: Option<Bytes<16>>,
    pub(crate) at: Timestamp,
}

pub(crate) async fn add_decision(
    connection: &mut Connection,
    decision: &AccessDecision<'_>,
) -> Result<(), IssuerError> {
    sqlx::query(
        "INSERT INTO access_request (id, user_group, site, approved, decided_by, share, at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(decision.id.hex())
    .bind(decision.group.as_str())
    .bind(decision.site.as_str())
    .bind(i64::from(decision.share.is_some()))
    .bind(decision.by.as_str())
    .bind(decision.share.map(|id| id.hex()))
    .bind(seconds(decision.at))
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
