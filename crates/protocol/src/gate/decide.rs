//! The decision. Cheap checks before costly ones, the first failure wins, and nothing that
//! is allowed can be started without the [`Permit`] that only this file makes.

use alloc::boxed::Box;

use alloc::collections::BTreeSet;

use crate::gate::authorization::authorize;
use crate::gate::decision::{Caller, Decision, Denial, DryRun, Origin, Permit};
use crate::gate::replay::Seen;
use crate::gate::{Code, DurableState, Now, Offer, Offers, StatementStore};
use crate::wire::{
    Class, Command, Envelope, Id, MAX_TTL, Registration, Release, Text, Timestamp, Value,
};

/// How far in the future a command may have been signed, in seconds.
const MAX_CLOCK_SKEW: u64 = 120;

/// A command as it arrived.
#[derive(Debug, Clone, Copy)]
pub struct InboundCommand<'a> {
    /// The command's envelope.
    pub envelope: &'a Envelope<'a>,
    /// Approvals that came with it.
    pub approvals: &'a [Envelope<'a>],
    /// Which way it came; stamped by the link, never by the sender.
    pub origin: Origin,
    /// Whether the broker had kept it.
    pub retained: bool,
}

/// What the device is up to.
#[derive(Debug, Clone, Copy)]
pub struct DeviceContext<'a> {
    /// The time.
    pub now: Now,
    /// What the device offers.
    pub offers: &'a Offers,
    /// Conditions that hold now and forbid operations, by name.
    pub interlocks: &'a BTreeSet<Id>,
    /// The version of the firmware that runs.
    pub firmware: u32,
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
pub const MAX_PENDING: usize = 64;

/// How full the log may be, in percent: for what holders read, for what else they do, and for
/// the owner, whom nobody may crowd out. What is left above is for outcomes and statements.
const READS_UNTIL: u64 = 60;
const OTHERS_UNTIL: u64 = 75;
const OWNER_UNTIL: u64 = 95;

/// What all the checks of one command look at.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) known: &'a StatementStore,
    pub(super) memory: &'a DurableState,
    pub(super) situation: &'a DeviceContext<'a>,
    pub(super) arrival: &'a InboundCommand<'a>,
    pub(super) registration: &'a Registration,
    pub(super) command: &'a Command,
}

impl<'a> Request<'a> {
    pub(super) fn now(&self) -> Timestamp {
        self.situation.now.estimate
    }

    fn offer(&self) -> Option<&'a Offer> {
        self.situation.offers.get(&self.command.body.operation)
    }

    /// What is not offered is judged as the most dangerous until it is refused as
    /// unsupported, which only those hear who may ask for it.
    pub(super) fn class(&self) -> Class {
        self.offer().map_or(Class::Danger, |offer| offer.class)
    }
}

/// Decides one command. The order of the steps is the order of `docs/protocol.md`.
pub fn decide(
    known: &StatementStore,
    memory: &DurableState,
    situation: &DeviceContext<'_>,
    arrival: &InboundCommand<'_>,
) -> Decision {
    let (command, caller, registration) = match identify(known, arrival) {
        Ok(identified) => identified,
        Err(code) => return Decision::Denied(Denial { code, caller: None }),
    };
    let case = Request {
        known,
        memory,
        situation,
        arrival,
        registration,
        command: &command,
    };
    let checked = || {
        freshness(&case, &caller)?;
        let granted = authorize(&case, &caller)?;
        let offer = case.offer().ok_or(Code::Unsupported)?;
        arguments(&case, offer)?;
        let release = ready(&case, offer)?;
        Ok((offer.class, granted, release.cloned().map(Box::new)))
    };
    match checked() {
        checked if command.body.dry == Some(true) => Decision::DryRun(DryRun {
            caller,
            code: checked.err(),
        }),
        Ok((class, granted, release)) => {
            let args = command.body.args;
            let permit = Permit::new(caller, granted, class, args, release);
            Decision::Allowed(permit)
        }
        Err(code) => Decision::Denied(Denial {
            code,
            caller: Some(caller),
        }),
    }
}

