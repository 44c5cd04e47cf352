//! Who has a place at the listener. Places are few, and nobody can be told apart before a
//! command was answered; so a newcomer takes the place of somebody who has shown nothing yet,
//! from the address that holds most.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Connections at one time.
pub(super) const PLACES: usize = 16;
/// TLS handshakes that one address, and all together, may begin at once, and in every second.
const OF_ONE: Quota = Quota {
    burst: 64,
    rate: 16,
};
const OF_ALL: Quota = Quota {
    burst: 128,
    rate: 64,
};
/// Addresses that are remembered.
const ADDRESSES: usize = 256;

#[derive(Debug)]
struct Connection<T> {
    peer: IpAddr,
    /// The number of its arrival.
    arrival: u64,
    /// Whether the device has answered a command of it.
    proven: bool,
    handle: T,
}

/// The places.
#[derive(Debug)]
pub(super) struct ConnectionTable<T> {
    guests: Vec<Option<Connection<T>>>,
    arrivals: u64,
}

/// A place that was taken.
#[derive(Debug)]
pub(super) struct Taken<T> {
    pub(super) place: usize,
    pub(super) arrival: u64,
    /// Who had it until now.
    pub(super) before: Option<T>,
}

impl<T> Default for ConnectionTable<T> {
    fn default() -> Self {
        Self {
            guests: (0..PLACES).map(|_| None).collect(),
            arrivals: 0,
        }
    }
}

impl<T> ConnectionTable<T> {
    /// A place for a newcomer, unless all are held by those who have shown that they may be
    /// here.
    pub(super) fn take(&mut self, peer: IpAddr, handle: T) -> Option<Taken<T>> {
        let place = match self.guests.iter().position(Option::is_none) {
            Some(free) => free,
            None => self.least()?,
        };
        self.arrivals += 1;
        let guest = Connection {
            peer,
            arrival: self.arrivals,
            proven: false,
            handle,
        };
        let before = self.guests.get_mut(place)?.replace(guest);
        Some(Taken {
            place,
            arrival: self.arrivals,
            before: before.map(|guest| guest.handle),
        })
    }

    /// Who has to leave first.
    fn least(&self) -> Option<usize> {
        let count = |of: fn(IpAddr) -> IpAddr, peer: IpAddr| {
            let guests = self.guests.iter().flatten();
            guests.filter(|guest| of(guest.peer) == of(peer)).count()
        };
        let guests = self.guests.iter().enumerate();
        let guests = guests.filter_map(|(place, guest)| Some((place, guest.as_ref()?)));
        guests
            .filter(|(_, guest)| !guest.proven || count(network, guest.peer) > 1)
            .min_by_key(|(_, guest)| {
                let of_address = count(|peer| peer, guest.peer);
                let of_network = count(network, guest.peer);
                let held = std::cmp::Reverse((of_address, of_network));
                (guest.proven, held, guest.arrival)
            })
            .map(|(place, _)| place)
    }

    /// Somebody has left, unless the place is another's already.
    pub(super) fn leave(&mut self, place: usize, arrival: u64) {
        if let Some(guest) = self.guests.get_mut(place) {
            guest.take_if(|guest| guest.arrival == arrival);
        }
    }

    /// The device has answered a command of whoever has this place.
    pub(super) fn prove(&mut self, place: usize, arrival: u64) {
        let guest = self.guests.get_mut(place).and_then(Option::as_mut);
        if let Some(guest) = guest.filter(|guest| guest.arrival == arrival) {
            guest.proven = true;
        }
    }

    /// Who has a place.
    pub(super) fn get(&self, place: usize) -> Option<&T> {
        let guest = self.guests.get(place)?.as_ref()?;
        Some(&guest.handle)
    }

    /// All who have one.
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        self.guests.iter().flatten().map(|guest| &guest.handle)
    }
}

struct Quota {
    burst: u64,
    rate: u64,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: u64,
    /// The second at which it was filled.
    filled: u64,
}

impl Quota {
    fn full(&self, second: u64) -> Bucket {
        Bucket {
            left: self.burst,
            filled: second,
        }
    }

    fn take(&self, bucket: &mut Bucket, second: u64) -> bool {
        let since = second.saturating_sub(bucket.filled);
        bucket.filled = second;
        bucket.left = (bucket.left + since.saturating_mul(self.rate)).min(self.burst);
        let had = bucket.left > 0;
        bucket.left = bucket.left.saturating_sub(1);
        had
    }
}

