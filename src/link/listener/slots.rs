//! The table of the listener's connections. Connections are few, and clients cannot be told apart
//! before a command of theirs was answered; so a new connection replaces one without an answered
//! command, from the address with most connections.

use std::collections::BTreeMap;
use std::net::IpAddr;

use doorward_protocol::token_bucket::{Quota, TokenBucket};

/// Connections at the same time.
pub(super) const MAX_CONNECTIONS: usize = 16;
/// TLS handshakes that one address may start at once, and per second.
const PER_ADDRESS: Quota = Quota::per_second(64, 16);
/// The same for all addresses together.
const TOTAL: Quota = Quota::per_second(128, 64);
/// Addresses that are tracked at the same time.
const MAX_ADDRESSES: usize = 256;

#[derive(Debug)]
struct Connection<T> {
    peer: IpAddr,
    /// Its number in the order of arrival.
    arrival: u64,
    /// Whether the device has answered a command of this client.
    proven: bool,
    handle: T,
}

/// The connections, each in a numbered slot.
#[derive(Debug)]
pub(super) struct ConnectionTable<T> {
    connections: Vec<Option<Connection<T>>>,
    arrivals: u64,
}

/// The slot of a new connection.
#[derive(Debug)]
pub(super) struct Taken<T> {
    pub(super) slot: usize,
    pub(super) arrival: u64,
    /// The connection that it replaces.
    pub(super) before: Option<T>,
}

impl<T> Default for ConnectionTable<T> {
    fn default() -> Self {
        Self {
            connections: (0..MAX_CONNECTIONS).map(|_| None).collect(),
            arrivals: 0,
        }
    }
}

impl<T> ConnectionTable<T> {
    /// Assigns a slot to a new connection; `None` if no connection may be replaced.
    pub(super) fn take(&mut self, peer: IpAddr, handle: T) -> Option<Taken<T>> {
        let slot = match self.connections.iter().position(Option::is_none) {
            Some(free) => free,
            None => self.replaceable()?,
        };
        self.arrivals += 1;
        let connection = Connection {
            peer,
            arrival: self.arrivals,
            proven: false,
            handle,
        };
        let before = self.connections.get_mut(slot)?.replace(connection);
        Some(Taken {
            slot,
            arrival: self.arrivals,
            before: before.map(|connection| connection.handle),
        })
    }

    /// The slot of the connection to replace first.
    fn replaceable(&self) -> Option<usize> {
        let count = |group: fn(IpAddr) -> IpAddr, peer: IpAddr| {
            let connections = self.connections.iter().flatten();
            connections
                .filter(|it| group(it.peer) == group(peer))
                .count()
        };
        let connections = self.connections.iter().enumerate();
        let connections = connections.filter_map(|(slot, it)| Some((slot, it.as_ref()?)));
        connections
            .filter(|(_, it)| !it.proven || count(network, it.peer) > 1)
            .min_by_key(|(_, it)| {
                let of_address = count(|peer| peer, it.peer);
                let of_network = count(network, it.peer);
                let most_first = std::cmp::Reverse((of_address, of_network));
                (it.proven, most_first, it.arrival)
            })
            .map(|(slot, _)| slot)
    }

    /// Removes a closed connection, unless its slot was assigned to another one.
    pub(super) fn leave(&mut self, slot: usize, arrival: u64) {
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.take_if(|it| it.arrival == arrival);
        }
    }

    /// Records that the device has answered a command of this connection.
    pub(super) fn prove(&mut self, slot: usize, arrival: u64) {
        let connection = self.connections.get_mut(slot).and_then(Option::as_mut);
        if let Some(connection) = connection.filter(|it| it.arrival == arrival) {
            connection.proven = true;
        }
    }

    /// The connection in a slot.
    pub(super) fn get(&self, slot: usize) -> Option<&T> {
        let connection = self.connections.get(slot)?.as_ref()?;
        Some(&connection.handle)
    }

    /// All connections.
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        self.connections.iter().flatten().map(|it| &it.handle)
    }
}

/// Limits the rate of TLS handshakes, each of which takes milliseconds on a small device.
#[derive(Debug)]
pub(super) struct ConnectRateLimiter {
    total: TokenBucket,
    per_address: BTreeMap<IpAddr, TokenBucket>,
}

impl Default for ConnectRateLimiter {
    fn default() -> Self {
        Self {
            total: TokenBucket::full(&TOTAL, 0),
            per_address: BTreeMap::new(),
        }
    }
}

