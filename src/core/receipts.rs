//! Builds receipts (to known senders), confirmations, checkpoints and the retained `state`.

use crate::core::io::{Action, Effects, ReplyTopic, sanitize};
use crate::core::journal::command_ref;
use crate::core::machine::{AfterLog, Core};
use doorward_protocol::event_log::record::{CommandOutcome, Event};
use doorward_protocol::gate::{Caller, Code, DryRun, Now, Retry};
use doorward_protocol::wire::{
    Bytes, Checkpoint, CheckpointBody, DeviceStanding, Envelope, Hash, KeyBytes, Kind, LogHead,
    Map, Outcome, Receipt, SecretKey, Share, State, StateBody, Value, sign,
};

/// Use of the log, in percent, from which denials are no longer recorded, so that they cannot
/// displace other records.
const DENIALS_UNTIL: u64 = 50;

/// The head in receipts after a failed write, when the content of the disk is not known.
const NO_HEAD: LogHead = LogHead {
    size: 0,
    hash: Bytes([0; 32]),
};

/// Whether a refused command is recorded and thus uses up its counter. A command that only has to
/// be signed again does not: the new one carries the same counter, so that a first one that was
/// late because of a wrong clock cannot run as well; anyone on the network path could repeat it
/// endlessly, and it proves no intention of a user. A command that only lacks an approval is sent
/// again with it.
fn is_recorded(code: Code) -> bool {
    code.retry() != Retry::SignAgain && !matches!(code, Code::ReplayFull | Code::NeedsApproval)
}

/// Signs a receipt for publication.
pub(super) fn signed(holder: KeyBytes, receipt: &Receipt, key: &SecretKey) -> Action {
    let topic = ReplyTopic::Receipts(holder, receipt.body.command);
    Action::Publish(topic, sign(receipt, key))
}

impl Core {
    /// Answers a repeated command with its earlier receipt and returns whether there was one. Not
    /// after a failed write: the receipt may not be on the disk, and a restart might find another
    /// result.
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
            // A command that only lacks an approval is not over: it is sent again with it.
            outcome: match code {
                Code::NeedsApproval => Outcome::Accepted,
                _ => Outcome::Denied,
            },
            ..self.answer(caller, Some(code), now)
        };
        let has_capacity = self.store_works && self.journal.used() < DENIALS_UNTIL;
        if is_recorded(code) && has_capacity && self.denials.record(caller, now.uptime) {
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
        let standing = self.standing(now);
        CommandOutcome::new(caller.command, caller.key, Outcome::Denied, code, standing)
    }

    /// Answers a dry run. Nothing is recorded or stored.
    pub(super) fn answer_dry_run(&mut self, dry_run: &DryRun, now: &Now, out: &mut Effects) {
        let DryRun { caller, code } = dry_run;
        let mut permissions: Vec<&str> = self
            .statements
            .shares_of(&caller.key)
            .flat_map(|share| share.body.permissions.iter())
            .map(|(name, _)| name.as_str())
            .collect();
        permissions.sort_unstable();
        permissions.dedup();
        let owner = self.statements.registration().map(|r| r.sub.to_string());
        let verdict = CommandOutcome {
            outcome: code.map_or(Outcome::Allowed, |_| Outcome::Denied),
            detail: sanitize(&format!(
                "{} has {}; owner {}",
                caller.person,
                permissions.join(", "),
                owner.unwrap_or_default()
            )),
            ..self.answer(caller, *code, now)
        };
        self.publish_unrecorded(&verdict, now, out);
    }

    /// Publishes a receipt that has no record in the log, and returns it.
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

    /// Confirms to the issuer that the device holds a share, or has refused it after its signature
    /// was verified. A share that was not verified is not answered.
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
        let standing = self.standing(now);
        let verdict = CommandOutcome {
            result: Map::named([("share", id)]),
            ..CommandOutcome::new(first.hash(), first.signer, outcome, code, standing)
        };
        let head = self.journal.head();
        let receipt = verdict.receipt(self.statements.device(), now.estimate, head);
        let publish = Action::Publish(ReplyTopic::Confirmations, sign(&receipt, &self.key));
        self.after_log(AfterLog::Act(publish), out);
    }

    /// Publishes a signed checkpoint of the log head.
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

    /// Publishes the receipt of a finished command; it is always the same.
    pub(super) fn publish_receipt(&mut self, command: Hash, out: &mut Effects) {
        if let Some((holder, receipt)) = self.journal.receipt(&command) {
            let answer = AfterLog::Answer(*holder, Box::new(receipt.clone()));
            self.after_log(answer, out);
        }
    }

    /// Publishes the retained `state`.
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

    /// The status of the device. After a failed write it names no lists, since it is not known
    /// which of them will still be present after a restart.
    pub(super) fn standing(&self, now: &Now) -> DeviceStanding {
        let state = &self.journal.state;
        let (registration, revocations) = if self.store_works {
            let lists = state.revocations.iter();
            let seqs = lists.map(|(audience, mark)| (audience.clone(), mark.seq));
            let registration = state.registration.map_or(0, |mark| mark.seq);
            (registration, Map::new(seqs))
        } else {
            (0, Map::default())
        };
        DeviceStanding {
            epoch: state.epoch,
            boot: now.boot,
            uptime: now.uptime,
            quality: now.quality,
            registration,
            revocations,
        }
    }
}
