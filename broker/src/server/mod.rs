//! The client listener: accepts, receives, and sends answers in request order.
//!
//! Invariants: answers of a connection leave in the order of its requests; whatever a client sends can close its own
//! connection only; memory grows with bytes received, and is bounded over all connections.
//!
//! [`connection`] receives, [`output`] sends, [`admission`], [`memory`] and [`limits`] bound. What a request means is
//! none of its business: that is a [`Service`], see `dispatch`.

pub mod admission;
pub mod connection;
pub mod limits;
pub mod memory;
pub mod output;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use admission::{Admission, Place};
use connection::{Connection, Peer, Service};
use limits::Limits;
use memory::Pool;
use output::{Dirty, Output};

use crate::metrics::requests::ApiReading;

/// How often overdue connections are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Pause after the system refused a new socket (no descriptors, no memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The client listener of one broker.
pub struct Server {
    limits: Limits,
    service: Rc<dyn Service>,
    admission: Rc<Admission>,
    pool: Rc<Pool>,
    dirty: Rc<Dirty>,
    connections: RefCell<HashMap<u64, Rc<Connection>>>,
    next: Cell<u64>,
    /// Takes no more connections.
    stopped: Cell<bool>,
    /// Takes no more requests.
    draining: Cell<bool>,
    stop: Notify,
    refused: Cell<u64>,
    sent_bytes: Cell<u64>,
}

/// Figures of the listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Connections open.
    pub connections: usize,
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Connections turned away since the start.
    pub refused: u64,
    /// Request memory in use, in bytes.
    pub memory_bytes: usize,
    /// Bytes of answers sent.
    pub sent_bytes: u64,
}

impl Server {
    /// Serves this listener once `ready` resolves; who connects before waits. Must be called within a `LocalSet`.
    pub fn serve(
        service: Rc<dyn Service>,
        listener: TcpListener,
        limits: Limits,
        ready: impl Future<Output = ()> + 'static,
    ) -> Rc<Self> {
        let server = Rc::new(Self {
            pool: Pool::new(limits.memory_bytes_max),
            limits,
            service,
            admission: Rc::default(),
            dirty: Rc::default(),
            connections: RefCell::default(),
            next: Cell::new(0),
            stopped: Cell::new(false),
            draining: Cell::new(false),
            stop: Notify::new(),
            refused: Cell::new(0),
            sent_bytes: Cell::new(0),
        });
        tokio::task::spawn_local(Rc::clone(&server).accept(listener, ready));
        tokio::task::spawn_local(Rc::clone(&server).sweep());
        tokio::task::spawn_local(Rc::clone(&server).flush_late());
        server
    }

    /// Writes all answers that are ready: the end of a tick.
    pub fn flush_dirty(&self) {
        self.dirty.flush();
    }

    /// Counts of requests, by API.
    pub fn requests(&self) -> Vec<ApiReading> {
        self.service.requests()
    }

    /// Bytes of request memory.
    pub fn memory_capacity(&self) -> usize {
        self.pool.capacity()
    }

    /// Its figures now.
    pub fn figures(&self) -> Figures {
        let connections = self.connections.borrow();
        let unsent = connections
            .values()
            .map(|c| c.output.take_sent_bytes())
            .sum::<u64>();
        self.sent_bytes.set(self.sent_bytes.get() + unsent);
        Figures {
            connections: connections.len(),
            accepted: self.next.get(),
            refused: self.refused.get(),
            memory_bytes: self.pool.used(),
            sent_bytes: self.sent_bytes.get(),
        }
    }

    /// Accepts no more connections; those that are open are served on.
    pub fn stop_accepting(&self) {
        self.stopped.set(true);
        self.stop.notify_waiters();
    }

    /// Accepts no more, lets requests that were received be answered for at most so long, then closes everything.
    pub async fn shutdown(&self, grace: Duration) {
        self.stop_accepting();
        self.draining.set(true);
        let all: Vec<_> = self.connections.borrow().values().cloned().collect();
        let drained = async {
            for connection in &all {
                connection.output.drain();
            }
            for connection in &all {
                connection.output.until_drained().await;
            }
        };
        self.flush_dirty();
        if tokio::time::timeout(grace, drained).await.is_err() {
            info!("some requests were not answered before the listener closed");
        }
        for connection in all {
            connection.output.close("the broker stops");
        }
    }

    async fn until_stopped(&self) {
        loop {
            let mut stop = std::pin::pin!(self.stop.notified());
            stop.as_mut().enable();
            if self.stopped.get() {
                return;
            }
            stop.await;
        }
    }

    async fn accept(self: Rc<Self>, listener: TcpListener, ready: impl Future<Output = ()>) {
        tokio::select! {
            () = ready => {}
            () = self.until_stopped() => return,
        }
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.until_stopped() => return,
            };
            match accepted {
                Ok((stream, address)) => self.admit(stream, address),
                Err(error) => {
                    warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(self: &Rc<Self>, stream: TcpStream, address: SocketAddr) {
        match self
            .admission
            .admit(address.ip(), Instant::now(), &self.limits)
        {
            Ok(place) => {
                tokio::task::spawn_local(Rc::clone(self).run(stream, address, place));
            }
            Err(refused) => {
                self.refused.set(self.refused.get() + 1);
                debug!(peer = %address, ?refused, "connection turned away");
            }
        }
    }

    async fn run(self: Rc<Self>, stream: TcpStream, address: SocketAddr, place: Place) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(peer = %address, %error, "the connection broke at once");
            return;
        }
        let number = self.next.get();
        self.next.set(number + 1);
        let (mut stream, sending) = stream.into_split();
        let output = Output::new(sending, &self.dirty);
        let connection = Connection::new(
            Peer {
                address,
                connection: number,
            },
            output,
        );
        self.connections
            .borrow_mut()
            .insert(number, Rc::clone(&connection));
        if self.draining.get() {
            // Accepted just before the stop.
            connection.output.drain();
        }
        let account = self.pool.account(number);
        let reason = connection::receive(
            &connection,
            &mut stream,
            account,
            &*self.service,
            &self.limits,
        )
        .await;
        connection.output.close(reason);
        debug!(peer = %address, reason, "connection closed");
        self.connections.borrow_mut().remove(&number);
        self.sent_bytes
            .set(self.sent_bytes.get() + connection.output.take_sent_bytes());
        drop(place);
    }

    /// Closes connections that are overdue.
    async fn sweep(self: Rc<Self>) {
        let mut interval = tokio::time::interval(SWEEP_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = interval.tick() => self.close_overdue(Instant::now()),
                () = self.until_stopped() => return,
            }
        }
    }

    fn close_overdue(&self, now: Instant) {
        let overdue = |connection: &Rc<Connection>| {
            Some((
                Rc::clone(connection),
                connection.overdue(now, &self.limits)?,
            ))
        };
        let found: Vec<_> = self
            .connections
            .borrow()
            .values()
            .filter_map(overdue)
            .collect();
        for (connection, reason) in found {
            connection.output.close(reason);
        }
    }

    /// Answers that became ready outside of a driver's tick leave after all tasks that are ready have run.
    async fn flush_late(self: Rc<Self>) {
        loop {
            self.dirty.some().await;
            tokio::task::yield_now().await;
            self.dirty.flush();
        }
    }
}
