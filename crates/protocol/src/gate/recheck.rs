//! Re-authorization of commands that are queued or running, and of subscribers.

use crate::gate::authorization::{
    ShareContext, check_schedule_and_origin, check_share_valid, grants_operation, limits_of,
};
use crate::gate::decision::Permit;
use crate::gate::{Code, DurableState, Now, Slots, StatementStore};
use crate::wire::{Bytes, Class, KeyBytes, Operation, Share};

/// The operation that subscribes to notifications.
const NOTIFY: &str = "notify.manage";

/// Checks that a command that was allowed earlier is still allowed: its share, the share's weekly
/// windows, and the approvals. Uses were counted at the decision.
///
/// # Errors
/// The code of the first check that fails.
pub fn reauthorize(
    permit: &Permit,
    statements: &StatementStore,
    state: &DurableState,
    slots: &Slots,
    now: &Now,
) -> Result<(), Code> {
    let registration = statements.registration().ok_or(Code::NotProvisioned)?;
    // A release ends with the key that signed it.
    if let Some(release) = permit.release()
        && statements.release(&release.body.model, release.body.version) != Some(release)
    {
        return Err(Code::BadImage);
    }
    let context = ShareContext {
        statements,
        state,
        slots,
        registration,
        now,
        class: permit.class(),
        operation: &permit.caller().operation,
    };
    let key = &permit.caller().key;
    check_by_share(&context, key, permit.share(), |share| {
        recheck_limits(&context, share, permit)
    })
}

/// Checks that a subscriber would still be allowed to subscribe, as the owner or by this share.
///
/// # Errors
/// The code of the first check that fails.
pub fn may_receive_notifications(
    key: &KeyBytes,
    share: Option<Bytes<16>>,
    statements: &StatementStore,
    state: &DurableState,
    slots: &Slots,
    now: &Now,
) -> Result<(), Code> {
    let registration = statements.registration().ok_or(Code::NotProvisioned)?;
    let operation = Operation::new(NOTIFY).map_err(|_| Code::Unsupported)?;
    let context = ShareContext {
        statements,
        state,
        slots,
        registration,
        now,
        class: Class::Change,
        operation: &operation,
    };
    check_by_share(&context, key, share, |_| Ok(()))
}

/// Checks that a key holds the operation by this share, or without a share as the owner.
fn check_by_share(
    context: &ShareContext<'_>,
    key: &KeyBytes,
    share: Option<Bytes<16>>,
    check_limits: impl Fn(&Share) -> Result<(), Code>,
) -> Result<(), Code> {
    let Some(share) = share else {
        return match context.statements.is_owner(key) {
            true => Ok(()),
            false => Err(Code::NoGrant),
        };
    };
    let mut denial = Code::NoGrant;
    let grants = context.statements.grants_of(key);
    for grant in grants.filter(|grant| grant.share.cti == share) {
        let checked = check_share_valid(context, &grant)
            .and_then(|()| grants_operation(context, grant.share))
            .and_then(|()| check_limits(grant.share));
        match checked {
            Ok(()) => return Ok(()),
            Err(code) => denial = denial.max(code),
        }
    }
    Err(denial)
}

fn recheck_limits(context: &ShareContext<'_>, share: &Share, permit: &Permit) -> Result<(), Code> {
    let Some(limits) = limits_of(share, context.operation) else {
        return Ok(());
    };
    check_schedule_and_origin(context.now, limits, permit.caller().origin)?;
    let approvers = permit.approvers().iter();
    let valid = approvers.filter(|key| still_holds(context, key)).count();
    match limits.approvals {
        Some(needed) if valid < usize::from(needed) => Err(Code::NeedsApproval),
        _ => Ok(()),
    }
}

/// Returns whether an approver still holds the same operation.
fn still_holds(context: &ShareContext<'_>, key: &KeyBytes) -> bool {
    context.statements.is_owner(key)
        || context.statements.grants_of(key).any(|grant| {
            check_share_valid(context, &grant).is_ok()
                && grants_operation(context, grant.share).is_ok()
        })
}
