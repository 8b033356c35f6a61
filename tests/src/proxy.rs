//! A TCP proxy in user space that can delay, hold back, stall and cut, and counts what it did.
//!
//! It stands in for a network where none can be shaped. TCP never loses bytes, so a lost packet
//! is what an application sees of one: the bytes come a retransmission timeout later, and all
//! that follows them comes later too.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng, rngs::StdRng};

/// Who opened a connection, as the owner of the proxy numbers them. 0: nobody known.
pub type Source = i32;

/// What happens to the bytes of one source, both ways.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rule {
    /// Added to every piece.
    pub delay: Duration,
    /// Chance that a piece is held back for [`Rule::RETRANSMIT`], as after a loss.
    pub loss: f64,
    /// Nothing passes until the rule changes; connections stay open.
    pub stall: bool,
    /// New connections are closed at once.
    pub refuse: bool,
}

impl Rule {
    /// Linux's least retransmission timeout.
    pub const RETRANSMIT: Duration = Duration::from_millis(200);
}

/// What a proxy has done.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections forwarded.
    pub connections: AtomicU64,
    /// Connections closed at once by a rule.
    pub refused: AtomicU64,
    /// Connections cut by [`Proxy::cut`].
    pub cut: AtomicU64,
    /// Bytes that passed.
    pub bytes: AtomicU64,
    /// Pieces that were delayed.
    pub delayed: AtomicU64,
    /// Pieces that were held back as if lost.
    pub lost: AtomicU64,
    /// Pieces that waited for a stall to end.
    pub stalled: AtomicU64,
}

/// A connection, as who opened it sees it. NB: one alone is no name: a port is used again for another destination.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Its own address.
    pub from: SocketAddr,
    /// That of the proxy.
    pub to: SocketAddr,
}

struct Shared {
    target: Mutex<Option<SocketAddr>>,
    rules: Mutex<HashMap<Source, Rule>>,
    changed: Condvar,
    open: Mutex<Vec<(Source, TcpStream, TcpStream)>>,
    counters: Counters,
    ended: AtomicBool,
}

