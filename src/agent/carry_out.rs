//! What the core has decided is done: batches go to be written, operations begin, messages go out.

use std::collections::VecDeque;

use futures_util::FutureExt;
use tokio::task::JoinSet;

use super::runtime::{Event, Running};
use super::step::{Action, Effects, Ended};
use super::underway::Underway;
use crate::gate::Permit;

impl Running {
    pub(super) fn carry_out(&mut self, effects: Effects) {
        let effects = self.start(effects);
        if !effects.batch.is_empty() {
            // If the thread is gone, nothing becomes durable and so nothing is acted upon.
            if let Some(store) = &self.store {
                let _ = store.send((effects.batch, self.core.log_size()));
            }
        }
        for action in effects.actions {
            match action {
                Action::Ack(delivery) if delivery.link == self.import.link => {
                    self.import.acknowledge(delivery.number);
                }
                Action::Ack(delivery) => self.links.acknowledge(delivery),
                Action::Refuse(delivery) => self.links.refuse(delivery),
                Action::Publish(topic, payload) => {
                    self.links.publish(&self.device, &topic, &payload);
                }
                Action::Site(site) => self.links.set_site(site.as_ref()),
                Action::Upload(from, again) => {
                    if let Some(upload) = &self.upload {
                        upload.from(from, again);
                    }
                }
                Action::Watch(false) => self.watching = JoinSet::new(),
                // One that looks out already has seen how it was before.
                Action::Watch(true) => {
                    if self.watching.is_empty() {
                        let (table, sender) = (self.table.clone(), self.sender.clone());
                        self.watching.spawn(async move {
                            table.watch(|news| sender.send(Event::News(news))).await;
                        });
                    }
                }
                Action::Forget => self.table.forget(),
                Action::Refresh => self.links.refresh(),
                Action::Resume(intent, booted) => {
                    self.running.insert(intent.asked.command);
                    let (table, sender) = (self.table.clone(), self.sender.clone());
                    tokio::spawn(async move {
                        let ended = table.resume(&intent, booted).await;
                        let command = intent.asked.command;
                        let _ = sender.send(Event::Finished(command, ended)).await;
                    });
                }
                // Started above.
                Action::Run(_) => {}
            }
        }
    }

    /// Begins what may begin. What ends at once, such as a look at what is in memory, is written
    /// down together with its beginning, by one `fdatasync`.
    fn start(&mut self, mut effects: Effects) -> Effects {
        let mut waiting = VecDeque::from(std::mem::take(&mut effects.actions));
        while let Some(action) = waiting.pop_front() {
            let Action::Run(permit) = action else {
                effects.actions.push(action);
                continue;
            };
            let command = permit.caller().command;
            self.running.insert(command);
            if let Some(ended) = self.run(*permit) {
                let more = self.step(Event::Finished(command, ended));
                effects.batch.extend(more.batch);
                waiting.extend(more.actions);
            }
        }
        effects
    }

    /// Begins an operation. Returns how it ended if it has ended at once; otherwise that comes
    /// as an event.
    fn run(&mut self, permit: Permit) -> Option<Ended> {
        let (command, table) = (permit.caller().command, self.table.clone());
        let facts = self.core.facts(&self.clock.read());
        let underway = Underway::new(permit.clone(), self.sender.clone());
        let mut work = Box::pin(async move { table.carry_out(permit, facts, &underway).await });
        let ended = (&mut work).now_or_never();
        if ended.is_none() {
            let sender = self.sender.clone();
            tokio::spawn(async move {
                let ended = work.await;
                let _ = sender.send(Event::Finished(command, ended)).await;
            });
        }
        ended
    }
}
