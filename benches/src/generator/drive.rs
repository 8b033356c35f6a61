//! The loop: send what is due, wait for answers or for the next due instant, settle.

use super::connection::{Connection, Progress, Waiting};
use super::hurry::hurry;
use super::{Ack, Answer, Dialect, Load, Outcome, Verdict};
use crate::error::{Doing, Error, Result};
use crate::report::note;
use rustix::event::{Timespec, epoll};
use std::net::TcpStream;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// After the window, how long the last answers are waited for.
const DRAIN: Duration = Duration::from_secs(10);
/// A cluster that answers nothing but errors ends the run instead of spinning.
const ERRORS_MAX: u64 = 1_000;
/// An open loop whose broker has stopped ends rather than filling the memory.
const UNANSWERED_MAX: usize = 1 << 20;
/// Room for the number of one connection's requests in an id; the rest names the connection.
const ID_BITS: u32 = 40;

/// Offers `load` over the given connections, from `start` on, until the last answer or its deadline.
///
/// # Errors
/// When a socket cannot be prepared or an answer cannot be read. Lost connections are counted in
/// the outcome's errors instead.
pub fn run<D: Dialect>(
    load: &Load,
    start: Instant,
    clients: Vec<(TcpStream, D)>,
) -> Result<Outcome> {
    if load.inflight == 0 || load.rate.is_some_and(|rate| rate <= 0.0) || clients.is_empty() {
        return Err(Error::Usage(
            "a load needs a connection, a request and a rate above 0".into(),
        ));
    }
    // Timers fire when they are due and not 50 us later; the default comes back at the end.
    let slack = rustix::thread::current_timer_slack().doing(|| "read the timer slack".into())?;
    let set = |ns| rustix::thread::set_current_timer_slack(NonZeroU64::new(ns));
    set(1).doing(|| "set the timer slack".into())?;
    let ordinary = load.rate.and_then(|_| hurry());
    let outcome = Driver::new(load, start, clients).and_then(Driver::run);
    if let Some(ordinary) = ordinary {
        ordinary
            .restore()
            .doing(|| "restore the scheduler's slice".into())?;
    }
    set(slack).doing(|| "restore the timer slack".into())?;
    outcome
}

/// When an open loop's request is due, since its start: `None` when no request of it has this id.
pub fn scheduled(id: u64, connections: usize, rate: f64) -> Option<Duration> {
    let (connection, number) = (id >> ID_BITS, id & ((1 << ID_BITS) - 1));
    let at = number * connections as u64 + connection;
    (connection < connections as u64).then(|| due(at, rate))
}

/// Requests are due at even distances, the connections in turn.
fn due(number: u64, rate: f64) -> Duration {
    Duration::from_secs_f64(number as f64 / rate)
}

struct Driver<D> {
    load: Load,
    epoll: OwnedFd,
    connections: Vec<Connection<D>>,
    start: Instant,
    window: (Instant, Instant),
    outcome: Outcome,
    /// Requests that the schedule has asked for so far, open loop.
    scheduled: u64,
    /// Requests asked for so far, closed loop.
    asked: u64,
}