/// A listener that forwards to one target; it ends when dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Listens on a free loopback port. `identify` tells who a connection comes from.
    pub fn start(identify: fn(Ends) -> Source) -> io::Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target: Mutex::default(),
            rules: Mutex::default(),
            changed: Condvar::new(),
            open: Mutex::default(),
            counters: Counters::default(),
            ended: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || accept(&listener, identify, &accepting));
        Ok(Proxy { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it forwards to, from the next connection on.
    pub fn aim(&self, target: SocketAddr) {
        *locked(&self.shared.target) = Some(target);
    }

    /// Replaces the rule of a source.
    pub fn rule(&self, source: Source, rule: Rule) {
        locked(&self.shared.rules).insert(source, rule);
        self.shared.changed.notify_all();
    }

    /// Closes all connections of a source, both ways.
    pub fn cut(&self, source: Source) {
        locked(&self.shared.open).retain(|(from, client, server)| {
            if *from == source {
                let _ = client.shutdown(Shutdown::Both);
                let _ = server.shutdown(Shutdown::Both);
                self.shared.counters.cut.fetch_add(1, Ordering::Relaxed);
            }
            *from != source
        });
    }

    /// What it has done so far.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.shared.changed.notify_all();
        for (_, client, server) in locked(&self.shared.open).drain(..) {
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
        // Wakes the accepting thread, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

fn ends(client: &TcpStream) -> io::Result<Ends> {
    Ok(Ends {
        from: client.peer_addr()?,
        to: client.local_addr()?,
    })
}

fn accept(listener: &TcpListener, identify: fn(Ends) -> Source, shared: &Arc<Shared>) {
    for (number, client) in listener.incoming().enumerate() {
        if shared.ended.load(Ordering::Relaxed) {
            return;
        }
        let Ok(client) = client else { continue };
        let source = ends(&client).map_or(0, identify);
        let refuse = locked(&shared.rules)
            .get(&source)
            .is_some_and(|rule| rule.refuse);
        let target = *locked(&shared.target);
        let (Some(target), false) = (target, refuse) else {
            shared.counters.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        if let Ok(server) = TcpStream::connect(target) {
            // An error here means that one side is gone already: nothing to forward.
            let _ = forward(client, server, source, number as u64, shared);
        }
    }
}

fn forward(
    client: TcpStream,
    server: TcpStream,
    source: Source,
    seed: u64,
    shared: &Arc<Shared>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    shared.counters.connections.fetch_add(1, Ordering::Relaxed);
    locked(&shared.open).push((source, client.try_clone()?, server.try_clone()?));
    for (from, to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        // Bounded, so that a stalled side pushes back on the other as a full window would.
        let (pieces, due) = sync_channel(1024);
        let (reading, writing) = (shared.clone(), shared.clone());
        let rng = StdRng::seed_from_u64(seed);
        std::thread::spawn(move || read(from, source, &reading, &pieces, rng));
        std::thread::spawn(move || write(to, source, &writing, &due));
    }
    Ok(())
}

fn read(
    mut from: TcpStream,
    source: Source,
    shared: &Shared,
    pieces: &SyncSender<(Instant, Vec<u8>)>,
    mut rng: StdRng,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let rule = locked(&shared.rules)
            .get(&source)
            .copied()
            .unwrap_or_default();
        let mut wait = rule.delay;
        if !wait.is_zero() {
            shared.counters.delayed.fetch_add(1, Ordering::Relaxed);
        }
        if rule.loss > 0.0 && rng.random_bool(rule.loss) {
            shared.counters.lost.fetch_add(1, Ordering::Relaxed);
            wait += Rule::RETRANSMIT;
        }
        if pieces
            .send((Instant::now() + wait, buffer[..length].to_vec()))
            .is_err()
        {
            return;
        }
    }
}

fn write(mut to: TcpStream, source: Source, shared: &Shared, due: &Receiver<(Instant, Vec<u8>)>) {
    for (at, piece) in due {
        // The delay itself is the fault, not a wait for a condition.
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        hold_while_stalled(source, shared);
        // Counted first: whoever has received a piece must find it in the count.
        shared
            .counters
            .bytes
            .fetch_add(piece.len() as u64, Ordering::Relaxed);
        if shared.ended.load(Ordering::Relaxed) || to.write_all(&piece).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn hold_while_stalled(source: Source, shared: &Shared) {
    let stalled = |rules: &HashMap<Source, Rule>| rules.get(&source).is_some_and(|rule| rule.stall);
    let mut rules = locked(&shared.rules);
    if stalled(&rules) {
        shared.counters.stalled.fetch_add(1, Ordering::Relaxed);
    }
    while stalled(&rules) && !shared.ended.load(Ordering::Relaxed) {
        rules = shared
            .changed
            .wait(rules)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An echo server for one connection after the other, and a proxy before it.
    fn echo() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut back = stream.try_clone().unwrap();
                    let _ = io::copy(&mut stream, &mut back);
                });
            }
        });
        let proxy = Proxy::start(|_| 1).unwrap();
        proxy.aim(address);
        proxy
    }

    fn ask(stream: &mut TcpStream) -> io::Result<Duration> {
        let started = Instant::now();
        stream.write_all(b"ping")?;
        stream.read_exact(&mut [0; 4])?;
        Ok(started.elapsed())
    }

    #[test]
    fn forwards_delays_and_counts() {
        let proxy = echo();
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        assert!(ask(&mut stream).unwrap() < Duration::from_secs(5));
        let delay = Duration::from_millis(40);
        proxy.rule(
            1,
            Rule {
                delay,
                ..Rule::default()
            },
        );
        assert!(ask(&mut stream).unwrap() >= 2 * delay);
        proxy.rule(
            1,
            Rule {
                loss: 1.0,
                ..Rule::default()
            },
        );
        assert!(ask(&mut stream).unwrap() >= 2 * Rule::RETRANSMIT);
        let counted = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = proxy.counters();
        assert_eq!(
            (counted(&counters.connections), counted(&counters.delayed)),
            (1, 2)
        );
        assert_eq!((counted(&counters.lost), counted(&counters.bytes)), (2, 24));
    }

    #[test]
    fn a_stall_holds_bytes_until_it_ends() {
        let proxy = echo();
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        ask(&mut stream).unwrap();
        proxy.rule(
            1,
            Rule {
                stall: true,
                ..Rule::default()
            },
        );
        stream
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        assert!(ask(&mut stream).is_err());
        assert!(proxy.counters().stalled.load(Ordering::Relaxed) >= 1);
        proxy.rule(1, Rule::default());
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
    }

    #[test]
    fn cut_and_refused_connections_end() {
        let proxy = echo();
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        ask(&mut stream).unwrap();
        proxy.cut(1);
        assert!(ask(&mut stream).is_err());
        proxy.rule(
            1,
            Rule {
                refuse: true,
                ..Rule::default()
            },
        );
        let mut refused = TcpStream::connect(proxy.address()).unwrap();
        assert!(ask(&mut refused).is_err());
        let counters = proxy.counters();
        let counted = (
            counters.cut.load(Ordering::Relaxed),
            counters.refused.load(Ordering::Relaxed),
        );
        assert_eq!(counted, (1, 1));
    }
}
