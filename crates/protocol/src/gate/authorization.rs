//! Authorization of a command by the shares of its sender.

use alloc::vec;
use alloc::vec::Vec;

use crate::gate::decide::Request;
use crate::gate::decision::{Caller, Origin};
use crate::gate::install_share::MAX_SHARES;
use crate::gate::replay_state::{MAX_RATES, UsageAccounting};
use crate::gate::slots::Slots;
use crate::gate::statements::{Grant, GrantPath};
use crate::gate::{Code, DurableState, Now, StatementStore};
use crate::wire::{
    Approval, Bytes, Class, Envelope, Id, KeyBytes, Limits, Operation, Registration,
    SELF_SERVICE_OPERATIONS, Share, Way, is_owner_only,
};

/// The grant that allowed a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Granted {
    /// The share; `None` for the owner.
    pub(super) share: Option<Bytes<16>>,
    /// Whether the share counts its uses, and whether it also records their times.
    pub(super) charged: UsageAccounting,
    /// The keys of the people whose approval the command required.
    pub(super) approvers: Vec<KeyBytes>,
}

/// Allows everything to the owner, and to others what at least one of their valid shares grants;
/// returns the first such share. If none does, the code is that of the share that passed the most
/// checks.
pub(super) fn authorize(request: &Request<'_>, caller: &Caller) -> Result<Granted, Code> {
    if request.statements.is_owner(&caller.key) {
        return Ok(Granted {
            share: None,
            charged: UsageAccounting::None,
            approvers: Vec::new(),
        });
    }
    let context = ShareContext::of(request);
    let mut denial = Code::NoGrant;
    for grant in request.statements.grants_of(&caller.key) {
        let checked = check_share_valid(&context, &grant)
            .and_then(|()| includes(request, grant.share))
            .and_then(|()| check_limits(request, grant.share, caller));
        match checked {
            Ok(approvers) => {
                let limits = grant.share.body.limits.as_ref();
                return Ok(Granted {
                    approvers,
                    share: Some(grant.share.cti),
                    charged: match limits {
                        _ if SELF_SERVICE_OPERATIONS.contains(&caller.operation.as_str()) => {
                            UsageAccounting::None
                        }
                        Some(limits) if limits.rate.is_some() => UsageAccounting::CountAndTime,
                        Some(limits) if limits.uses.is_some() => UsageAccounting::Count,
                        _ => UsageAccounting::None,
                    },
                });
            }
            Err(code) => denial = denial.max(code),
        }
    }
    Err(denial)
}

/// The input of the checks of one share.
pub(super) struct ShareContext<'a> {
    pub(super) statements: &'a StatementStore,
    pub(super) state: &'a DurableState,
    pub(super) slots: &'a Slots,
    pub(super) registration: &'a Registration,
    pub(super) now: &'a Now,
    pub(super) class: Class,
    pub(super) operation: &'a Operation,
}

impl<'a> ShareContext<'a> {
    fn of(request: &Request<'a>) -> Self {
        Self {
            statements: request.statements,
            state: request.state,
            slots: request.device.slots,
            registration: request.registration,
            now: &request.device.now,
            class: request.class(),
            operation: &request.command.body.operation,
        }
    }
}

/// The limits of a share that apply to an operation; none for self-service operations.
pub(super) fn limits_of<'a>(share: &'a Share, operation: &Operation) -> Option<&'a Limits> {
    let is_self_service = SELF_SERVICE_OPERATIONS.contains(&operation.as_str());
    share.body.limits.as_ref().filter(|_| !is_self_service)
}

