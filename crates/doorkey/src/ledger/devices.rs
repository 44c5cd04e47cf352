//! Devices, their claims and their sites in the database.

use sqlx::any::AnyRow;

use crate::IssuerError;
use crate::domain::device::Device;
use crate::ledger::Connection;
use crate::ledger::row::{
    get, hex, parsed, parsed_option, seconds, time, time_option, to_i64, u64_col,
};
use doorward_protocol::wire::{Audience, Hash, Id, Operation, Plan, Timestamp};

pub(crate) async fn device(
    connection: &mut Connection,
    id: &Id,
) -> Result<Option<Device>, IssuerError> {
    let row = sqlx::query("SELECT * FROM device WHERE id = $1 AND deleted = 0")
        .bind(id.as_str())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read).transpose()
}

/// Sequence number and time of the last registration of a device id, also of a deleted device.
pub(crate) async fn last_registration(
    connection: &mut Connection,
    id: &Id,
) -> Result<Option<(u64, Timestamp)>, IssuerError> {
    let row = sqlx::query("SELECT seq, made FROM device WHERE id = $1")
        .bind(id.as_str())
        .fetch_optional(connection)
        .await?;
    let read = |row: &AnyRow| Ok((u64_col(row, "seq")?, time(row, "made")?));
    row.as_ref().map(read).transpose()
}

/// The devices of an audience: one device, or those of a site.
pub(crate) async fn devices_of(
    connection: &mut Connection,
    audience: &Audience,
) -> Result<Vec<Device>, IssuerError> {
    match audience {
        Audience::Device(id) => Ok(device(connection, id).await?.into_iter().collect()),
        Audience::Site(site) => {
            let sql = "SELECT * FROM device WHERE site = $1 AND deleted = 0 ORDER BY id";
            let rows = sqlx::query(sql)
                .bind(site.as_str())
                .fetch_all(connection)
                .await?;
            rows.iter().map(read).collect()
        }
    }
}

pub(crate) async fn devices_owned_by(
    connection: &mut Connection,
    owner: &Id,
) -> Result<Vec<Device>, IssuerError> {
    let sql = "SELECT * FROM device WHERE owner = $1 AND deleted = 0 ORDER BY id";
    let rows = sqlx::query(sql)
        .bind(owner.as_str())
        .fetch_all(connection)
        .await?;
    rows.iter().map(read).collect()
}

