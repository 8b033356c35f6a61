//! Real sockets on 127.0.0.1, one thread, one `LocalSet` per test.

mod conversation;
mod founding;
mod greetings;
mod limits;
mod pieces;
mod requests;
mod wait;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use protocol::frame::next_frame;
use protocol::peer::{Batch, Endpoint, Frame, Hello, VERSIONS};
use raft::types::{DirectoryId, NodeId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::*;
use crate::config::{Config, NodeConfig};
use crate::formation::ClusterId;

const LONG: Duration = Duration::from_secs(10);

/// Runs a test on one thread, and not for ever.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    let bounded = async { timeout(LONG * 3, test).await.expect("the test hangs") };
    local.block_on(&runtime, bounded);
}

fn hello(id: i32) -> Hello {
    let endpoint = Endpoint {
        host: "127.0.0.1".to_owned(),
        port: 1,
    };
    Hello {
        versions: VERSIONS,
        cluster: 77,
        node: NodeId(id),
        directory: DirectoryId(100 + id as u128),
        fingerprint: 5,
        boot: 1000 + id as u64,
        kafka: endpoint.clone(),
        peer: endpoint,
    }
}

fn config() -> NodeConfig {
    Config::tiny().node
}

struct Node {
    id: NodeId,
    address: String,
    network: Rc<Network>,
    events: Rc<RefCell<Vec<PeerEvent>>>,
    changed: Rc<Notify>,
}

impl Node {
    async fn start(hello: Hello) -> Self {
        Self::with(hello, config(), "127.0.0.1:0").await
    }

    async fn with(hello: Hello, config: NodeConfig, address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let events: Rc<RefCell<Vec<PeerEvent>>> = Rc::default();
        let changed = Rc::new(Notify::new());
        let (log, wake) = (Rc::clone(&events), Rc::clone(&changed));
        let id = hello.node;
        let network = Network::start(hello, Rc::new(config), listener, move |event| {
            log.borrow_mut().push(event);
            wake.notify_one();
        });
        Self {
            id,
            address,
            network,
            events,
            changed,
        }
    }

    fn peers(&self, others: &[&Self]) {
        let others = others.iter().map(|other| (other.id, other.address.clone()));
        self.network.set_peers(others.collect());
    }

    /// Until so many events are as asked.
    async fn wait(&self, what: &str, count: usize, matches: impl Fn(&PeerEvent) -> bool) {
        let found = || {
            self.events
                .borrow()
                .iter()
                .filter(|event| matches(event))
                .count()
        };
        let all = async {
            while found() < count {
                self.changed.notified().await;
            }
        };
        let waited = timeout(LONG, all).await;
        waited.unwrap_or_else(|_| panic!("{what}: {} of {count}: {:?}", found(), self.kinds()));
    }

    async fn up(&self, count: usize) {
        self.wait("up", count, |event| matches!(event, PeerEvent::Up { .. }))
            .await;
    }

    async fn down(&self, reason: DownReason) {
        let down =
            |event: &PeerEvent| matches!(event, PeerEvent::Down { reason: r, .. } if *r == reason);
        self.wait("down", 1, down).await;
    }

    async fn refused(&self, kind: &str) {
        let same = |event: &PeerEvent| matches!(event, PeerEvent::Refused { refusal, .. } if refusal.kind() == kind);
        self.wait(kind, 1, same).await;
    }

    /// Until the statistics are as asked: for what makes no event.
    async fn counted(&self, what: &str, matches: impl Fn(&NetworkStats) -> bool) {
        let counted = wait::until(|| matches(&self.network.stats())).await;
        assert!(counted, "{what}: {:?}", self.network.stats());
    }

    fn kinds(&self) -> Vec<String> {
        let kind = |event: &PeerEvent| match event {
            PeerEvent::Up { node, hello, .. } => format!("up {node} boot {}", hello.boot),
            PeerEvent::Down { node, reason } => format!("down {node} {}", reason.kind()),
            PeerEvent::Frame { node, .. } => format!("frame {node}"),
            PeerEvent::BatchEnd => "end".to_owned(),
            PeerEvent::Refused { refusal, .. } => format!("refused {}", refusal.kind()),
        };
        self.events.borrow().iter().map(kind).collect()
    }

    fn count(&self, kind: &str) -> usize {
        self.kinds()
            .iter()
            .filter(|found| found.starts_with(kind))
            .count()
    }

    fn batches(&self) -> Vec<u64> {
        let heartbeat = |event: &PeerEvent| match event {
            PeerEvent::Frame {
                frame: Frame::Batch(batch),
                ..
            } => Some(batch.heartbeat),
            _ => None,
        };
        self.events.borrow().iter().filter_map(heartbeat).collect()
    }

    async fn batch_count(&self, count: usize) {
        self.wait("batches", count, |event| {
            matches!(
                event,
                PeerEvent::Frame {
                    frame: Frame::Batch(_),
                    ..
                }
            )
        })
        .await;
    }
}

fn batch(heartbeat: u64) -> Frame {
    Frame::Batch(Batch {
        heartbeat,
        ..Batch::default()
    })
}

fn bytes(frame: &Frame) -> Vec<u8> {
    frame.encode(VERSIONS.max).unwrap().concat()
}

fn formation(size: usize) -> Frame {
    Frame::Formation(Bytes::from(vec![b'x'; size]))
}

/// A peer made of a bare socket.
struct Raw {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Raw {
    async fn connect(to: &Node) -> Self {
        let stream = TcpStream::connect(&to.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// Greets as this node and confirms.
    async fn greeted(to: &Node, hello: Hello) -> Self {
        let mut raw = Self::connect(to).await;
        raw.write(&bytes(&Frame::Hello(hello))).await;
        let Some(Frame::HelloReply(_)) = raw.read().await else {
            panic!("not welcome")
        };
        raw.write(&bytes(&batch(0))).await;
        raw
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame; none at the end of the stream.
    async fn read(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = next_frame(&mut self.buffer, 1 << 30).unwrap() {
                return Some(Frame::decode(frame).unwrap());
            }
            let read = timeout(LONG, self.stream.read_buf(&mut self.buffer)).await;
            if read.expect("nothing comes").unwrap_or(0) == 0 {
                return None;
            }
        }
    }
}

/// Counts up, to see what a closure saw.
fn bump(cell: &Cell<usize>) {
    cell.set(cell.get() + 1);
}