/// Checks that a share is valid now on this device, for operations of this class.
pub(super) fn check_share_valid(context: &ShareContext<'_>, grant: &Grant<'_>) -> Result<(), Code> {
    let (share, body) = (grant.share, &context.registration.body);
    if context.now.quality >= 2 && share.nbf > context.now.estimate {
        return Err(Code::NotYet);
    }
    if share.exp <= context.now.estimate {
        return Err(Code::Expired);
    }
    if is_ended(context, share) {
        return Err(Code::Revoked);
    }
    match grant.via {
        GrantPath::GroupKey => return Err(Code::NotMember),
        GrantPath::Member(roster)
            if context
                .statements
                .is_member_revoked(&grant.key, grant.person, roster) =>
        {
            return Err(Code::Revoked);
        }
        GrantPath::Member(roster) if roster.exp <= context.now.estimate => return Err(Code::Stale),
        GrantPath::Member(_) | GrantPath::Direct => {}
    }
    if !is_fresh(context, share) {
        return Err(Code::Stale);
    }
    if context
        .state
        .frozen
        .is_some_and(|until| context.now.estimate < until)
    {
        return Err(Code::Frozen);
    }
    if share.body.region != body.region {
        return Err(Code::WrongRegion);
    }
    if body.demo {
        return Err(Code::Demo);
    }
    if !context.slots.has_holder_of(share) {
        return Err(Code::SlotsFull);
    }
    Ok(())
}

/// Returns whether a share was ended by the issuer, on the device, or by a transfer of ownership.
pub(super) fn is_ended(context: &ShareContext<'_>, share: &Share) -> bool {
    context.statements.is_revoked(share)
        || context.state.ended.contains_key(&share.cti)
        || share.iat < context.registration.body.since
}

/// Returns whether there is recent enough proof that the share was not revoked: the share itself or
/// the newest list for its audience, whichever was issued later. If a list for this device or its
/// site is recorded in the event log and missing from the cache, all shares are stale.
fn is_fresh(context: &ShareContext<'_>, share: &Share) -> bool {
    let list = context.statements.revocations(&share.aud);
    let mut lost = context.statements.lost_lists(context.state);
    if lost.next().is_some() {
        return false;
    }
    // A list from the future was signed with a key that was revoked since.
    let listed = list
        .map(|list| list.iat)
        .filter(|iat| *iat <= context.now.estimate);
    let proof = listed.map_or(share.iat, |iat| iat.max(share.iat));
    let leases = &context.registration.body.leases;
    let default = leases.get(&context.class).copied().unwrap_or(0);
    let lease = share.body.lease.map_or(default, |own| own.min(default));
    context.now.estimate.since(proof) <= lease
}

/// Checks that a valid share includes the operation, under the plan currently in force.
pub(super) fn grants_operation(context: &ShareContext<'_>, share: &Share) -> Result<(), Code> {
    let operation = context.operation;
    if SELF_SERVICE_OPERATIONS.contains(&operation.as_str()) {
        return Ok(());
    }
    if is_owner_only(operation.as_str()) {
        return Err(Code::OwnerOnly);
    }
    if share.body.permissions.get(operation).is_none() {
        return Err(Code::NotGranted);
    }
    match plan_includes(context, share) {
        true => Ok(()),
        false => Err(Code::Plan),
    }
}

/// Checks that a share includes the operation with these arguments.
fn includes(request: &Request<'_>, share: &Share) -> Result<(), Code> {
    grants_operation(&ShareContext::of(request), share)?;
    let body = &request.command.body;
    let permission = share.body.permissions.get(&body.operation);
    let args = permission.and_then(|permission| permission.args.as_ref());
    let allowed = args
        .iter()
        .flat_map(|args| args.iter())
        .all(|(name, limit)| {
            // A limited argument must be given: the default would be the device's choice.
            let given = body.args.get(name);
            given.is_some_and(|value| limit.allows(value))
        });
    if allowed { Ok(()) } else { Err(Code::Param) }
}