pub(crate) async fn all_devices(connection: &mut Connection) -> Result<Vec<Device>, IssuerError> {
    let sql = "SELECT * FROM device WHERE deleted = 0 ORDER BY id";
    let rows = sqlx::query(sql).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

/// Stores a device with its present registration.
pub(crate) async fn put_device(
    connection: &mut Connection,
    device: &Device,
) -> Result<(), IssuerError> {
    let operations: Vec<&str> = device.operations.iter().map(Operation::as_str).collect();
    sqlx::query(
        "INSERT INTO device (id, key, owner, owner_key, model, region, site, plan, plan_end, demo, \
         seq, since, operations, applied, seen, deleted, made) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 0, $16) \
         ON CONFLICT (id) DO UPDATE SET key = $2, owner = $3, owner_key = $4, model = $5, \
         region = $6, site = $7, plan = $8, plan_end = $9, demo = $10, seq = $11, since = $12, \
         operations = $13, applied = $14, seen = $15, deleted = 0, made = $16",
    )
    .bind(device.id.as_str())
    .bind(device.key.hex())
    .bind(device.owner.as_str())
    .bind(device.owner_key.hex())
    .bind(device.model.as_str())
    .bind(device.region.as_str())
    .bind(device.site.as_ref().map(ToString::to_string))
    .bind(device.plan.name.as_str())
    .bind(device.plan.end.map(seconds))
    .bind(i64::from(device.demo))
    .bind(to_i64(device.seq))
    .bind(seconds(device.since))
    .bind(operations.join(" "))
    .bind(to_i64(device.applied))
    .bind(seconds(device.seen))
    .bind(seconds(device.made))
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) async fn delete_device(connection: &mut Connection, id: &Id) -> Result<(), IssuerError> {
    sqlx::query("UPDATE device SET deleted = 1 WHERE id = $1")
        .bind(id.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

/// Stores what a device reports in its signed `state`: the registration that it has, and its
/// operations.
pub(crate) async fn record_device_state(
    connection: &mut Connection,
    id: &Id,
    applied: u64,
    operations: &[Operation],
    at: Timestamp,
) -> Result<(), IssuerError> {
    let operations: Vec<&str> = operations.iter().map(Operation::as_str).collect();
    // Ignores older reports, which a broker may deliver again.
    sqlx::query(
        "UPDATE device SET applied = $2, operations = $3, seen = $4 WHERE id = $1 AND seen <= $4",
    )
    .bind(id.as_str())
    .bind(to_i64(applied))
    .bind(operations.join(" "))
    .bind(seconds(at))
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores the hash of a claim secret, before the device is sold. A used claim is not replaced.
pub(crate) async fn add_claim(
    connection: &mut Connection,
    id: &Id,
    secret: &Hash,
) -> Result<(), IssuerError> {
    sqlx::query(
        "INSERT INTO claim (device, secret, used) VALUES ($1, $2, 0) \
         ON CONFLICT (device) DO UPDATE SET secret = $2 WHERE claim.used = 0",
    )
    .bind(id.as_str())
    .bind(secret.hex())
    .execute(connection)
    .await?;
    Ok(())
}

/// Marks a claim as used. Returns `false` if there is no claim with this secret or it was used.
pub(crate) async fn use_claim(
    connection: &mut Connection,
    id: &Id,
    secret: &Hash,
) -> Result<bool, IssuerError> {
    let sql = "UPDATE claim SET used = 1 WHERE device = $1 AND secret = $2 AND used = 0";
    let done = sqlx::query(sql)
        .bind(id.as_str())
        .bind(secret.hex())
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn add_site_admin(
    connection: &mut Connection,
    site: &Id,
    account: &Id,
) -> Result<(), IssuerError> {
    sqlx::query("INSERT INTO site_admin (site, account) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(site.as_str())
        .bind(account.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

/// The sites that an account may manage: those whose devices it all owns, and those of which it is
/// an administrator.
pub(crate) async fn sites_of(
    connection: &mut Connection,
    account: &Id,
) -> Result<Vec<Id>, IssuerError> {
    let rows = sqlx::query(
        "SELECT site FROM site_admin WHERE account = $1 UNION \
         SELECT site FROM device d WHERE owner = $1 AND site IS NOT NULL AND deleted = 0 \
         AND NOT EXISTS (SELECT 1 FROM device o WHERE o.site = d.site AND o.owner <> $1 \
         AND o.deleted = 0) ORDER BY 1",
    )
    .bind(account.as_str())
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| parsed(row, "site")).collect()
}

fn read(row: &AnyRow) -> Result<Device, IssuerError> {
    let operations: String = get(row, "operations")?;
    let demo: i64 = get(row, "demo")?;
    Ok(Device {
        id: parsed(row, "id")?,
        key: hex(row, "key")?,
        owner: parsed(row, "owner")?,
        owner_key: hex(row, "owner_key")?,
        model: parsed(row, "model")?,
        region: parsed(row, "region")?,
        site: parsed_option(row, "site")?,
        plan: Plan {
            name: parsed(row, "plan")?,
            end: time_option(row, "plan_end")?,
        },
        demo: demo != 0,
        seq: u64_col(row, "seq")?,
        since: time(row, "since")?,
        made: time(row, "made")?,
        operations: operations
            .split_whitespace()
            .filter_map(|name| Operation::new(name).ok())
            .collect(),
        applied: u64_col(row, "applied")?,
        seen: time(row, "seen")?,
    })
}
