//! Invitations in the database.

use sqlx::any::AnyRow;

use crate::IssuerError;
use crate::domain::invitation::{Invitation, InvitationState};
use crate::ledger::Connection;
use crate::ledger::row::{get, hex, parsed, seconds, time, u32_col, unreadable};
use doorward_protocol::wire::{Bytes, Timestamp};

pub(crate) async fn invitation(
    connection: &mut Connection,
    id: &Bytes<16>,
) -> Result<Option<Invitation>, IssuerError> {
    let row = sqlx::query("SELECT * FROM invitation WHERE id = $1")
        .bind(id.hex())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read_invitation).transpose()
}

/// Locks the row of an invitation in the transaction.
pub(crate) async fn lock_invitation(
    connection: &mut Connection,
    id: &Bytes<16>,
) -> Result<(), IssuerError> {
    sqlx::query("UPDATE invitation SET tries = tries WHERE id = $1")
        .bind(id.hex())
        .execute(connection)
        .await?;
    Ok(())
}

pub(crate) async fn put_invitation(
    connection: &mut Connection,
    invitation: &Invitation,
) -> Result<(), IssuerError> {
    sqlx::query(
        "INSERT INTO invitation (id, address, code, tries, lapses, stage, invited_by, guest) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
         ON CONFLICT (id) DO UPDATE SET tries = $4, stage = $6",
    )
    .bind(invitation.id.hex())
    .bind(&*invitation.address)
    .bind(invitation.code.hex())
    .bind(i64::from(invitation.tries))
    .bind(seconds(invitation.expires_at))
    .bind(invitation.stage.name())
    .bind(invitation.by.as_str())
    .bind(i64::from(invitation.guest))
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends the shares of invitations that were not accepted in time. Returns their number.
pub(crate) async fn expire_invitations(
    connection: &mut Connection,
    now: Timestamp,
) -> Result<u64, IssuerError> {
    let done = sqlx::query(
        "UPDATE share SET ended = 'lapsed', ended_at = $1 WHERE ended IS NULL \
         AND recipient_key IS NULL AND invitation IN \
         (SELECT id FROM invitation WHERE stage = 'open' AND lapses <= $1)",
    )
    .bind(seconds(now))
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

fn read_invitation(row: &AnyRow) -> Result<Invitation, IssuerError> {
    let stage: String = get(row, "stage")?;
    let guest: i64 = get(row, "guest")?;
    Ok(Invitation {
        id: hex(row, "id")?,
        address: get(row, "address")?,
        code: hex(row, "code")?,
        tries: u32_col(row, "tries")?,
        expires_at: time(row, "lapses")?,
        stage: InvitationState::from_name(&stage).ok_or_else(|| unreadable("stage"))?,
        by: parsed(row, "invited_by")?,
        guest: guest != 0,
    })
}
