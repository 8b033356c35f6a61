//! The request memory pool: bytes of requests, from the socket until their answer is ready.
//!
//! When it is exhausted no socket is read. NB: half-received requests alone could fill it, and none would ever be
//! answered; then one connection at a time may finish its request over the limit.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// Counts request bytes over all connections.
#[derive(Debug)]
pub struct Pool {
    capacity: usize,
    /// Received, not yet a whole request.
    partial: Cell<usize>,
    /// Whole requests that are being answered.
    working: Cell<usize>,
    /// The connection that may go over the limit, while nothing else can free memory.
    exempt: Cell<Option<u64>>,
    freed: Notify,
}

/// A whole request's bytes; dropping it gives them back.
#[derive(Debug)]
pub struct Permit {
    pool: Rc<Pool>,
    bytes: usize,
}

/// A connection's received bytes that are no whole request yet. Dropping it gives them back.
#[derive(Debug)]
pub struct Partial {
    pool: Rc<Pool>,
    connection: u64,
    bytes: usize,
}

impl Pool {
    /// A pool of this many bytes.
    pub fn new(capacity: usize) -> Rc<Self> {
        Rc::new(Self {
            capacity,
            partial: Cell::new(0),
            working: Cell::new(0),
            exempt: Cell::new(None),
            freed: Notify::new(),
        })
    }

    /// Bytes counted now.
    pub fn used(&self) -> usize {
        self.partial.get() + self.working.get()
    }

    /// Bytes that the pool has.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The account of one connection.
    pub fn account(self: &Rc<Self>, connection: u64) -> Partial {
        Partial {
            pool: Rc::clone(self),
            connection,
            bytes: 0,
        }
    }

    fn give_back(&self, counter: &Cell<usize>, bytes: usize) {
        assert!(counter.get() >= bytes, "memory is given back once");
        counter.set(counter.get() - bytes);
        if bytes > 0 {
            self.freed.notify_waiters();
        }
    }
}

impl Partial {
    /// Whether this connection may read now.
    pub fn may_read(&self) -> bool {
        let pool = &self.pool;
        if pool.used() < pool.capacity || pool.exempt.get() == Some(self.connection) {
            return true;
        }
        let stuck = pool.working.get() == 0 && pool.exempt.get().is_none();
        if stuck && self.bytes > 0 {
            pool.exempt.set(Some(self.connection));
            return true;
        }
        false
    }

    /// Resolves when [`Partial::may_read`] is true. Cancel-safe.
    pub async fn until_may_read(&self) {
        loop {
            let mut freed = std::pin::pin!(self.pool.freed.notified());
            freed.as_mut().enable();
            if self.may_read() {
                return;
            }
            freed.await;
        }
    }

    /// Counts bytes that a read brought.
    pub fn received(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.pool.partial.set(self.pool.partial.get() + bytes);
    }

    /// Turns received bytes into a request being answered.
    pub fn request(&mut self, bytes: usize) -> Permit {
        assert!(
            self.bytes >= bytes,
            "a request was received before it is answered"
        );
        self.bytes -= bytes;
        let pool = &self.pool;
        pool.working.set(pool.working.get() + bytes);
        pool.partial.set(pool.partial.get() - bytes);
        if pool.exempt.get() == Some(self.connection) {
            pool.exempt.set(None);
        }
        Permit {
            pool: Rc::clone(pool),
            bytes,
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.pool.exempt.get() == Some(self.connection) {
            self.pool.exempt.set(None);
        }
        self.pool.give_back(&self.pool.partial, self.bytes);
        self.pool.freed.notify_waiters();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pool.give_back(&self.pool.working, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pool_stops_reading_until_an_answer() {
        let pool = Pool::new(100);
        let mut a = pool.account(1);
        let b = pool.account(2);
        a.received(100);
        let permit = a.request(100);
        assert!(!a.may_read());
        assert!(!b.may_read());
        drop(permit);
        assert!(b.may_read());
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn half_received_requests_do_not_lock_each_other_out() {
        let pool = Pool::new(100);
        let mut a = pool.account(1);
        let mut b = pool.account(2);
        let c = pool.account(3);
        a.received(60);
        b.received(60);
        assert!(!c.may_read(), "a connection without a begun request waits");
        assert!(a.may_read(), "one may finish");
        assert!(!b.may_read(), "only one");
        a.received(40);
        drop(a.request(100));
        assert!(b.may_read(), "then there is room again");
        drop(a);
        drop(b);
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn a_closed_connection_gives_back_its_turn() {
        let pool = Pool::new(10);
        let mut a = pool.account(1);
        let mut b = pool.account(2);
        a.received(20);
        b.received(20);
        assert!(a.may_read());
        assert!(!b.may_read());
        drop(a);
        assert!(b.may_read());
    }
}
