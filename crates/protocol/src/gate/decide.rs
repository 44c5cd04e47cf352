//! The decision. Cheap checks run before costly ones, and the first failure decides. No operation
//! can be started without the [`Permit`] that only this file creates.

use alloc::boxed::Box;

use alloc::collections::BTreeSet;

use crate::gate::authorization::authorize;
use crate::gate::decision::{Caller, Decision, Denial, DryRun, Origin, Permit};
use crate::gate::replay::Seen;
use crate::gate::slots::Slots;
use crate::gate::{Code, DurableState, Now, Offer, Offers, StatementStore};
use crate::wire::{
    Class, Command, Envelope, Id, MAX_TTL, Registration, Release, Text, Timestamp, Value,
};

/// Maximum offset of a command's time of issue into the future, in seconds.
const MAX_CLOCK_SKEW: u64 = 120;

/// A command as it was received.
#[derive(Debug, Clone, Copy)]
pub struct InboundCommand<'a> {
    /// The command's envelope.
    pub envelope: &'a Envelope<'a>,
    /// Approvals in the same bundle.
    pub approvals: &'a [Envelope<'a>],
    /// The link over which it arrived; set by the receiver, never by the sender.
    pub origin: Origin,
    /// Whether the message has the retain flag.
    pub retained: bool,
}

/// The state of the device that a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct DeviceContext<'a> {
    /// The current time.
    pub now: Now,
    /// The holders of the device's slots, from a [`SlotCache`](crate::gate::SlotCache).
    pub slots: &'a Slots,
    /// The operations that the device offers.
    pub offers: &'a Offers,
    /// Active interlocks, by name.
    pub interlocks: &'a BTreeSet<Id>,
    /// The version of the running firmware.
    pub firmware: u32,
    /// Whether an operation of class interrupt or danger is running.
    pub interrupting: bool,
    /// Number of commands that were accepted and have not ended.
    pub pending: usize,
    /// Fill level of the event log, in percent.
    pub log_used: u64,
    /// Whether the storage accepts writes.
    pub store_works: bool,
}

/// Maximum number of commands that were accepted and have not ended.
pub const MAX_PENDING: usize = 64;

/// Maximum fill level of the event log, in percent: for read operations of holders, for their other
/// operations, and for the owner, whom holders must not lock out. The rest is reserved for outcomes
/// and statements.
const READS_UNTIL: u64 = 60;
const OTHERS_UNTIL: u64 = 75;
const OWNER_UNTIL: u64 = 95;

/// The input of all checks of one command.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) statements: &'a StatementStore,
    pub(super) state: &'a DurableState,
    pub(super) device: &'a DeviceContext<'a>,
    pub(super) inbound: &'a InboundCommand<'a>,
    pub(super) registration: &'a Registration,
    pub(super) command: &'a Command,
}

impl<'a> Request<'a> {
    pub(super) fn now(&self) -> Timestamp {
        self.device.now.estimate
    }

    fn offer(&self) -> Option<&'a Offer> {
        self.device.offers.get(&self.command.body.operation)
    }

    /// The class of the operation. One that is not offered counts as the most critical; the code
    /// `unsupported` is returned only to callers who hold the permission.
    pub(super) fn class(&self) -> Class {
        self.offer().map_or(Class::Danger, |offer| offer.class)
    }
}

