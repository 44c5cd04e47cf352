//! Replay protection: for every client the highest counter and a window of 64 counters.

use alloc::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::wire::{Bytes, KeyBytes};

/// Maximum number of clients in the table.
pub const MAX_WINDOWS: usize = 4096;
/// Maximum number of clients of one key, so that no holder can fill the table.
pub const MAX_INSTANCES: usize = 32;

/// The replay window of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Window {
    /// The highest counter seen; never 0.
    #[n(0)]
    pub highest: u64,
    /// Bit n: `highest` - n was seen.
    #[n(1)]
    pub seen: u64,
}

/// Result of looking up a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// New, and the table has space for it.
    No,
    /// Seen, or below the window.
    Yes,
    /// A new client, and the table is full.
    Full,
}

impl Window {
    fn first(counter: u64) -> Self {
        Self {
            highest: counter,
            seen: 1,
        }
    }

    fn has(&self, counter: u64) -> bool {
        match self.highest.checked_sub(counter) {
            None => false,
            Some(back) if back < 64 => self.seen >> back & 1 == 1,
            Some(_) => true,
        }
    }

    fn with(mut self, counter: u64) -> Self {
        match counter.checked_sub(self.highest) {
            Some(ahead) => {
                self.seen = match u32::try_from(ahead) {
                    Ok(ahead) => self.seen.checked_shl(ahead).unwrap_or(0) | 1,
                    Err(_) => 1,
                };
                self.highest = counter;
            }
            None => {
                let back = self.highest - counter;
                if back < 64 {
                    self.seen |= 1 << back;
                }
            }
        }
        self
    }
}

/// The replay windows of all clients. A client is a holder's key and an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Windows(BTreeMap<(KeyBytes, Bytes<4>), Window>);

impl Windows {
    /// Looks a counter up.
    #[must_use]
    pub fn look_up(&self, holder: KeyBytes, instance: Bytes<4>, counter: u64) -> Seen {
        match self.0.get(&(holder, instance)) {
            Some(window) if window.has(counter) => Seen::Yes,
            Some(_) => Seen::No,
            None if self.0.len() >= MAX_WINDOWS => Seen::Full,
            None if self.instances(holder) >= MAX_INSTANCES => Seen::Full,
            None => Seen::No,
        }
    }

    fn instances(&self, holder: KeyBytes) -> usize {
        let all = (holder, Bytes([0; 4]))..=(holder, Bytes([255; 4]));
        self.0.range(all).count()
    }

    /// Records a counter as seen.
    pub fn remember(&mut self, holder: KeyBytes, instance: Bytes<4>, counter: u64) {
        self.0
            .entry((holder, instance))
            .and_modify(|w| *w = w.with(counter))
            .or_insert_with(|| Window::first(counter));
    }

    /// Deletes the clients of all holders for which `keep` returns false.
    pub fn retain(&mut self, mut keep: impl FnMut(&KeyBytes) -> bool) {
        self.0.retain(|(holder, _), _| keep(holder));
    }

    /// The windows of all clients, for a snapshot.
    pub fn iter(&self) -> impl Iterator<Item = (&(KeyBytes, Bytes<4>), &Window)> {
        self.0.iter()
    }

    /// Restores the window of one client from a snapshot.
    pub fn restore(&mut self, holder: KeyBytes, instance: Bytes<4>, window: Window) {
        self.0.insert((holder, instance), window);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::prelude::v1::*;

    #[test]
    fn a_counter_counts_once_in_any_order_within_the_window() {
        let mut windows = Windows::default();
        let (holder, instance) = (Bytes([1; 32]), Bytes([2; 4]));
        for (counter, seen, why) in [
            (10, Seen::No, "the first"),
            (10, Seen::Yes, "the same again"),
            (12, Seen::No, "a later one"),
            (11, Seen::No, "an earlier one, delayed"),
            (11, Seen::Yes, "and again"),
            (75, Seen::No, "a jump of 63"),
            (12, Seen::Yes, "at the far end of the window, seen"),
            (13, Seen::No, "at the far end of the window, new"),
            (11, Seen::Yes, "beyond the window"),
            (1_000_000, Seen::No, "a jump beyond the window"),
            (75, Seen::Yes, "long gone"),
            (u64::MAX, Seen::No, "the last there is"),
            (u64::MAX, Seen::Yes, "and again"),
        ] {
            assert_eq!(windows.look_up(holder, instance, counter), seen, "{why}");
            windows.remember(holder, instance, counter);
        }
        assert_eq!(windows.look_up(holder, Bytes([3; 4]), 10), Seen::No);
        assert_eq!(windows.look_up(Bytes([9; 32]), instance, 10), Seen::No);
    }

    #[test]
    fn what_was_overtaken_is_told_apart_from_its_neighbours() {
        let mut windows = Windows::default();
        let (holder, instance) = (Bytes([1; 32]), Bytes([2; 4]));
        for counter in [10, 10, 8] {
            windows.remember(holder, instance, counter);
        }
        let seen = [8, 9, 10].map(|counter| windows.look_up(holder, instance, counter));
        assert_eq!(seen, [Seen::Yes, Seen::No, Seen::Yes]);
    }

    #[test]
    fn a_snapshot_brings_all_of_it_back() {
        let mut windows = Windows::default();
        windows.remember(Bytes([1; 32]), Bytes([2; 4]), 10);
        windows.remember(Bytes([3; 32]), Bytes([2; 4]), 7);
        let mut back = Windows::default();
        for (&(holder, instance), &window) in windows.iter() {
            back.restore(holder, instance, window);
        }
        assert_eq!(back, windows);
        assert_ne!(back, Windows::default());
    }

    #[test]
    fn a_full_table_refuses_newcomers_and_keeps_the_rest() {
        let mut windows = Windows::default();
        let holder = |n: usize| Bytes([n as u8 + 3; 32]);
        for n in 0..MAX_WINDOWS {
            let instance = Bytes((n as u32).to_be_bytes());
            windows.remember(holder(n / MAX_INSTANCES), instance, 1);
        }
        let newcomer = Bytes([2; 32]);
        assert_eq!(windows.look_up(newcomer, Bytes([0; 4]), 1), Seen::Full);
        assert_eq!(windows.look_up(holder(0), Bytes([0; 4]), 1), Seen::Yes);
        assert_eq!(windows.look_up(holder(0), Bytes([0; 4]), 2), Seen::No);
        windows.retain(|holder| *holder == newcomer);
        assert_eq!(windows.look_up(newcomer, Bytes([0; 4]), 1), Seen::No);
    }

    #[test]
    fn one_key_cannot_fill_the_table_for_the_others() {
        let mut windows = Windows::default();
        let greedy = Bytes([1; 32]);
        for n in 0..MAX_INSTANCES as u32 {
            assert_eq!(windows.look_up(greedy, Bytes(n.to_be_bytes()), 1), Seen::No);
            windows.remember(greedy, Bytes(n.to_be_bytes()), 1);
        }
        assert_eq!(windows.look_up(greedy, Bytes([255; 4]), 1), Seen::Full);
        assert_eq!(windows.look_up(greedy, Bytes([0; 4]), 2), Seen::No);
        assert_eq!(
            windows.look_up(Bytes([2; 32]), Bytes([255; 4]), 1),
            Seen::No
        );
    }
}
