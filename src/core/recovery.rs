//! Bringing the core back from what was found on disk.

use std::collections::BTreeSet;

use crate::core::io::{Action, Effects, LinkId};
use crate::core::journal::{Journal, statement_event};
use crate::core::machine::{AfterLog, Core};
use doorward_protocol::event_log::record::{CommandOutcome, Event, PendingCommand, Record};
use doorward_protocol::gate::{
    ClockReading, Code, Offers, RebootLimit, StatementStore, TimeProof, TrustedClock,
};
use doorward_protocol::wire::{
    Bundle, Bytes, Class, Envelope, Hash, Id, Issuers, Kind, Map, Outcome, Role, SecretKey, Text,
    Timestamp,
};

/// Receipts of so many seconds before a start are sent again.
const RESEND_WINDOW: u64 = 300;

/// What was found on disk.
pub struct RecoveredState {
    /// The device's id.
    pub device: Id,
    /// The device's secret key.
    pub key: SecretKey,
    /// The issuer's public keys.
    pub issuers: Issuers,
    /// The registration as received, if the device has an owner.
    pub registration: Option<Vec<u8>>,
    /// The log, oldest record first.
    pub records: Vec<Record>,
    /// Statements from the cache, unchecked.
    pub statements: Vec<Vec<u8>>,
    /// Whether records are missing or changed that may have been acted upon.
    pub log_broken: bool,
    /// Whole records from beyond the damage.
    pub salvaged: Vec<Record>,
}

/// What the device is told by its configuration and its maker.
#[derive(Debug, Clone)]
pub struct CoreConfig {
    /// What it offers.
    pub offers: Offers,
    /// Operations whose success shows in a new boot of the machine.
    pub rebooting: Vec<doorward_protocol::wire::Operation>,
    /// Operations that are brought to their end after a stop.
    pub resumable: Vec<doorward_protocol::wire::Operation>,
    /// Operations that only look at what is in memory, so that they may begin before that is
    /// written down.
    pub in_memory_reads: Vec<doorward_protocol::wire::Operation>,
    /// Commands whose operations are still being carried out, after a failed write; they tell
    /// their ends themselves.
    pub running: BTreeSet<Hash>,
    /// How often those that boot the machine may begin.
    pub reboot_limit: RebootLimit,
    /// When this program was built: it cannot be earlier.
    pub built: Timestamp,
    /// How large the log may grow, in bytes.
    pub log_limit: u64,
    /// How large a segment of it grows beyond its snapshot, in bytes.
    pub segment: u64,
    /// The version of the firmware that runs; 0 if that is not known.
    pub firmware: u32,
    /// The links from this one on are clients of the listener, one each.
    pub clients: LinkId,
}

impl Core {
    /// Begins again where the log ends. The effects must be durable before anything else
    /// is handled. `epoch` is 16 random bytes, used only if replay memory was lost.
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
        let keeper = TrustedClock::new(journal.state.floor(), settings.built, reading);
        let known = StatementStore::new(device, key.public(), issuers);
        let mut core = Self::assemble(key, known, journal, keeper, &settings);
        let mut out = Effects::default();
        let now = core.clock.now(reading);
        if let Some(why) = replay_state_lost(&found.records, found.log_broken)
            && let Ok(why) = Text::new(why)
        {
            let event = Event::Epoch(epoch, why);
            core.journal.append(event, &now, &mut out.batch);
            core.journal.salvage(&found.salvaged, &now, &mut out.batch);
        }
        core.reinstall(registration, found.statements, reading, &mut out);
        core.schedule_next_end(&now);
        core.settle_interrupted(&settings, found.log_broken, reading, &mut out);
        if !core.journal.state.subscribers.is_empty() {
            core.update_watch(&mut out);
        }
        // A receipt may have been on its way when the device stopped. The same one again
        // does no harm, and its sender may still be waiting.
        let recent = Timestamp(now.estimate.0.saturating_sub(RESEND_WINDOW));
        for command in core.journal.receipts_since(recent) {
            core.publish_receipt(command, &mut out);
        }
        (core, out)
    }

    /// Puts statements back, the registration first since sites depend on it, and shares
    /// before the rosters of their groups. The log knows most of them; one that is newer than
    /// the log was written just before a crash.
    fn reinstall(
        &mut self,
        registration: Option<Vec<u8>>,
        statements: Vec<Vec<u8>>,
        reading: &ClockReading,
        out: &mut Effects,
    ) {
        let now = self.clock.now(reading);
        self.reinstall_all(registration.into_iter().collect(), reading, out);
        // Shares are checked when they are needed.
        let known = &mut self.statements;
        let others = statements.into_iter();
        let others = others.filter(|bytes| !known.keep(bytes, now.estimate));
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
        let mut sound: Vec<Vec<Envelope<'_>>> = statements
            .iter()
            .filter_map(|bytes| Bundle::parse(bytes).ok())
            .filter_map(|bundle| bundle.statements.into_iter().collect::<Result<_, _>>().ok())
            .collect();
        sound.sort_by_key(|envelopes| envelopes.first().map(|envelope| envelope.kind));
        for envelopes in sound {
            let memory = &self.journal.state;
            let Ok(Some(installed)) = self.statements.install(&envelopes, memory, now.estimate)
            else {
                continue;
            };
            let mark = match installed.kind {
                Kind::Registration => memory.registration,
                Kind::Revocations => installed
                    .audience
                    .as_ref()
                    .and_then(|audience| memory.revocations.get(audience).copied()),
                Kind::Roster => installed
                    .group
                    .and_then(|group| memory.rosters.get(&group).copied()),
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

    /// Ends every command that a stop interrupted, or has it brought to its end. None of them is
    /// ever run again. Beyond a break of the log any of them may have begun, or ended.
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
            started_in_boot: began,
        } in open
        {
            if settings.running.contains(&intent.asked.command) {
                continue;
            }
            let operation = &intent.asked.operation;
            if let Some(boot) = began.filter(|_| settings.resumable.contains(operation) && !broken)
            {
                let resume = Action::Resume(Box::new(intent), boot != now.boot);
                self.after_log(AfterLog::Act(resume), out);
                continue;
            }
            let reboots = settings.rebooting.contains(operation);
            let (outcome, code, detail) = match began {
                _ if broken => (
                    Outcome::Unknown,
                    Some(Code::Unknown),
                    "the event log broke before it had ended",
                ),
                Some(boot) if reboots && boot != now.boot => {
                    (Outcome::Done, None, "the machine has booted since")
                }
                Some(_) => (
                    Outcome::Unknown,
                    Some(Code::Unknown),
                    "the device stopped while it ran",
                ),
                // What only reads may have begun without a record of it, and did no harm.
                None if intent.class == Class::Read => (
                    Outcome::Failed,
                    Some(Code::Failed),
                    "the device stopped before it had answered",
                ),
                None => (
                    Outcome::Failed,
                    Some(Code::Failed),
                    "the device stopped before it began; it has not run",
                ),
            };
            let verdict = CommandOutcome {
                command: intent.asked.command,
                holder: intent.asked.holder,
                outcome,
                code: code.and_then(|code| Id::new(code.name()).ok()),
                detail: Text::new(detail).ok(),
                result: Map::default(),
                standing: self.standing(&now),
                change: None,
            };
            self.journal
                .append(Event::Outcome(verdict), &now, &mut out.batch);
        }
    }
}

/// Why replay memory must be taken, if it must.
fn replay_state_lost(records: &[Record], log_broken: bool) -> Option<&'static str> {
    if log_broken {
        return Some("a break in the event log");
    }
    records.is_empty().then_some("a new event log")
}
