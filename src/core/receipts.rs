//! What the device says: receipts for those it knows, and its `state` for all.

use crate::core::io::{Action, Effects, ReplyTopic, sanitize};
use crate::core::journal::command_ref;
use crate::core::machine::{AfterLog, Core};
use doorward_protocol::event_log::record::{CommandOutcome, Event};
use doorward_protocol::gate::{Caller, Code, DryRun, Now, Retry};
use doorward_protocol::wire::{
    Bytes, Checkpoint, CheckpointBody, DeviceStanding, Envelope, Hash, Id, KeyBytes, Kind, LogHead,
    Map, Outcome, Receipt, SecretKey, Share, State, StateBody, Value, sign,
};

/// Denials are no longer written down when the log is this full, in percent, so that they
/// cannot crowd out the rest.
const DENIALS_UNTIL: u64 = 50;

/// What is claimed of the log when nobody knows what is on the disk.
const NO_HEAD: LogHead = LogHead {
    size: 0,
    hash: Bytes([0; 32]),
};

/// Whether a refused command is written down and so uses up its counter. What only has to be
/// signed anew does not: the second one keeps the counter, so that a first one that was late
/// for a wrong clock cannot run besides; anybody on the way could repeat it without end, and
/// none of it tells what a person wanted. What only lacks consent comes again with it.
fn is_recorded(code: Code) -> bool {
    code.retry() != Retry::SignAgain && !matches!(code, Code::ReplayFull | Code::NeedsApproval)
}

/// A receipt on its way.
pub(super) fn signed(holder: KeyBytes, receipt: &Receipt, key: &SecretKey) -> Action {
    let topic = ReplyTopic::Receipts(holder, receipt.body.command);
    Action::Publish(topic, sign(receipt, key))
}

impl Core {
    /// Answers a command that came before with the receipt that it got then. After a failed
    /// write that receipt may not be on the disk, and a start might find another end.
    pub(super) fn repeat(&mut self, command: Hash, out: &mut Effects) -> bool {
        if !self.store_works {
            return false;
        }
        if self.journal.receipt(&command).is_some() {
            self.publish_receipt(command, out);
        } else if let Some((holder, bytes)) = self.denials.answer(&command) {
            let publish = Action::Publish(ReplyTopic::Receipts(holder, command), bytes);
            self.after_log(AfterLog::Act(publish), out);
        } else {
            return false;
        }
        self.count_refusal(Code::Replay, out);
        true
    }

    pub(super) fn deny(&mut self, code: Code, caller: &Caller, now: &Now, out: &mut Effects) {
        let verdict = CommandOutcome {
            // A command that only lacks consent is not over: it comes again with it.
            outcome: match code {
                Code::NeedsApproval => Outcome::Accepted,
                _ => Outcome::Denied,
            },
            ..self.answer(caller, Some(code), now)
        };
        let room = self.store_works && self.journal.used() < DENIALS_UNTIL;
        if is_recorded(code) && room && self.denials.record(caller, now.uptime) {
            let event = Event::Denied(command_ref(caller), verdict);
            self.journal.append(event, now, &mut out.batch);
            self.publish_receipt(caller.command, out);
        } else {
            let bytes = self.publish_unrecorded(&verdict, now, out);
            if is_recorded(code) {
                let windows = &mut self.journal.state.windows;
                windows.remember(caller.key, caller.instance, caller.counter);
                self.denials.keep_answer(caller.command, caller.key, bytes);
            }
        }
    }

    fn answer(&self, caller: &Caller, code: Option<Code>, now: &Now) -> CommandOutcome {
        CommandOutcome {
            command: caller.command,
            holder: caller.key,
            outcome: Outcome::Denied,
            code: code.and_then(|code| Id::new(code.name()).ok()),
            detail: None,
            result: Map::default(),
            standing: self.standing(now),
            change: None,
        }
    }

    /// Answers a dry run. Nothing is written down and nothing remembered.
    pub(super) fn answer_dry_run(&mut self, rehearsal: &DryRun, now: &Now, out: &mut Effects) {
        let DryRun { caller, code } = rehearsal;
        let mut may: Vec<&str> = self
            .statements
            .shares_of(&caller.key)
            .flat_map(|share| share.body.permissions.iter())
            .map(|(name, _)| name.as_str())
            .collect();
        may.sort_unstable();
        may.dedup();
        let owner = self.statements.registration().map(|r| r.sub.to_string());
        let verdict = CommandOutcome {
            outcome: code.map_or(Outcome::Allowed, |_| Outcome::Denied),
            detail: sanitize(&format!(
                "{} has {}; owner {}",
                caller.person,
                may.join(", "),
                owner.unwrap_or_default()
            )),
            ..self.answer(caller, *code, now)
        };
        self.publish_unrecorded(&verdict, now, out);
    }