/// Returns whether the device's plan includes the operation now, and included sharing when the
/// share was issued. A share from before this registration was issued under an earlier one.
fn plan_includes(context: &ShareContext<'_>, share: &Share) -> bool {
    let body = &context.registration.body;
    let lowest = body.table.lowest().unwrap_or(&body.plan.name);
    let plan_at = |time| match body.plan.end {
        Some(end) if end <= time => lowest,
        _ => &body.plan.name,
    };
    let issued_before = share.iat < context.registration.iat;
    body.table
        .includes(plan_at(context.now.estimate), context.operation)
        && (issued_before || body.table.includes_sharing(plan_at(share.iat)))
}

/// Checks the limits of the share for this command. Returns the keys of the people whose approval
/// it requires.
fn check_limits(
    request: &Request<'_>,
    share: &Share,
    caller: &Caller,
) -> Result<Vec<KeyBytes>, Code> {
    let Some(limits) = limits_of(share, &caller.operation) else {
        return Ok(Vec::new());
    };
    check_schedule_and_origin(&request.device.now, limits, caller.origin)?;
    let used = request.state.uses.get(&share.cti).copied();
    let is_full = used.is_none() && request.state.uses.len() >= MAX_SHARES;
    let counts = limits.uses.is_some() || limits.rate.is_some();
    if limits.uses.is_some_and(|uses| used.unwrap_or(0) >= uses) || (counts && is_full) {
        return Err(Code::Count);
    }
    if let Some(rate) = limits.rate {
        let times = request
            .state
            .recent
            .get(&(share.cti, caller.operation.clone()));
        let recent = |time: &&_| request.now().since(**time) < rate.seconds;
        let count = times.map_or(0, |times| times.iter().filter(recent).count());
        let is_full = times.is_none() && request.state.recent.len() >= MAX_RATES;
        if count >= rate.count as usize || is_full {
            return Err(Code::Rate);
        }
    }
    let Some(needed) = limits.approvals else {
        return Ok(Vec::new());
    };
    let approvers = approvers(request, caller);
    match approvers.len() < usize::from(needed) {
        true => Err(Code::NeedsApproval),
        false => Ok(approvers),
    }
}

/// Checks the limits that do not depend on earlier commands.
pub(super) fn check_schedule_and_origin(
    now: &Now,
    limits: &Limits,
    origin: Origin,
) -> Result<(), Code> {
    if let Some(windows) = &limits.windows {
        // Without a clock it is unknown whether a window is open.
        if now.quality < 2 || !windows.is_open(now.estimate) {
            return Err(Code::Window);
        }
    }
    match (limits.origin, origin) {
        (Some(Way::Local), Origin::Cloud) | (Some(Way::Cloud), Origin::Local) => Err(Code::Origin),
        _ => Ok(()),
    }
}

/// Returns one key of each other person who also holds the operation and has approved exactly this
/// command.
fn approvers(request: &Request<'_>, caller: &Caller) -> Vec<KeyBytes> {
    let mut people = vec![caller.person.clone()];
    let mut keys = Vec::new();
    for envelope in request.inbound.approvals {
        if let Some(person) = approving_account(request, caller, envelope)
            && !people.contains(&person)
        {
            people.push(person);
            keys.push(envelope.signer);
        }
    }
    keys
}

/// The account behind a valid approval of this command.
fn approving_account(
    request: &Request<'_>,
    caller: &Caller,
    envelope: &Envelope<'_>,
) -> Option<Id> {
    let approval: Approval = envelope.claims().ok()?;
    let matches = request.statements.is_device(&approval.aud)
        && approval.body.command == caller.command
        && approval.exp > request.now();
    let key = request
        .statements
        .authority(&envelope.signer)
        .filter(|_| matches)?;
    let person = request.statements.person(&envelope.signer)?;
    let mut holds = request.statements.is_owner(&envelope.signer);
    for grant in request.statements.grants_of(&envelope.signer) {
        holds |= check_share_valid(&ShareContext::of(request), &grant).is_ok()
            && includes(request, grant.share).is_ok();
    }
    (holds && envelope.verify(key).is_ok()).then(|| person.clone())
}