/// Decides one command. The order of the steps is that of `docs/protocol.md`, section 4.
pub fn decide(
    statements: &StatementStore,
    state: &DurableState,
    device: &DeviceContext<'_>,
    inbound: &InboundCommand<'_>,
) -> Decision {
    let (command, caller, registration) = match identify(statements, inbound) {
        Ok(identified) => identified,
        Err(code) => return Decision::Denied(Denial { code, caller: None }),
    };
    let request = Request {
        statements,
        state,
        device,
        inbound,
        registration,
        command: &command,
    };
    let checked = || {
        freshness(&request, &caller)?;
        let granted = authorize(&request, &caller)?;
        let offer = request.offer().ok_or(Code::Unsupported)?;
        arguments(&request, offer)?;
        let release = ready(&request, offer)?;
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

/// Identifies the sender: retain flag, key, claims, address, signature. A failure here is not
/// answered, and the claims of an unknown signer are not read.
fn identify<'a>(
    statements: &'a StatementStore,
    inbound: &InboundCommand<'_>,
) -> Result<(Command, Caller, &'a Registration), Code> {
    if inbound.retained {
        return Err(Code::Retained);
    }
    let envelope = inbound.envelope;
    let registration = statements.registration().ok_or(Code::NotProvisioned)?;
    let key = statements
        .authority(&envelope.signer)
        .ok_or(Code::NoGrant)?;
    let person = statements.person(&envelope.signer).ok_or(Code::NoGrant)?;
    let command: Command = envelope.claims()?;
    if !statements.is_device(&command.aud) {
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
        origin: inbound.origin,
    };
    Ok((command, caller, registration))
}

/// Checks that the command is new and recent.
fn freshness(request: &Request<'_>, caller: &Caller) -> Result<(), Code> {
    let (command, now) = (request.command, &request.device.now);
    if command.body.epoch != request.state.epoch {
        return Err(Code::Epoch);
    }
    let windows = &request.state.windows;
    match windows.look_up(caller.key, caller.instance, caller.counter) {
        Seen::No => {}
        Seen::Yes => return Err(Code::Replay),
        Seen::Full => return Err(Code::ReplayFull),
    }
    if command.exp.since(command.iat) > MAX_TTL {
        return Err(Code::TtlTooLong);
    }
    let ages = request.registration.body.ages.as_ref();
    let age = ages.and_then(|ages| ages.get(&request.class()).copied());
    if command.exp <= now.estimate || age.is_some_and(|age| now.estimate.since(command.iat) > age) {
        return Err(Code::Late);
    }
    if now.quality >= 2 && command.iat > now.estimate.plus(MAX_CLOCK_SKEW) {
        return Err(Code::Early);
    }
    match command.body.until {
        Some(until) if until.boot != now.boot || now.uptime > until.uptime => Err(Code::Late),
        Some(_) => Ok(()),
        // Without a clock an old command cannot be distinguished from a new one.
        None if now.quality <= 1 && request.class() >= Class::Interrupt => Err(Code::NoTime),
        None => Ok(()),
    }
}

/// Checks the arguments against the ones that the operation takes on this device.
fn arguments(request: &Request<'_>, offer: &Offer) -> Result<(), Code> {
    let given = &request.command.body.args;
    let valid = given.iter().all(|(name, value)| {
        let argument = offer.args.get(name);
        argument.is_some_and(|argument| argument.limit.allows(value))
    });
    let complete = offer
        .args
        .iter()
        .all(|(name, argument)| !argument.required || given.get(name).is_some());
    if valid && complete {
        Ok(())
    } else {
        Err(Code::Param)
    }
}

/// Checks that the device can run the operation now. Returns the release of the requested firmware.
fn ready<'a>(request: &Request<'a>, offer: &Offer) -> Result<Option<&'a Release>, Code> {
    let device = request.device;
    let interrupts = offer.class >= Class::Interrupt;
    if device.pending >= MAX_PENDING || (interrupts && device.interrupting) {
        return Err(Code::Busy);
    }
    let is_active = |name: &Id| device.interlocks.contains(name);
    if offer.interlocks.iter().any(is_active) {
        return Err(Code::Interlock);
    }
    let release = firmware(request)?;
    let signer = &request.inbound.envelope.signer;
    let max_log_used = match offer.class {
        _ if request.statements.is_owner(signer) => OWNER_UNTIL,
        Class::Read => READS_UNTIL,
        Class::Change | Class::Interrupt | Class::Danger => OTHERS_UNTIL,
    };
    if device.log_used >= max_log_used {
        return Err(Code::LogFull);
    }
    if !device.store_works {
        return Err(Code::Store);
    }
    Ok(release)
}

/// Checks that firmware has a signed release for this model and is newer than the installed one.
fn firmware<'a>(request: &Request<'a>) -> Result<Option<&'a Release>, Code> {
    let operation = request.command.body.operation.as_str();
    if operation != "firmware.stage" && operation != "firmware.install" {
        return Ok(None);
    }
    let version = match request.command.body.args.get("version") {
        Some(Value::Int(version)) => u32::try_from(*version).map_err(|_| Code::BadImage)?,
        _ => return Err(Code::BadImage),
    };
    let model: &Text = &request.registration.body.model;
    let release = request
        .statements
        .release(model, version)
        .ok_or(Code::BadImage)?;
    if version <= request.device.firmware {
        return Err(Code::Downgrade);
    }
    if request.device.firmware < release.body.minimum {
        return Err(Code::BadImage);
    }
    Ok(Some(release))
}
