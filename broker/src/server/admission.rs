//! How many connections there are, and whose.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::limits::Limits;

/// Addresses whose connections are all gone are forgotten when the table has this many.
const TABLE_SWEEP: usize = 4_096;

/// Why a connection is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The listener is full.
    Total,
    /// This address has its share.
    PerAddress,
    /// This address connects too often.
    Rate,
}

/// Counts connections.
#[derive(Debug, Default)]
pub struct Admission {
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    total: usize,
    by_address: HashMap<IpAddr, Address>,
}

#[derive(Debug)]
struct Address {
    open: usize,
    window: Instant,
    in_window: usize,
}

/// An admitted connection; dropping it gives the place back.
#[derive(Debug)]
pub struct Place {
    admission: Rc<Admission>,
    address: Option<IpAddr>,
}

impl Admission {
    /// Takes a place for a connection from this address.
    pub fn admit(
        self: &Rc<Self>,
        ip: IpAddr,
        now: Instant,
        limits: &Limits,
    ) -> Result<Place, Refused> {
        let mut state = self.state.borrow_mut();
        if state.total >= limits.connections_max {
            return Err(Refused::Total);
        }
        let address = (!ip.is_loopback()).then(|| network(ip));
        if let Some(address) = address {
            state.count(address, now, limits)?;
        }
        state.total += 1;
        Ok(Place {
            admission: Rc::clone(self),
            address,
        })
    }

    /// Connections now open.
    pub fn total(&self) -> usize {
        self.state.borrow().total
    }
}

impl State {
    fn count(&mut self, address: IpAddr, now: Instant, limits: &Limits) -> Result<(), Refused> {
        let second = Duration::from_secs(1);
        if self.by_address.len() >= TABLE_SWEEP {
            self.by_address
                .retain(|_, a| a.open > 0 || now.duration_since(a.window) < second);
        }
        let fresh = Address {
            open: 0,
            window: now,
            in_window: 0,
        };
        let entry = self.by_address.entry(address).or_insert(fresh);
        if now.duration_since(entry.window) >= second {
            entry.window = now;
            entry.in_window = 0;
        }
        if entry.in_window >= limits.connection_rate_per_ip_max {
            return Err(Refused::Rate);
        }
        entry.in_window += 1;
        if entry.open >= limits.connections_per_ip_max {
            return Err(Refused::PerAddress);
        }
        entry.open += 1;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.admission.state.borrow_mut();
        state.total -= 1;
        if let Some(address) = self.address
            && let Some(entry) = state.by_address.get_mut(&address)
        {
            entry.open -= 1;
        }
    }
}

/// The unit that limits count: an IPv4 address, or the /64 that one IPv6 customer owns.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => {
            let bits = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(bits.into())
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            connections_max: 4,
            connections_per_ip_max: 2,
            connection_rate_per_ip_max: 3,
            ..Limits::default()
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let admission = Rc::new(Admission::default());
        let now = Instant::now();
        let a = admission
            .admit(ip("10.0.0.1"), now, &limits())
            .expect("first");
        let _b = admission
            .admit(ip("10.0.0.1"), now, &limits())
            .expect("second");
        let refused = admission
            .admit(ip("10.0.0.1"), now, &limits())
            .expect_err("third");
        assert_eq!(refused, Refused::PerAddress);
        drop(a);
        let later = now + Duration::from_secs(2);
        let _c = admission
            .admit(ip("10.0.0.1"), later, &limits())
            .expect("again");
        assert_eq!(admission.total(), 2);
    }

    #[test]
    fn an_ipv6_customer_is_one_address() {
        let admission = Rc::new(Admission::default());
        let now = Instant::now();
        let _a = admission
            .admit(ip("2001:db8::1"), now, &limits())
            .expect("first");
        let _b = admission
            .admit(ip("2001:db8::2"), now, &limits())
            .expect("second");
        let refused = admission
            .admit(ip("2001:db8::3"), now, &limits())
            .expect_err("third");
        assert_eq!(refused, Refused::PerAddress);
        admission
            .admit(ip("2001:db8:0:1::1"), now, &limits())
            .expect("another network");
    }

    #[test]
    fn connecting_too_often_is_refused_for_a_second() {
        let admission = Rc::new(Admission::default());
        let now = Instant::now();
        for _ in 0..3 {
            admission
                .admit(ip("10.0.0.1"), now, &limits())
                .expect("within the rate");
        }
        let refused = admission
            .admit(ip("10.0.0.1"), now, &limits())
            .expect_err("too often");
        assert_eq!(refused, Refused::Rate);
        admission
            .admit(ip("10.0.0.1"), now + Duration::from_secs(1), &limits())
            .expect("later");
    }

    #[test]
    fn loopback_is_bounded_by_the_total_only() {
        let admission = Rc::new(Admission::default());
        let now = Instant::now();
        let places: Vec<_> = (0..4)
            .map(|_| {
                admission
                    .admit(ip("127.0.0.1"), now, &limits())
                    .expect("room")
            })
            .collect();
        let refused = admission
            .admit(ip("127.0.0.1"), now, &limits())
            .expect_err("full");
        assert_eq!(refused, Refused::Total);
        drop(places);
        assert_eq!(admission.total(), 0);
    }
}