/// How often handshakes may begin: they cost a small device milliseconds each.
#[derive(Debug)]
pub(super) struct ConnectRateLimiter {
    all: Bucket,
    of: BTreeMap<IpAddr, Bucket>,
}

impl Default for ConnectRateLimiter {
    fn default() -> Self {
        Self {
            all: OF_ALL.full(0),
            of: BTreeMap::new(),
        }
    }
}

impl ConnectRateLimiter {
    /// Whether somebody may begin a handshake in this second.
    pub(super) fn try_admit(&mut self, peer: IpAddr, second: u64) -> bool {
        let peer = network(peer);
        if self.of.len() >= ADDRESSES && !self.of.contains_key(&peer) {
            let full_again = OF_ONE.burst / OF_ONE.rate;
            self.of
                .retain(|_, bucket| second < bucket.filled + full_again);
            if self.of.len() >= ADDRESSES {
                return false;
            }
        }
        let bucket = self.of.entry(peer).or_insert(OF_ONE.full(second));
        OF_ONE.take(bucket, second) && OF_ALL.take(&mut self.all, second)
    }
}

/// Of an IPv6 address only the network counts: its host part is free to choose.
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
        let mut places = ConnectionTable::default();
        let owner = places.take(peer(1), 100).unwrap();
        for one in 0..PLACES as u32 - 1 {
            assert!(places.take(peer(2), one).unwrap().before.is_none());
        }
        // The flooder only ever pushes out itself.
        for one in 0..40 {
            let taken = places.take(peer(2), 1000 + one).unwrap();
            assert_ne!(taken.before, Some(100));
        }
        // Another newcomer is let in, at the flooder's cost.
        let taken = places.take(peer(3), 7).unwrap();
        assert_ne!(taken.before, Some(100));
        assert_eq!(places.get(owner.place), Some(&100));
    }

    #[test]
    fn whoever_was_answered_keeps_the_place() {
        let mut places = ConnectionTable::default();
        for one in 0..PLACES as u8 {
            let taken = places.take(peer(one), one).unwrap();
            places.prove(taken.place, taken.arrival);
        }
        assert!(places.take(peer(99), 99).is_none());
        // Unless it is one of several of the same address.
        let mut places = ConnectionTable::default();
        for one in 0..PLACES as u8 {
            let taken = places.take(peer(one / 2), one).unwrap();
            places.prove(taken.place, taken.arrival);
        }
        assert_eq!(places.take(peer(99), 99).unwrap().before, Some(0));
    }

    #[test]
    fn one_host_with_many_addresses_of_its_network_does_not_keep_all_places() {
        let mut places = ConnectionTable::default();
        for one in 0..PLACES as u16 {
            let peer = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, one]);
            let taken = places.take(peer, one).unwrap();
            places.prove(taken.place, taken.arrival);
        }
        assert_eq!(places.take(peer(1), 99).unwrap().before, Some(0));
    }

    #[test]
    fn who_leaves_late_does_not_take_the_place_of_a_successor() {
        let mut places = ConnectionTable::default();
        let first = places.take(peer(1), 1).unwrap();
        places.leave(first.place, first.arrival);
        assert_eq!(places.all().count(), 0);
        let second = places.take(peer(2), 2).unwrap();
        assert_eq!(second.place, first.place);
        places.leave(first.place, first.arrival);
        places.prove(first.place, first.arrival);
        assert_eq!(places.get(second.place), Some(&2));
        for one in 3..30 {
            places.take(peer(3), one);
        }
        assert!(places.all().all(|handle| *handle != 1));
    }

    #[test]
    fn handshakes_of_one_address_are_paced_and_others_still_come_in() {
        let mut pace = ConnectRateLimiter::default();
        let admitted = (0..1000).filter(|_| pace.try_admit(peer(1), 5)).count();
        assert_eq!(admitted as u64, OF_ONE.burst);
        assert!(pace.try_admit(peer(2), 5));
        let admitted = (0..1000).filter(|_| pace.try_admit(peer(1), 6)).count();
        assert_eq!(admitted as u64, OF_ONE.rate);
        // All together have their limit too, and the table its size.
        let many = |second: u64, pace: &mut ConnectRateLimiter| {
            (0..5000u32)
                .filter(|one| pace.try_admit(IpAddr::from(one.to_be_bytes()), second))
                .count() as u64
        };
        assert!(many(100, &mut pace) <= OF_ALL.burst);
        assert!(pace.of.len() <= ADDRESSES);
        assert!(many(101, &mut pace) <= OF_ALL.rate);
        assert!(pace.try_admit(peer(1), 200));
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
