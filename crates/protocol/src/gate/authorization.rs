//! Which share, if any, lets this person do this, here and now.

use alloc::vec;
use alloc::vec::Vec;

use crate::gate::decide::Request;
use crate::gate::decision::{Caller, Origin};
use crate::gate::install_share::MAX_SHARES;
use crate::gate::replay_state::{MAX_RATES, UsageAccounting};
use crate::gate::slots::has_slot;
use crate::gate::statements::{Grant, GrantPath};
use crate::gate::{Code, DurableState, Now, StatementStore};
use crate::wire::{
    Approval, Bytes, Class, Envelope, Id, KeyBytes, Limits, Operation, Registration,
    SELF_SERVICE_OPERATIONS, Share, Way, is_owner_only,
};

/// What allowed a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Granted {
    /// The share; none for the owner.
    pub(super) share: Option<Bytes<16>>,
    /// Whether the share counts its uses, and whether it also keeps their times.
    pub(super) charged: UsageAccounting,
    /// The keys of those whose consent it needed.
    pub(super) approvers: Vec<KeyBytes>,
}

/// The owner may do everything; others what at least one of their live shares grants, and
/// that share is returned. When none does, the reason of the share that came furthest is the
/// most useful one.
pub(super) fn authorize(case: &Request<'_>, caller: &Caller) -> Result<Granted, Code> {
    if case.known.is_owner(&caller.key) {
        return Ok(Granted {
            share: None,
            charged: UsageAccounting::None,
            approvers: Vec::new(),
        });
    }
    let ground = ShareContext::of(case);
    let mut reason = Code::NoGrant;
    for grant in case.known.grants_of(&caller.key) {
        let judged = check_share_valid(&ground, &grant)
            .and_then(|()| includes(case, grant.share))
            .and_then(|()| check_limits(case, grant.share, caller));
        match judged {
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
            Err(code) => reason = reason.max(code),
        }
    }
    Err(reason)
}

/// What decides whether a share counts.
pub(super) struct ShareContext<'a> {
    pub(super) known: &'a StatementStore,
    pub(super) memory: &'a DurableState,
    pub(super) registration: &'a Registration,
    pub(super) now: &'a Now,
    pub(super) class: Class,
    pub(super) operation: &'a Operation,
}

impl<'a> ShareContext<'a> {
    fn of(case: &Request<'a>) -> Self {
        Self {
            known: case.known,
            memory: case.memory,
            registration: case.registration,
            now: &case.situation.now,
            class: case.class(),
            operation: &case.command.body.operation,
        }
    }
}

/// The limits that a share sets to an operation.
pub(super) fn limits_of<'a>(share: &'a Share, operation: &Operation) -> Option<&'a Limits> {
    let own = SELF_SERVICE_OPERATIONS.contains(&operation.as_str());
    share.body.limits.as_ref().filter(|_| !own)
}

/// Does this share count, here and now, for operations of this class?
pub(super) fn check_share_valid(ground: &ShareContext<'_>, grant: &Grant<'_>) -> Result<(), Code> {
    let (share, body) = (grant.share, &ground.registration.body);
    if ground.now.quality >= 2 && share.nbf > ground.now.estimate {
        return Err(Code::NotYet);
    }
    if share.exp <= ground.now.estimate {
        return Err(Code::Expired);
    }
    if is_ended(ground, share) {
        return Err(Code::Revoked);
    }
    match grant.via {
        GrantPath::GroupKey => return Err(Code::NotMember),
        GrantPath::Member(roster)
            if ground
                .known
                .is_member_revoked(&grant.key, grant.person, roster) =>
        {
            return Err(Code::Revoked);
        }
        GrantPath::Member(roster) if roster.exp <= ground.now.estimate => return Err(Code::Stale),
        GrantPath::Member(_) | GrantPath::Direct => {}
    }
    if !is_fresh(ground, share) {
        return Err(Code::Stale);
    }
    if ground
        .memory
        .frozen
        .is_some_and(|until| ground.now.estimate < until)
    {
        return Err(Code::Frozen);
    }
    if share.body.region != body.region {
        return Err(Code::WrongRegion);
    }
    if body.demo {
        return Err(Code::Demo);
    }
    if !has_slot(ground, share) {
        return Err(Code::SlotsFull);
    }
    Ok(())
}

/// Cancelled by the issuer, on the device, or by a handover to another owner.
pub(super) fn is_ended(ground: &ShareContext<'_>, share: &Share) -> bool {
    ground.known.is_revoked(share)
        || ground.memory.ended.contains_key(&share.cti)
        || share.iat < ground.registration.body.since
}

/// Whether there is recent enough proof that the share was not revoked: the share itself or
/// the newest list for its audience, whichever is younger. A list for this device or its site
/// that the log knows to exist, and that the device does not hold, makes all shares stale.
fn is_fresh(ground: &ShareContext<'_>, share: &Share) -> bool {
    let held = ground.known.revocations(&share.aud);
    if ground.known.lost_lists(ground.memory).next().is_some() {
        return false;
    }
    // A list from after now was signed with a key that was taken back since.
    let listed = held
        .map(|list| list.iat)
        .filter(|iat| *iat <= ground.now.estimate);
    let proof = listed.map_or(share.iat, |iat| iat.max(share.iat));
    let leases = &ground.registration.body.leases;
    let set = leases.get(&ground.class).copied().unwrap_or(0);
    let lease = share.body.lease.map_or(set, |own| own.min(set));
    ground.now.estimate.since(proof) <= lease
}

