//! Restores the core from the state found on disk.

use std::collections::BTreeSet;

use crate::core::io::{Action, Effects, LinkId};
use crate::core::journal::{Journal, statement_event};
use crate::core::machine::{AfterLog, Core};
use doorward_protocol::event_log::record::{
    CommandOutcome, CommandRef, Event, PendingCommand, Record,
};
use doorward_protocol::gate::{
    ClockReading, Code, Offers, RebootLimit, StatementStore, TimeProof, TrustedClock,
};
use doorward_protocol::wire::{
    Bundle, Bytes, Class, Envelope, Hash, Id, Issuers, Kind, Outcome, Role, SecretKey, Text,
    Timestamp,
};

/// Receipts issued within this time before a start are sent again, in seconds.
const RESEND_WINDOW: u64 = 300;

/// The state found on disk.
pub struct RecoveredState {
    /// The device's id.
    pub device: Id,
    /// The device's secret key.
    pub key: SecretKey,
    /// The issuer's public keys.
    pub issuers: Issuers,
    /// The registration as received, if the device has an owner.
    pub registration: Option<Vec<u8>>,
    /// The records of the log, oldest first.
    pub records: Vec<Record>,
    /// Statements from the cache, not verified.
    pub statements: Vec<Vec<u8>>,
    /// Whether records are missing or changed that may have had effects.
    pub log_broken: bool,
    /// Intact records after the damage.
    pub salvaged: Vec<Record>,
}

/// Settings of the core, from the configuration and from the manufacturer.
#[derive(Debug, Clone)]
pub struct CoreConfig {
    /// The operations that it offers.
    pub offers: Offers,
    /// Operations whose success is shown by a new boot id.
    pub rebooting: Vec<doorward_protocol::wire::Operation>,
    /// Operations that are resumed after a stop of the daemon.
    pub resumable: Vec<doorward_protocol::wire::Operation>,
    /// Operations that only read from memory and may start before their intent is durable.
    pub in_memory_reads: Vec<doorward_protocol::wire::Operation>,
    /// Commands whose operations still run in this process after a failed write; they report their
    /// results themselves.
    pub running: BTreeSet<Hash>,
    /// Limit for the number of operations that reboot the machine.
    pub reboot_limit: RebootLimit,
    /// Build time of this program, a lower bound of the current time.
    pub built: Timestamp,
    /// Size limit of the log, in bytes.
    pub log_limit: u64,
    /// Growth of a segment after its snapshot, in bytes.
    pub segment: u64,
    /// The version of the running firmware; 0 if it is not known.
    pub firmware: u32,
    /// The first link that is a client of the listener; so are all links after it.
    pub clients: LinkId,
}

impl Core {
    /// Restores the core from the log. The effects must be durable before anything else is handled.
    /// `epoch` is 16 random bytes, used only if the replay state was lost.
    pub fn start(
        found: RecoveredState,
        settings: CoreConfig,
        epoch: Bytes<16>,
        reading: &ClockReading,
    ) -> (Self, Effects) {
        let RecoveredState {
            device,
            key,
            issuers,
            registration,
            ..
        } = found;
        let mut journal = Journal::new(device.clone(), epoch, &settings);
        for (record, after) in found.records.iter().zip(1..) {
            journal.replay(record, found.records.get(after));
        }
        let proven = &mut journal.state.proven;
        proven.entry(Role::Root).or_insert(TimeProof {
            signed: issuers.iat,
            since: 0,
        });
        let clock = TrustedClock::new(journal.state.floor(), settings.built, reading);
        let statements = StatementStore::new(device, key.public(), issuers);
        let mut core = Self::assemble(key, statements, journal, clock, &settings);
        let mut out = Effects::default();
        let now = core.clock.now(reading);
        if let Some(reason) = replay_state_lost(&found.records, found.log_broken)
            && let Ok(reason) = Text::new(reason)
        {
            let event = Event::Epoch(epoch, reason);
            core.journal.append(event, &now, &mut out.batch);
            core.journal.salvage(&found.salvaged, &now, &mut out.batch);
        }
        core.reinstall(registration, found.statements, reading, &mut out);
        core.schedule_next_end(&now);
        core.settle_interrupted(&settings, found.log_broken, reading, &mut out);
        if !core.journal.state.subscribers.is_empty() {
            core.update_watch(&mut out);
        }
        // A receipt may not have been delivered when the device stopped. A second copy does no
        // harm, and its sender may still be waiting.
        let recent = Timestamp(now.estimate.0.saturating_sub(RESEND_WINDOW));
        for command in core.journal.receipts_since(recent) {
            core.publish_receipt(command, &mut out);
        }
        (core, out)
    }

