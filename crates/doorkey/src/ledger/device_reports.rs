//! Signed reports of devices: the shares that they have installed and the revocation lists that
//! they have applied.

use crate::IssuerError;
use crate::domain::share::DeviceReport;
use crate::ledger::Connection;
use crate::ledger::row::{get, parsed, seconds, to_i64, u32_col, u64_col};
use doorward_protocol::wire::{Audience, Bytes, Id, Timestamp};

/// Stores a device's receipt for a share, unless a receipt for a newer version is stored.
pub(crate) async fn put_device_report(
    connection: &mut Connection,
    (share, device): (&Bytes<16>, &Id),
    version: u32,
    refused: Option<&str>,
    (at, receipt): (Timestamp, &[u8]),
) -> Result<(), IssuerError> {
    sqlx::query(
        "INSERT INTO device_word (share, device, version, refused, at, receipt) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (share, device) DO UPDATE SET \
         version = $3, refused = $4, at = $5, receipt = $6 WHERE device_word.version <= $3",
    )
    .bind(share.hex())
    .bind(device.as_str())
    .bind(i64::from(version))
    .bind(refused)
    .bind(seconds(at))
    .bind(receipt)
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores a device's confirmation that it has applied a revocation list. Returns `false` if this or
/// a newer list was confirmed before.
pub(crate) async fn put_applied_list(
    connection: &mut Connection,
    (device, audience): (&Id, &Audience),
    seq: u64,
    (at, state): (Timestamp, &[u8]),
) -> Result<bool, IssuerError> {
    let done = sqlx::query(
        "INSERT INTO applied (device, audience, seq, at, state) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (device, audience) DO UPDATE SET seq = $3, at = $4, state = $5 \
         WHERE applied.seq < $3",
    )
    .bind(device.as_str())
    .bind(audience.to_string())
    .bind(to_i64(seq))
    .bind(seconds(at))
    .bind(state)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether every device of an audience has confirmed the revocation list `seq` or a newer one.
pub(crate) async fn all_have_applied(
    connection: &mut Connection,
    audience: &Audience,
    seq: u64,
) -> Result<bool, IssuerError> {
    let (column, id) = device_filter(audience);
    let sql = format!(
        "SELECT COUNT(*) AS missing FROM device d WHERE d.deleted = 0 AND d.{column} = $3 \
         AND NOT EXISTS (SELECT 1 FROM applied a WHERE a.device = d.id AND a.audience = $1 \
         AND a.seq >= $2)"
    );
    let row = sqlx::query(&sql)
        .bind(audience.to_string())
        .bind(to_i64(seq))
        .bind(id)
        .fetch_one(connection)
        .await?;
    Ok(u64_col(&row, "missing")? == 0)
}

/// The indexed column and its value that select the devices of an audience.
fn device_filter(audience: &Audience) -> (&'static str, &str) {
    match audience {
        Audience::Device(id) => ("id", id.as_str()),
        Audience::Site(site) => ("site", site.as_str()),
    }
}

/// The reports of each device of the audience on a share.
pub(crate) async fn device_reports_on(
    connection: &mut Connection,
    (share, audience): (&Bytes<16>, &Audience),
) -> Result<Vec<(Id, DeviceReport)>, IssuerError> {
    let (column, id) = device_filter(audience);
    let sql = format!(
        "SELECT d.id AS device, COALESCE(w.version, 0) AS version, w.refused AS refused, \
         CASE WHEN s.ended_seq IS NOT NULL AND COALESCE(a.seq, 0) >= s.ended_seq THEN 1 ELSE 0 END \
         AS ended \
         FROM share s \
         JOIN device d ON d.deleted = 0 AND d.{column} = $2 \
         LEFT JOIN device_word w ON w.share = s.id AND w.device = d.id \
         LEFT JOIN applied a ON a.device = d.id AND a.audience = s.audience \
         WHERE s.id = $1 ORDER BY d.id"
    );
    let rows = sqlx::query(&sql)
        .bind(share.hex())
        .bind(id)
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let ended: i64 = get(row, "ended")?;
            let report = DeviceReport {
                version: u32_col(row, "version")?,
                refused: get(row, "refused")?,
                ended: ended != 0,
            };
            Ok((parsed(row, "device")?, report))
        })
        .collect()
}