/// Does this live share include the operation, on the plan of the day?
pub(super) fn grants_operation(ground: &ShareContext<'_>, share: &Share) -> Result<(), Code> {
    let operation = ground.operation;
    if SELF_SERVICE_OPERATIONS.contains(&operation.as_str()) {
        return Ok(());
    }
    if is_owner_only(operation.as_str()) {
        return Err(Code::OwnerOnly);
    }
    if share.body.permissions.get(operation).is_none() {
        return Err(Code::NotGranted);
    }
    match plan_includes(ground, share) {
        true => Ok(()),
        false => Err(Code::Plan),
    }
}

/// And with these arguments?
fn includes(case: &Request<'_>, share: &Share) -> Result<(), Code> {
    grants_operation(&ShareContext::of(case), share)?;
    let body = &case.command.body;
    let permission = share.body.permissions.get(&body.operation);
    let args = permission.and_then(|permission| permission.args.as_ref());
    let kept = args
        .iter()
        .flat_map(|args| args.iter())
        .all(|(name, limit)| {
            // A limited argument that is left out would be the device's choice.
            let given = body.args.get(name);
            given.is_some_and(|value| limit.allows(value))
        });
    if kept { Ok(()) } else { Err(Code::Param) }
}

/// Whether the device's plan includes the operation now, and included sharing when the share
/// was made. A share from before this registration was made under the one of its day.
fn plan_includes(ground: &ShareContext<'_>, share: &Share) -> bool {
    let body = &ground.registration.body;
    let lowest = body.table.lowest().unwrap_or(&body.plan.name);
    let plan_at = |time| match body.plan.end {
        Some(end) if end <= time => lowest,
        _ => &body.plan.name,
    };
    let made_before = share.iat < ground.registration.iat;
    body.table
        .includes(plan_at(ground.now.estimate), ground.operation)
        && (made_before || body.table.includes_sharing(plan_at(share.iat)))
}

/// Do the limits of the share leave room for this command?
/// Returns the keys of those whose consent it needs.
fn check_limits(case: &Request<'_>, share: &Share, caller: &Caller) -> Result<Vec<KeyBytes>, Code> {
    let Some(limits) = limits_of(share, &caller.operation) else {
        return Ok(Vec::new());
    };
    check_schedule_and_origin(&case.situation.now, limits, caller.origin)?;
    let used = case.memory.uses.get(&share.cti).copied();
    let no_room = used.is_none() && case.memory.uses.len() >= MAX_SHARES;
    let counts = limits.uses.is_some() || limits.rate.is_some();
    if limits.uses.is_some_and(|uses| used.unwrap_or(0) >= uses) || (counts && no_room) {
        return Err(Code::Count);
    }
    if let Some(rate) = limits.rate {
        let times = case
            .memory
            .recent
            .get(&(share.cti, caller.operation.clone()));
        let recent = |time: &&_| case.now().since(**time) < rate.seconds;
        let count = times.map_or(0, |times| times.iter().filter(recent).count());
        let no_room = times.is_none() && case.memory.recent.len() >= MAX_RATES;
        if count >= rate.count as usize || no_room {
            return Err(Code::Rate);
        }
    }
    let Some(needed) = limits.approvals else {
        return Ok(Vec::new());
    };
    let approvers = approvers(case, caller);
    match approvers.len() < usize::from(needed) {
        true => Err(Code::NeedsApproval),
        false => Ok(approvers),
    }
}

/// The limits that do not depend on what happened before.
pub(super) fn check_schedule_and_origin(
    now: &Now,
    limits: &Limits,
    origin: Origin,
) -> Result<(), Code> {
    if let Some(windows) = &limits.windows {
        // Without a clock nobody can say whether a window is open.
        if now.quality < 2 || !windows.is_open(now.estimate) {
            return Err(Code::Window);
        }
    }
    match (limits.origin, origin) {
        (Some(Way::Local), Origin::Cloud) | (Some(Way::Cloud), Origin::Local) => Err(Code::Origin),
        _ => Ok(()),
    }
}

/// One key of each of the other people who hold the operation too and have consented to this
/// very command.
fn approvers(case: &Request<'_>, caller: &Caller) -> Vec<KeyBytes> {
    let mut people = vec![caller.person.clone()];
    let mut keys = Vec::new();
    for envelope in case.arrival.approvals {
        if let Some(person) = approving_account(case, caller, envelope)
            && !people.contains(&person)
        {
            people.push(person);
            keys.push(envelope.signer);
        }
    }
    keys
}

fn approving_account(case: &Request<'_>, caller: &Caller, envelope: &Envelope<'_>) -> Option<Id> {
    let approval: Approval = envelope.claims().ok()?;
    let meant = case.known.is_device(&approval.aud)
        && approval.body.command == caller.command
        && approval.exp > case.now();
    let key = case.known.authority(&envelope.signer).filter(|_| meant)?;
    let person = case.known.person(&envelope.signer)?;
    let mut holds = case.known.is_owner(&envelope.signer);
    for grant in case.known.grants_of(&envelope.signer) {
        holds |= check_share_valid(&ShareContext::of(case), &grant).is_ok()
            && includes(case, grant.share).is_ok();
    }
    (holds && envelope.verify(key).is_ok()).then(|| person.clone())
}