impl ConnectRateLimiter {
    /// Whether `peer` may start a handshake in this second; counts it if so.
    pub(super) fn try_admit(&mut self, peer: IpAddr, second: u64) -> bool {
        let peer = network(peer);
        if self.per_address.len() >= MAX_ADDRESSES && !self.per_address.contains_key(&peer) {
            self.per_address
                .retain(|_, bucket| !bucket.is_full_by(&PER_ADDRESS, second));
            if self.per_address.len() >= MAX_ADDRESSES {
                return false;
            }
        }
        let bucket = self
            .per_address
            .entry(peer)
            .or_insert(TokenBucket::full(&PER_ADDRESS, second));
        bucket.try_take(&PER_ADDRESS, 1, second) && self.total.try_take(&TOTAL, 1, second)
    }
}

/// The network of an IPv6 address, since a host can choose the rest; an IPv4 address as it is.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => {
            let network = v6.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(network.into())
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn a_newcomer_takes_the_oldest_unproven_place_of_whoever_holds_most() {
        let mut table = ConnectionTable::default();
        let owner = table.take(peer(1), 100).unwrap();
        for one in 0..MAX_CONNECTIONS as u32 - 1 {
            assert!(table.take(peer(2), one).unwrap().before.is_none());
        }
        // The flooding address only replaces its own connections.
        for one in 0..40 {
            let taken = table.take(peer(2), 1000 + one).unwrap();
            assert_ne!(taken.before, Some(100));
        }
        // Another address is admitted and replaces one of the flooding address.
        let taken = table.take(peer(3), 7).unwrap();
        assert_ne!(taken.before, Some(100));
        assert_eq!(table.get(owner.slot), Some(&100));
    }

    #[test]
    fn whoever_was_answered_keeps_the_place() {
        let mut table = ConnectionTable::default();
        for one in 0..MAX_CONNECTIONS as u8 {
            let taken = table.take(peer(one), one).unwrap();
            table.prove(taken.slot, taken.arrival);
        }
        assert!(table.take(peer(99), 99).is_none());
        // Unless one address has several connections.
        let mut table = ConnectionTable::default();
        for one in 0..MAX_CONNECTIONS as u8 {
            let taken = table.take(peer(one / 2), one).unwrap();
            table.prove(taken.slot, taken.arrival);
        }
        assert_eq!(table.take(peer(99), 99).unwrap().before, Some(0));
    }

    #[test]
    fn one_host_with_many_addresses_of_its_network_does_not_keep_all_places() {
        let mut table = ConnectionTable::default();
        for one in 0..MAX_CONNECTIONS as u16 {
            let peer = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, one]);
            let taken = table.take(peer, one).unwrap();
            table.prove(taken.slot, taken.arrival);
        }
        assert_eq!(table.take(peer(1), 99).unwrap().before, Some(0));
    }

    #[test]
    fn who_leaves_late_does_not_take_the_place_of_a_successor() {
        let mut table = ConnectionTable::default();
        let first = table.take(peer(1), 1).unwrap();
        table.leave(first.slot, first.arrival);
        assert_eq!(table.all().count(), 0);
        let second = table.take(peer(2), 2).unwrap();
        assert_eq!(second.slot, first.slot);
        table.leave(first.slot, first.arrival);
        table.prove(first.slot, first.arrival);
        assert_eq!(table.get(second.slot), Some(&2));
        for one in 3..30 {
            table.take(peer(3), one);
        }
        assert!(table.all().all(|handle| *handle != 1));
    }

    #[test]
    fn handshakes_of_one_address_are_paced_and_others_still_come_in() {
        let mut limiter = ConnectRateLimiter::default();
        let admitted = (0..1000).filter(|_| limiter.try_admit(peer(1), 5)).count();
        assert_eq!(admitted as u64, PER_ADDRESS.burst);
        assert!(limiter.try_admit(peer(2), 5));
        let admitted = (0..1000).filter(|_| limiter.try_admit(peer(1), 6)).count();
        assert_eq!(admitted as u64, PER_ADDRESS.tokens);
        // The total is limited too, and the size of the table.
        let many = |second: u64, limiter: &mut ConnectRateLimiter| {
            (0..5000u32)
                .filter(|one| limiter.try_admit(IpAddr::from(one.to_be_bytes()), second))
                .count() as u64
        };
        assert!(many(100, &mut limiter) <= TOTAL.burst);
        assert!(limiter.per_address.len() <= MAX_ADDRESSES);
        assert!(many(101, &mut limiter) <= TOTAL.tokens);
        assert!(limiter.try_admit(peer(1), 200));
    }

    #[test]
    fn hosts_of_one_ipv6_network_are_one() {
        let [a, b, c] = ["2001:db8::1", "2001:db8::2:3", "2001:db8:0:1::1"].map(|text| {
            let address: IpAddr = text.parse().unwrap();
            network(address)
        });
        assert_eq!(a, b);
        assert_ne!(a, c);
        assert_eq!(network("::ffff:10.0.0.1".parse().unwrap()), peer(1));
    }
}