    /// Restores the statements: the registration first, since sites depend on it, and shares before
    /// the member lists of their groups. The log has recorded most of them; one newer than the log
    /// was written just before a crash.
    fn reinstall(
        &mut self,
        registration: Option<Vec<u8>>,
        statements: Vec<Vec<u8>>,
        reading: &ClockReading,
        out: &mut Effects,
    ) {
        let now = self.clock.now(reading);
        self.reinstall_all(registration.into_iter().collect(), reading, out);
        // Shares are verified when they are first used.
        let store = &mut self.statements;
        let others = statements.into_iter();
        let others = others.filter(|bytes| !store.keep(bytes, now.estimate));
        let others = others.collect();
        self.reinstall_all(others, reading, out);
    }

    fn reinstall_all(
        &mut self,
        statements: Vec<Vec<u8>>,
        reading: &ClockReading,
        out: &mut Effects,
    ) {
        let now = self.clock.now(reading);
        let mut valid: Vec<Vec<Envelope<'_>>> = statements
            .iter()
            .filter_map(|bytes| Bundle::parse(bytes).ok())
            .filter_map(|bundle| bundle.statements.into_iter().collect::<Result<_, _>>().ok())
            .collect();
        valid.sort_by_key(|envelopes| envelopes.first().map(|envelope| envelope.kind));
        for envelopes in valid {
            let state = &self.journal.state;
            let Ok(Some(installed)) = self.statements.install(&envelopes, state, now.estimate)
            else {
                continue;
            };
            let mark = match installed.kind {
                Kind::Registration => state.registration,
                Kind::Revocations => installed
                    .audience
                    .as_ref()
                    .and_then(|audience| state.revocations.get(audience).copied()),
                Kind::Roster => installed
                    .group
                    .and_then(|group| state.rosters.get(&group).copied()),
                _ => continue,
            };
            if mark.is_none_or(|mark| mark.hash != installed.hash)
                && let Some(event) = statement_event(&installed)
            {
                self.journal.append(event, &now, &mut out.batch);
            }
            self.record_signed_time(&installed, reading);
        }
    }

    /// Records a result for every command that a stop interrupted, or resumes it. None of them is
    /// started again. If the log was damaged, any of them may have started or finished.
    fn settle_interrupted(
        &mut self,
        settings: &CoreConfig,
        broken: bool,
        reading: &ClockReading,
        out: &mut Effects,
    ) {
        let now = self.clock.now(reading);
        let open: Vec<PendingCommand> = self.journal.open.values().cloned().collect();
        for PendingCommand {
            intent,
            started_in_boot,
        } in open
        {
            if settings.running.contains(&intent.asked.command) {
                continue;
            }
            let operation = &intent.asked.operation;
            if let Some(boot) =
                started_in_boot.filter(|_| settings.resumable.contains(operation) && !broken)
            {
                let resume = Action::Resume(Box::new(intent), boot != now.boot);
                self.after_log(AfterLog::Act(resume), out);
                continue;
            }
            let reboots = settings.rebooting.contains(operation);
            let (outcome, code, detail) = match started_in_boot {
                _ if broken => (
                    Outcome::Unknown,
                    Some(Code::Unknown),
                    "the event log was damaged before the operation finished",
                ),
                Some(boot) if reboots && boot != now.boot => {
                    (Outcome::Done, None, "the machine has rebooted since")
                }
                Some(_) => (
                    Outcome::Unknown,
                    Some(Code::Unknown),
                    "the device stopped while the operation ran",
                ),
                // A read may have started without a record of it; it changed nothing.
                None if intent.class == Class::Read => (
                    Outcome::Failed,
                    Some(Code::Failed),
                    "the device stopped before it answered",
                ),
                None => (
                    Outcome::Failed,
                    Some(Code::Failed),
                    "the device stopped before the operation started; it did not run",
                ),
            };
            let CommandRef {
                command, holder, ..
            } = intent.asked;
            let standing = self.standing(&now);
            let verdict = CommandOutcome {
                detail: Text::new(detail).ok(),
                ..CommandOutcome::new(command, holder, outcome, code, standing)
            };
            self.journal
                .append(Event::Outcome(verdict), &now, &mut out.batch);
        }
    }
}

/// The reason why the replay state counts as lost; `None` if it is intact.
fn replay_state_lost(records: &[Record], log_broken: bool) -> Option<&'static str> {
    if log_broken {
        return Some("the event log was damaged");
    }
    records.is_empty().then_some("a new event log")
}