/// Arrival, authority, parse and address: who is this? Until it is known there is no reply, and
/// of what a stranger has signed nothing more is read.
fn identify<'a>(
    known: &'a StatementStore,
    arrival: &InboundCommand<'_>,
) -> Result<(Command, Caller, &'a Registration), Code> {
    if arrival.retained {
        return Err(Code::Retained);
    }
    let envelope = arrival.envelope;
    let registration = known.registration().ok_or(Code::NotProvisioned)?;
    let key = known.authority(&envelope.signer).ok_or(Code::NoGrant)?;
    let person = known.person(&envelope.signer).ok_or(Code::NoGrant)?;
    let command: Command = envelope.claims()?;
    if !known.is_device(&command.aud) {
        return Err(Code::WrongDevice);
    }
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
    Ok((command, caller, registration))
}

/// Is this command new, and from now?
fn freshness(case: &Request<'_>, caller: &Caller) -> Result<(), Code> {
    let (command, now) = (case.command, &case.situation.now);
    if command.body.epoch != case.memory.epoch {
        return Err(Code::Epoch);
    }
    let windows = &case.memory.windows;
    match windows.look_up(caller.key, caller.instance, caller.counter) {
        Seen::No => {}
        Seen::Yes => return Err(Code::Replay),
        Seen::Full => return Err(Code::ReplayFull),
    }
    if command.exp.since(command.iat) > MAX_TTL {
        return Err(Code::TtlTooLong);
    }
    let ages = case.registration.body.ages.as_ref();
    let age = ages.and_then(|ages| ages.get(&case.class()).copied());
    if command.exp <= now.estimate || age.is_some_and(|age| now.estimate.since(command.iat) > age) {
        return Err(Code::Late);
    }
    if now.quality >= 2 && command.iat > now.estimate.plus(MAX_CLOCK_SKEW) {
        return Err(Code::Early);
    }
    match command.body.until {
        Some(until) if until.boot != now.boot || now.uptime > until.uptime => Err(Code::Late),
        Some(_) => Ok(()),
        // Without a clock an old command cannot be told from a new one.
        None if now.quality <= 1 && case.class() >= Class::Interrupt => Err(Code::NoTime),
        None => Ok(()),
    }
}

/// The arguments that the operation takes on this device, whoever asks; no others.
fn arguments(case: &Request<'_>, offer: &Offer) -> Result<(), Code> {
    let given = &case.command.body.args;
    let sound = given.iter().all(|(name, value)| {
        let argument = offer.args.get(name);
        argument.is_some_and(|argument| argument.limit.allows(value))
    });
    let complete = offer
        .args
        .iter()
        .all(|(name, argument)| !argument.required || given.get(name).is_some());
    if sound && complete {
        Ok(())
    } else {
        Err(Code::Param)
    }
}

/// Can the device do it now? Returns the release of the firmware that is asked for.
fn ready<'a>(case: &Request<'a>, offer: &Offer) -> Result<Option<&'a Release>, Code> {
    let situation = case.situation;
    let interrupts = offer.class >= Class::Interrupt;
    if situation.pending >= MAX_PENDING || (interrupts && situation.interrupting) {
        return Err(Code::Busy);
    }
    let locked = |name: &Id| situation.interlocks.contains(name);
    if offer.interlocks.iter().any(locked) {
        return Err(Code::Interlock);
    }
    let release = firmware(case)?;
    let until = match offer.class {
        _ if case.known.is_owner(&case.arrival.envelope.signer) => OWNER_UNTIL,
        Class::Read => READS_UNTIL,
        Class::Change | Class::Interrupt | Class::Danger => OTHERS_UNTIL,
    };
    if situation.log_used >= until {
        return Err(Code::LogFull);
    }
    if !situation.store_works {
        return Err(Code::Store);
    }
    Ok(release)
}

/// Firmware comes only with a signed release for this model, and only forward.
fn firmware<'a>(case: &Request<'a>) -> Result<Option<&'a Release>, Code> {
    let operation = case.command.body.operation.as_str();
    if operation != "firmware.stage" && operation != "firmware.install" {
        return Ok(None);
    }
    let version = match case.command.body.args.get("version") {
        Some(Value::Int(version)) => u32::try_from(*version).map_err(|_| Code::BadImage)?,
        _ => return Err(Code::BadImage),
    };
    let model: &Text = &case.registration.body.model;
    let release = case.known.release(model, version).ok_or(Code::BadImage)?;
    if version <= case.situation.firmware {
        return Err(Code::Downgrade);
    }
    if case.situation.firmware < release.body.minimum {
        return Err(Code::BadImage);
    }
    Ok(Some(release))
}
