//! The decision. Cheap checks before costly ones, the first failure wins, and nothing that
//! is allowed can be started without the [`Permit`] that only this file makes.

use super::decision::{Caller, Decision, Origin, Permit, Reason};
use super::replay::Seen;
use super::{Code, Known, Memory, Now, Offers};
use crate::wire::{
    Audience, Bytes, Class, Command, Envelope, KeyBytes, MAX_TTL, Operation, PublicKey,
    Registration, Share, is_owner_only,
};

/// How far in the future a command may have been signed, in seconds.
const EARLY: u64 = 120;

/// A command as it arrived.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// The command's envelope.
    pub envelope: &'a Envelope<'a>,
    /// Which way it came; stamped by the link, never by the sender.
    pub origin: Origin,
    /// Whether the broker had kept it.
    pub retained: bool,
}

/// What the device is up to.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The time.
    pub now: Now,
    /// What the device offers.
    pub offers: &'a Offers,
    /// Whether an operation that interrupts is under way.
    pub interrupting: bool,
    /// Commands accepted and not yet ended.
    pub pending: usize,
    /// How full the log is, in percent.
    pub log_used: u64,
    /// Whether the storage works.
    pub store_works: bool,
}

/// Most commands accepted and not yet ended.
const MAX_PENDING: usize = 64;

/// How full the log may be, in percent, for operations that read and for all others. What is
/// left above is for outcomes and statements.
const READS_UNTIL: u64 = 90;
const OTHERS_UNTIL: u64 = 75;

/// Decides one command. The order of the steps is the order of `docs/protocol.md`.
pub fn decide(
    known: &Known,
    memory: &Memory,
    situation: &Situation<'_>,
    arrival: &Arrival<'_>,
) -> Decision {
    let (command, caller) = match identify(known, arrival) {
        Ok(identified) => identified,
        Err(code) => return Decision::Denied(Reason { code, caller: None }),
    };
    let checked = || {
        freshness(memory, &command, &caller, situation)?;
        let granted = permission(known, memory, &command, &caller, situation)?;
        let class = class_of(&command.body.operation, situation).ok_or(Code::Unsupported)?;
        arguments(&command)?;
        ready(class, situation)?;
        Ok((class, granted))
    };
    match checked() {
        Ok((class, share)) => Decision::Allowed(Box::new(Permit::new(
            caller,
            share,
            class,
            command.body.args,
        ))),
        Err(code) => Decision::Denied(Reason {
            code,
            caller: Some(Box::new(caller)),
        }),
    }
}

/// Arrival, parse, address and authority: who is this? Until it is known there is no reply.
fn identify(known: &Known, arrival: &Arrival<'_>) -> Result<(Command, Caller), Code> {
    if arrival.retained {
        return Err(Code::Retained);
    }
    let envelope = arrival.envelope;
    let command: Command = envelope.claims()?;
    if command.aud != Audience::Device(known.device().clone()) {
        return Err(Code::WrongDevice);
    }
    if known.registration().is_none() {
        return Err(Code::NotProvisioned);
    }
    let key: &PublicKey = known.authority(&envelope.signer).ok_or(Code::NoGrant)?;
    let person = known.person(&envelope.signer).ok_or(Code::NoGrant)?;
    envelope.verify(key)?;
    let caller = Caller {
        key: envelope.signer,
        person: person.clone(),
        instance: command.body.instance,
        counter: command.body.counter,
        command: envelope.hash(),
        operation: command.body.operation.clone(),
        origin: arrival.origin,
    };
    Ok((command, caller))
}

/// Is this command new, and from now?
fn freshness(
    memory: &Memory,
    command: &Command,
    caller: &Caller,
    situation: &Situation<'_>,
) -> Result<(), Code> {
    let now = &situation.now;
    if command.body.epoch != memory.epoch {
        return Err(Code::Epoch);
    }
    match memory
        .windows
        .look_up(caller.key, caller.instance, caller.counter)
    {
        Seen::No => {}
        Seen::Yes => return Err(Code::Replay),
        Seen::Full => return Err(Code::ReplayFull),
    }
    if command.exp.since(command.iat) > MAX_TTL {
        return Err(Code::TtlTooLong);
    }
    if command.exp <= now.estimate {
        return Err(Code::Late);
    }
    if now.quality >= 2 && command.iat > now.estimate.plus(EARLY) {
        return Err(Code::Early);
    }
    match command.body.until {
        Some(until) if until.boot != now.boot || now.uptime > until.uptime => Err(Code::Late),
        Some(_) => Ok(()),
        // Without a clock an old command cannot be told from a new one.
        None if now.quality <= 1
            && strictest(class_of(&command.body.operation, situation)) >= Class::Interrupt =>
        {
            Err(Code::NoTime)
        }
        None => Ok(()),
    }
}

/// Does this device have that operation, and how much can it do?
fn class_of(operation: &Operation, situation: &Situation<'_>) -> Option<Class> {
    situation.offers.get(operation).map(|offer| offer.class)
}

/// What is not offered is judged as the most dangerous until it is refused as unsupported,
/// which only those hear who may ask for it.
fn strictest(class: Option<Class>) -> Class {
    class.unwrap_or(Class::Danger)
}

