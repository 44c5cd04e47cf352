//! A broker and a network that guarantee only QoS 1: messages without an acknowledgement are delivered
//! again, and any message may arrive twice, late or in another order.

use std::collections::BTreeMap;

use doorward_protocol::gate::Origin;

use super::random::Random;

#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) origin: Origin,
    pub(crate) retained: bool,
    pub(crate) payload: Vec<u8>,
    /// The number of the message, kept when it is delivered again.
    pub(crate) number: u64,
}

#[derive(Default)]
pub(crate) struct Broker {
    queue: Vec<Message>,
    /// Delivered to the device and not acknowledged.
    in_flight: BTreeMap<u64, Message>,
    retained: BTreeMap<String, Vec<u8>>,
    numbers: u64,
}

impl Broker {
    pub(crate) fn publish(&mut self, origin: Origin, payload: Vec<u8>) -> u64 {
        self.push(origin, false, payload)
    }

    /// Publishes a retained statement.
    pub(crate) fn retain(&mut self, name: String, payload: Vec<u8>) -> u64 {
        self.retained.insert(name, payload.clone());
        self.push(Origin::Cloud, false, payload)
    }

    fn push(&mut self, origin: Origin, retained: bool, payload: Vec<u8>) -> u64 {
        self.numbers += 1;
        self.queue.push(Message {
            origin,
            retained,
            payload,
            number: self.numbers,
        });
        self.numbers
    }

    /// Returns the next message that the network delivers.
    pub(crate) fn next(&mut self, random: &mut Random) -> Option<Message> {
        if self.queue.is_empty() {
            return None;
        }
        let at = match random.percent(80) {
            true => 0,
            false => random.index(self.queue.len()),
        };
        let message = match random.percent(10) {
            true => self.queue[at].clone(),
            false => self.queue.remove(at),
        };
        self.in_flight.insert(message.number, message.clone());
        Some(message)
    }

    pub(crate) fn acknowledged(&mut self, number: u64) -> bool {
        self.in_flight.remove(&number).is_some()
    }

    /// A new connection: messages without an acknowledgement are delivered first, then retained ones.
    pub(crate) fn reconnected(&mut self, random: &mut Random) {
        let mut again: Vec<_> = std::mem::take(&mut self.in_flight).into_values().collect();
        if random.percent(3) {
            // The broker lost the session.
            again.clear();
            self.queue.clear();
        }
        again.append(&mut self.queue);
        self.queue = again;
        self.refreshed();
    }

    pub(crate) fn refreshed(&mut self) {
        let retained: Vec<_> = self.retained.values().cloned().collect();
        for payload in retained {
            self.push(Origin::Cloud, true, payload);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