impl<D: Dialect> Driver<D> {
    fn new(load: &Load, start: Instant, clients: Vec<(TcpStream, D)>) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).doing(|| "open an epoll".into())?;
        let mut connections = Vec::with_capacity(clients.len());
        for (number, (socket, dialect)) in clients.into_iter().enumerate() {
            let connection = Connection::new(socket, dialect, (number as u64) << ID_BITS)
                .doing(|| "prepare a socket".into())?;
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(&epoll, &connection.socket, data, epoll::EventFlags::IN)
                .doing(|| "watch a socket".into())?;
            connections.push(connection);
        }
        let from = start + load.warm;
        let window = (from, from + load.measured);
        let outcome = Outcome::new(load.measured);
        Ok(Self {
            load: *load,
            epoll,
            connections,
            start,
            window,
            outcome,
            scheduled: 0,
            asked: 0,
        })
    }

    fn run(mut self) -> Result<Outcome> {
        let mut events = Vec::with_capacity(self.connections.len());
        self.wait(&mut events, self.start)?;
        for number in 0..self.connections.len() {
            self.send_due(number, Instant::now())?;
        }
        loop {
            let now = Instant::now();
            let next_due = self.send_scheduled(now)?;
            if self.is_over(now) {
                break;
            }
            let patience = if self.unanswered() == 0 {
                Duration::ZERO
            } else {
                DRAIN
            };
            let deadline = self.window.1 + patience;
            let deadline = next_due.map_or(deadline, |due| due.min(deadline));
            self.wait(&mut events, deadline)?;
            for event in &events {
                let number = event.data.u64() as usize;
                self.serve(number, event.flags)?;
                // Many answers at once are no reason to be late.
                self.send_scheduled(Instant::now())?;
            }
        }
        self.count_unanswered();
        Ok(self.outcome)
    }

    fn is_over(&self, now: Instant) -> bool {
        let unanswered = self.unanswered();
        let ended = (now >= self.window.1 || self.has_asked_all()) && unanswered == 0;
        // A disturbed warm-up (a leader moved, say) is worth another try, not a measurement.
        let disturbed = now >= self.window.0 && self.outcome.errors_warm > 0;
        ended
            || disturbed
            || now >= self.window.1 + DRAIN
            || unanswered > UNANSWERED_MAX
            || self.outcome.errors_total() > ERRORS_MAX
            || self.connections.iter().all(|connection| !connection.open)
    }

    fn has_asked_all(&self) -> bool {
        self.load.requests.is_some_and(|most| self.asked >= most)
    }

    fn unanswered(&self) -> usize {
        self.connections.iter().map(Connection::inflight).sum()
    }

    fn wait(&self, events: &mut Vec<epoll::Event>, until: Instant) -> Result<()> {
        events.clear();
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        };
        let spare = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.epoll, spare, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(e).doing(|| "wait for answers".into()),
        }
    }

    fn serve(&mut self, number: usize, flags: epoll::EventFlags) -> Result<()> {
        let connection = &mut self.connections[number];
        if !connection.open {
            return Ok(());
        }
        if flags.contains(epoll::EventFlags::OUT) {
            self.flush(number)?;
        }
        if flags.intersects(!epoll::EventFlags::OUT) {
            let connection = &mut self.connections[number];
            let progress = connection.receive();
            let now = Instant::now();
            let (outcome, window) = (&mut self.outcome, self.window);
            connection
                .settle(|request, answer| count(outcome, window, now, request, answer))
                .map_err(|what| malformed(&connection.socket, what))?;
            if progress == Progress::Closed {
                return self.drop_connection(number);
            }
            self.send_due(number, now)?;
        }
        Ok(())
    }

    /// Closed loop: fills the connection up to its requests in flight, until the window ends.
    fn send_due(&mut self, number: usize, now: Instant) -> Result<()> {
        if self.load.rate.is_some() || now >= self.window.1 {
            return Ok(());
        }
        while self.connections[number].open
            && self.connections[number].inflight() < self.load.inflight
            && !self.has_asked_all()
        {
            self.asked += 1;
            self.send(number, now)?;
        }
        Ok(())
    }

    /// One write a request, as a client does that does not batch.
    fn send(&mut self, number: usize, since: Instant) -> Result<()> {
        let connection = &mut self.connections[number];
        if !connection.open {
            return Ok(());
        }
        connection.ask(since);
        self.flush_unless_blocked(number)
    }

    fn flush_unless_blocked(&mut self, number: usize) -> Result<()> {
        if self.connections[number].watched_for_room {
            Ok(())
        } else {
            self.flush(number)
        }
    }

    /// Open loop: sends all that is due, round robin; returns when the next one is. One write a request, but for a
    /// generator that is late: what is due on one connection by then leaves together, so that it is not later still.
    fn send_scheduled(&mut self, now: Instant) -> Result<Option<Instant>> {
        let Some(rate) = self.load.rate else {
            return Ok(None);
        };
        let count = self.connections.len();
        let first = self.scheduled;
        let mut next = self.start + due(first, rate);
        let (mut asked, end) = (first, self.window.1);
        while next <= now && next < end {
            let connection = &mut self.connections[asked as usize % count];
            if connection.open {
                connection.ask(next);
            }
            asked += 1;
            next = self.start + due(asked, rate);
        }
        self.scheduled = asked;
        let touched = asked.min(first + count as u64);
        for number in first..touched {
            self.flush_unless_blocked(number as usize % count)?;
        }
        if asked > first {
            self.note_lag(first..asked, rate);
        }
        Ok((next < end).then_some(next))
    }

    /// These have just left: how late.
    fn note_lag(&mut self, numbers: std::ops::Range<u64>, rate: f64) {
        let now = Instant::now();
        for number in numbers {
            let intended = self.start + due(number, rate);
            if intended >= self.window.0 {
                let lag = now.saturating_duration_since(intended);
                note(&mut self.outcome.lag_ns, lag);
            }
        }
    }

    fn flush(&mut self, number: usize) -> Result<()> {
        let connection = &mut self.connections[number];
        if !connection.open || !connection.has_unsent() {
            return Ok(());
        }
        let progress = connection.flush();
        if progress == Progress::Closed {
            return self.drop_connection(number);
        }
        let blocked = progress == Progress::Blocked;
        if blocked == connection.watched_for_room {
            return Ok(());
        }
        connection.watched_for_room = blocked;
        let mut flags = epoll::EventFlags::IN;
        flags.set(epoll::EventFlags::OUT, blocked);
        let data = epoll::EventData::new_u64(number as u64);
        epoll::modify(&self.epoll, &connection.socket, data, flags)
            .doing(|| "watch a socket".into())
    }

    fn drop_connection(&mut self, number: usize) -> Result<()> {
        let connection = &mut self.connections[number];
        epoll::delete(&self.epoll, &connection.socket).doing(|| "leave a socket".into())?;
        let lost = connection.close().count() as u64;
        // One at least: a connection that closes while nothing is on the way is an error too.
        self.count_errors("connection closed", lost.max(1));
        Ok(())
    }

    fn count_unanswered(&mut self) {
        let unanswered: usize = self.connections.iter_mut().map(|c| c.close().count()).sum();
        if unanswered > 0 {
            self.count_errors("no answer in time", unanswered as u64);
        }
    }

    fn count_errors(&mut self, name: &str, count: u64) {
        *self.outcome.errors.entry(name.into()).or_default() += count;
        if Instant::now() < self.window.0 {
            self.outcome.errors_warm += count;
        }
    }
}

fn count(
    outcome: &mut Outcome,
    (from, until): (Instant, Instant),
    now: Instant,
    request: &Waiting,
    answer: &Answer,
) {
    let offset = match &answer.verdict {
        Verdict::Acked { offset } => *offset,
        Verdict::Refused(name) => {
            *outcome.errors.entry(name.clone()).or_default() += 1;
            outcome.errors_warm += u64::from(now < from);
            return;
        }
    };
    if offset >= 0 {
        outcome.acked.push(Ack {
            partition: request.asked.partition,
            offset,
            id: request.id,
        });
    }
    outcome.acks += u64::from(now >= from && now < until);
    if request.since >= from && request.since < until {
        note(&mut outcome.latency_ns, now - request.since);
    }
}

fn malformed(socket: &TcpStream, what: String) -> Error {
    let peer = socket
        .peer_addr()
        .map_or_else(|_| "a peer".into(), |address| address.to_string());
    Error::Malformed { peer, what }
}