/// The owner may do everything; others what at least one of their live shares grants, and
/// then that share is returned. When none does, the reason of the share that came furthest
/// is the most useful one.
fn permission(
    known: &Known,
    memory: &Memory,
    command: &Command,
    caller: &Caller,
    situation: &Situation<'_>,
) -> Result<Option<Bytes<16>>, Code> {
    let registration = known.registration().ok_or(Code::NotProvisioned)?;
    if known.is_owner(&caller.key) {
        return Ok(None);
    }
    let class = strictest(class_of(&command.body.operation, situation));
    let mut reason = Code::NoGrant;
    for share in known.shares_of(&caller.key) {
        let judged = live(known, memory, registration, share, class, situation)
            .and_then(|()| granted(registration, share, &command.body.operation, situation));
        match judged {
            Ok(()) => return Ok(Some(share.cti)),
            Err(code) => reason = reason.max(code),
        }
    }
    Err(reason)
}

/// Does this share count, here and now, for operations of this class?
fn live(
    known: &Known,
    memory: &Memory,
    registration: &Registration,
    share: &Share,
    class: Class,
    situation: &Situation<'_>,
) -> Result<(), Code> {
    let now = &situation.now;
    if now.quality >= 2 && share.nbf > now.estimate {
        return Err(Code::NotYet);
    }
    if share.exp <= now.estimate {
        return Err(Code::Expired);
    }
    if known.is_revoked(share) {
        return Err(Code::Revoked);
    }
    if !fresh(known, memory, registration, share, class, situation) {
        return Err(Code::Stale);
    }
    if registration.body.demo {
        return Err(Code::Demo);
    }
    if !has_slot(known, registration, share, situation) {
        return Err(Code::SlotsFull);
    }
    Ok(())
}

/// Whether there is recent enough proof that the share was not revoked: the share itself or
/// the newest list for its audience, whichever is younger. A list that the log knows to
/// exist, and that the device does not hold, makes all shares of its audience stale.
fn fresh(
    known: &Known,
    memory: &Memory,
    registration: &Registration,
    share: &Share,
    class: Class,
    situation: &Situation<'_>,
) -> bool {
    let held = known.revocations(&share.aud);
    if held.is_none() && memory.revocations.contains_key(&share.aud) {
        return false;
    }
    let proof = held.map_or(share.iat, |list| list.iat.max(share.iat));
    let set = registration.body.leases.get(&class).copied().unwrap_or(0);
    let lease = share.body.lease.map_or(set, |own| own.min(set));
    situation.now.estimate.since(proof) <= lease
}

/// Whether the share's holder is among the first `slots` people with live shares. Counted
/// by age, so that the order of arrival decides nothing.
fn has_slot(
    known: &Known,
    registration: &Registration,
    share: &Share,
    situation: &Situation<'_>,
) -> bool {
    let slots = registration.body.slots as usize;
    let mut people: Vec<KeyBytes> = Vec::new();
    for other in known.shares_by_age() {
        if other.exp <= situation.now.estimate || known.is_revoked(other) {
            continue;
        }
        let key = other.cnf.0;
        if people.contains(&key) {
            continue;
        }
        if people.len() >= slots {
            return false;
        }
        if key == share.cnf.0 {
            return true;
        }
        people.push(key);
    }
    false
}

/// Does this live share include the operation, on the plan of the day?
fn granted(
    registration: &Registration,
    share: &Share,
    operation: &Operation,
    situation: &Situation<'_>,
) -> Result<(), Code> {
    if is_owner_only(operation.as_str()) {
        return Err(Code::OwnerOnly);
    }
    if share.body.permissions.get(operation).is_none() {
        return Err(Code::NotGranted);
    }
    let body = &registration.body;
    let ended = |at| body.plan.end.is_some_and(|end| end <= at);
    let lowest = body.table.lowest().unwrap_or(&body.plan.name);
    let plan_at = |at| if ended(at) { lowest } else { &body.plan.name };
    if !body
        .table
        .includes(plan_at(situation.now.estimate), operation)
    {
        return Err(Code::Plan);
    }
    // Sharing itself needs a plan. A share from before this registration was made under the
    // one of its day, and stays.
    let made = share.iat;
    if made >= registration.iat && !body.table.includes_sharing(plan_at(made)) {
        return Err(Code::Plan);
    }
    Ok(())
}

/// No operation of this build takes arguments.
fn arguments(command: &Command) -> Result<(), Code> {
    if command.body.args.is_empty() {
        Ok(())
    } else {
        Err(Code::Param)
    }
}

/// Can the device do it now?
fn ready(class: Class, situation: &Situation<'_>) -> Result<(), Code> {
    if situation.pending >= MAX_PENDING || (class >= Class::Interrupt && situation.interrupting) {
        return Err(Code::Busy);
    }
    let until = match class {
        Class::Read => READS_UNTIL,
        Class::Change | Class::Interrupt | Class::Danger => OTHERS_UNTIL,
    };
    if situation.log_used >= until {
        return Err(Code::LogFull);
    }
    if !situation.store_works {
        return Err(Code::Store);
    }
    Ok(())
}