    /// A receipt that no record of the log stands for. Returns it.
    pub(super) fn publish_unrecorded(
        &mut self,
        verdict: &CommandOutcome,
        now: &Now,
        out: &mut Effects,
    ) -> Vec<u8> {
        let head = match self.store_works {
            true => self.journal.head(),
            false => NO_HEAD,
        };
        let receipt = verdict.receipt(self.statements.device(), now.estimate, head);
        let bytes = sign(&receipt, &self.key);
        let topic = ReplyTopic::Receipts(verdict.holder, verdict.command);
        let publish = Action::Publish(topic, bytes.clone());
        if self.store_works {
            self.after_log(AfterLog::Act(publish), out);
        } else {
            out.actions.push(publish);
        }
        bytes
    }

    /// The device's word to whoever issued a share that it has it, or has refused it after its
    /// signature held. Of what was not verified nothing is said.
    pub(super) fn confirm(
        &mut self,
        envelopes: &[Envelope<'_>],
        code: Option<Code>,
        now: &Now,
        out: &mut Effects,
    ) {
        let Some(first) = envelopes.first().filter(|e| e.kind == Kind::Share) else {
            return;
        };
        let Ok(share) = first.claims::<Share>() else {
            return;
        };
        let outcome = match code {
            None if self.statements.share(&share.cti) == Some(&share) => Outcome::Done,
            Some(Code::BadGrant | Code::SlotsFull) => Outcome::Denied,
            _ => return,
        };
        let id = Value::Bytes(share.cti.0.to_vec());
        let verdict = CommandOutcome {
            command: first.hash(),
            holder: first.signer,
            outcome,
            code: code.and_then(|code| Id::new(code.name()).ok()),
            detail: None,
            result: Map::named([("share", id)]),
            standing: self.standing(now),
            change: None,
        };
        let head = self.journal.head();
        let receipt = verdict.receipt(self.statements.device(), now.estimate, head);
        let publish = Action::Publish(ReplyTopic::Confirmations, sign(&receipt, &self.key));
        self.after_log(AfterLog::Act(publish), out);
    }

    /// The device's word on how far its log has come, for whoever keeps it.
    pub(super) fn publish_checkpoint(&mut self, now: &Now, out: &mut Effects) {
        let checkpoint = Checkpoint {
            iss: self.statements.device().clone(),
            iat: now.estimate,
            body: CheckpointBody {
                format: 1,
                log: self.journal.head(),
                epoch: self.journal.state.epoch,
            },
        };
        let publish = Action::Publish(ReplyTopic::Events, sign(&checkpoint, &self.key));
        self.after_log(AfterLog::Act(publish), out);
    }

    /// The receipt of a command that has ended, always the same.
    pub(super) fn publish_receipt(&mut self, command: Hash, out: &mut Effects) {
        if let Some((holder, receipt)) = self.journal.receipt(&command) {
            let answer = AfterLog::Answer(*holder, Box::new(receipt.clone()));
            self.after_log(answer, out);
        }
    }

    pub(super) fn publish_state(&mut self, now: &Now, out: &mut Effects) {
        let state = State {
            iss: self.statements.device().clone(),
            iat: now.estimate,
            body: StateBody {
                format: 1,
                standing: self.standing(now),
                operations: self.offers.keys().cloned().collect(),
                log: self.journal.head(),
            },
        };
        let publish = Action::Publish(ReplyTopic::State, sign(&state, &self.key));
        self.mark_checkpointed();
        self.after_log(AfterLog::Act(publish), out);
    }

    /// After a failed write nobody knows which lists will still be there after a start, so
    /// none is claimed.
    pub(super) fn standing(&self, now: &Now) -> DeviceStanding {
        let memory = &self.journal.state;
        let (registration, revocations) = if self.store_works {
            let lists = memory.revocations.iter();
            let seqs = lists.map(|(audience, mark)| (audience.clone(), mark.seq));
            let registration = memory.registration.map_or(0, |mark| mark.seq);
            (registration, Map::new(seqs))
        } else {
            (0, Map::default())
        };
        DeviceStanding {
            epoch: memory.epoch,
            boot: now.boot,
            uptime: now.uptime,
            quality: now.quality,
            registration,
            revocations,
        }
    }
}
