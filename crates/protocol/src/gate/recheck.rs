//! Whether what was allowed some time ago still is.

use crate::gate::authorization::{
    ShareContext, check_schedule_and_origin, check_share_valid, grants_operation, limits_of,
};
use crate::gate::decision::Permit;
use crate::gate::{Code, DurableState, Now, StatementStore};
use crate::wire::{Bytes, Class, KeyBytes, Operation, Share};

/// The operation by which people ask to be told the news.
const NOTIFY: &str = "notify.manage";

/// Whether what allowed a command some time ago still does: the share, its windows, and those
/// whose consent it needed. Its uses were counted then.
///
/// # Errors
/// The code that says why it does not.
pub fn reauthorize(
    permit: &Permit,
    known: &StatementStore,
    memory: &DurableState,
    now: &Now,
) -> Result<(), Code> {
    let registration = known.registration().ok_or(Code::NotProvisioned)?;
    // Whoever has taken the key of a release back has taken the release back.
    if let Some(release) = permit.release()
        && known.release(&release.body.model, release.body.version) != Some(release)
    {
        return Err(Code::BadImage);
    }
    let ground = ShareContext {
        known,
        memory,
        registration,
        now,
        class: permit.class(),
        operation: &permit.caller().operation,
    };
    let key = &permit.caller().key;
    check_by_share(&ground, key, permit.share(), |share| {
        recheck_limits(&ground, share, permit)
    })
}

/// Whether whoever asked to be told the news would still be allowed to ask: the owner, or others
/// by this share.
///
/// # Errors
/// The code that says why not.
pub fn may_receive_notifications(
    key: &KeyBytes,
    share: Option<Bytes<16>>,
    known: &StatementStore,
    memory: &DurableState,
    now: &Now,
) -> Result<(), Code> {
    let registration = known.registration().ok_or(Code::NotProvisioned)?;
    let operation = Operation::new(NOTIFY).map_err(|_| Code::Unsupported)?;
    let ground = ShareContext {
        known,
        memory,
        registration,
        now,
        class: Class::Change,
        operation: &operation,
    };
    check_by_share(&ground, key, share, |_| Ok(()))
}

/// Whether a key may do something by this one share, or as the owner by none.
fn check_by_share(
    ground: &ShareContext<'_>,
    key: &KeyBytes,
    share: Option<Bytes<16>>,
    more: impl Fn(&Share) -> Result<(), Code>,
) -> Result<(), Code> {
    let Some(share) = share else {
        return match ground.known.is_owner(key) {
            true => Ok(()),
            false => Err(Code::NoGrant),
        };
    };
    let mut reason = Code::NoGrant;
    let grants = ground.known.grants_of(key);
    for grant in grants.filter(|grant| grant.share.cti == share) {
        let judged = check_share_valid(ground, &grant)
            .and_then(|()| grants_operation(ground, grant.share))
            .and_then(|()| more(grant.share));
        match judged {
            Ok(()) => return Ok(()),
            Err(code) => reason = reason.max(code),
        }
    }
    Err(reason)
}

fn recheck_limits(ground: &ShareContext<'_>, share: &Share, permit: &Permit) -> Result<(), Code> {
    let Some(limits) = limits_of(share, ground.operation) else {
        return Ok(());
    };
    check_schedule_and_origin(ground.now, limits, permit.caller().origin)?;
    let consenting = permit.approvers().iter();
    let consenting = consenting.filter(|key| also_holds(ground, key)).count();
    match limits.approvals {
        Some(needed) if consenting < usize::from(needed) => Err(Code::NeedsApproval),
        _ => Ok(()),
    }
}

/// Whether the holder of a key may do the same.
fn also_holds(ground: &ShareContext<'_>, key: &KeyBytes) -> bool {
    ground.known.is_owner(key)
        || ground.known.grants_of(key).any(|grant| {
            check_share_valid(ground, &grant).is_ok()
                && grants_operation(ground, grant.share).is_ok()
        })
}
