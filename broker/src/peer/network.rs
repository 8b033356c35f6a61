//! All peers of a node.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use protocol::peer::{Frame, Hello, PeerRequest, PeerResponse};
use raft::types::NodeId;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::timeout;

use super::accept::accept_all;
use super::dial::{Target, keep_connected};
use super::handshake::{Refusal, check};
use super::link::{Counters, Greeted, Limits, Link, add};
use super::requests::Requests;
use super::{DownReason, NetworkStats, PeerEvent, PeerStats, RequestError, SendError};
use crate::config::NodeConfig;
use crate::formation::ClusterId;

/// A connection this young is taken for the same attempt to connect, made from both sides.
const YOUNG: Duration = Duration::from_secs(2);
/// Strangers whose last refusal is remembered, so that it is logged once.
const REPORTED_MAX: usize = 1024;
#[derive(Default)]
struct Peer {
    /// None: it dialled this node and nobody named its address yet.
    address: Option<String>,
    link: Option<Rc<Link>>,
    counters: Rc<Counters>,
    changed: Rc<Notify>,
    dialler: Option<AbortHandle>,
    trouble: Option<String>,
    /// See [`Network::take_eager`].
    eager: bool,
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(dialler) = &self.dialler {
            dialler.abort();
        }
    }
}

/// The transport of one node. Dropping it closes everything without further events.
///
/// NB: `events` should hold what holds the network weakly, or neither is ever dropped.
pub struct Network {
    me: Weak<Self>,
    config: Rc<NodeConfig>,
    hello: RefCell<Hello>,
    events: Box<dyn Fn(PeerEvent)>,
    peers: RefCell<BTreeMap<NodeId, Peer>>,
    pub(super) requests: Rc<Requests>,
    serial: Cell<u64>,
    pub(super) greeting: Cell<u32>,
    errors: RefCell<BTreeMap<&'static str, u64>>,
    reported: RefCell<BTreeMap<String, Refusal>>,
    accepter: RefCell<Option<AbortHandle>>,
}

impl Network {
    /// Accepts from now on. Must be called, and lives, within a `LocalSet`; `events` are called on this thread, from
    /// tasks. `hello` is what this node says of itself.
    pub fn start(
        hello: Hello,
        config: Rc<NodeConfig>,
        listener: TcpListener,
        events: impl Fn(PeerEvent) + 'static,
    ) -> Rc<Self> {
        let network = Rc::new_cyclic(|me: &Weak<Self>| Self {
            me: Weak::clone(me),
            config,
            hello: RefCell::new(hello),
            events: Box::new(events),
            peers: RefCell::default(),
            requests: Rc::default(),
            serial: Cell::new(0),
            greeting: Cell::new(0),
            errors: RefCell::default(),
            reported: RefCell::default(),
            accepter: RefCell::default(),
        });
        let accepter = spawn_local(accept_all(Rc::downgrade(&network), listener));
        *network.accepter.borrow_mut() = Some(accepter.abort_handle());
        network
    }

    /// Connects to exactly these nodes (this one is passed over). A node with another address is dialled there when its
    /// connection ends; a node that is no longer named loses its connection.
    pub fn set_peers(&self, wanted: Vec<(NodeId, String)>) {
        let me = self.hello.borrow().node;
        let wanted: BTreeMap<_, _> = wanted.into_iter().filter(|(node, _)| *node != me).collect();
        let mut peers = self.peers.borrow_mut();
        for (node, peer) in peers.iter_mut() {
            if peer.address.is_some() && !wanted.contains_key(node) {
                peer.address = None;
                if let Some(dialler) = peer.dialler.take() {
                    dialler.abort();
                }
                if let Some(link) = &peer.link {
                    link.close(DownReason::Removed);
                }
            }
        }
        peers.retain(|_, peer| peer.address.is_some() || peer.link.is_some());
        for (node, address) in wanted {
            let peer = peers.entry(node).or_default();
            if peer.address.as_ref() == Some(&address) {
                continue;
            }
            peer.address = Some(address.clone());
            let target = Target {
                node,
                address,
                changed: Rc::clone(&peer.changed),
            };
            let dialler = spawn_local(keep_connected(Weak::clone(&self.me), target));
            if let Some(before) = peer.dialler.replace(dialler.abort_handle()) {
                before.abort();
            }
        }
    }

    /// This node has learned its cluster: it introduces itself again to all to whom it had none.
    pub fn set_cluster(&self, cluster: ClusterId) {
        let before = std::mem::replace(&mut self.hello.borrow_mut().cluster, cluster.0);
        assert!(
            before == 0 || before == cluster.0,
            "a node never changes its cluster"
        );
        if before != cluster.0 {
            for link in self
                .peers
                .borrow()
                .values()
                .filter_map(|peer| peer.link.as_ref())
            {
                link.close(DownReason::Introduce);
            }
        }
    }

    /// Gives up the connection with this node, if there is one; dialling goes on.
    pub fn disconnect(&self, node: NodeId) {
        if let Some(link) = self.link(node) {
            link.close(DownReason::Silent);
        }
    }

    /// There is a connection that takes frames.
    #[must_use]
    pub fn is_up(&self, node: NodeId) -> bool {
        self.link(node).is_some()
    }

    /// The version to encode frames for this node with.
    #[must_use]
    pub fn version(&self, node: NodeId) -> Option<u8> {
        self.link(node).map(|link| link.version)
    }

    /// Queues one or more encoded frames (with their lengths) and writes what the socket takes at once.
    ///
    /// Ok promises nothing about their arrival.
    ///
    /// # Errors
    /// There is no connection, or it had to be dropped.
    pub fn send(&self, node: NodeId, frame_chain: Vec<Bytes>) -> Result<(), SendError> {
        self.link(node)
            .ok_or(SendError::NotConnected)?
            .send(frame_chain)
    }

    /// Encodes and sends one frame.
    ///
    /// # Errors
    /// As [`Network::send`]; or the frame is too large.
    pub fn send_frame(&self, node: NodeId, frame: &Frame) -> Result<(), SendError> {
        let link = self.link(node).ok_or(SendError::NotConnected)?;
        let chain = frame
            .encode(link.version)
            .map_err(|_| SendError::TooLarge)?;
        let size: usize = chain.iter().map(Bytes::len).sum();
        if size - 4 > link.limits.frame_bytes {
            return Err(SendError::TooLarge);
        }
        link.send(chain)
    }

    /// Asks another broker; sent at once, before the future is first polled. Dropping the future gives up waiting.
    ///
    /// # Errors
    /// [`RequestError`] says whether the request can have had an effect.
    pub fn request(
        &self,
        node: NodeId,
        kind: u8,
        body: Bytes,
        wait: Duration,
    ) -> impl Future<Output = Result<Bytes, RequestError>> + use<> {
        let id = self.requests.next_id();
        let link = self.link(node);
        let waiting = link.map(|link| self.requests.wait(id, link.serial));
        let sent = self.send_frame(node, &Frame::Request(PeerRequest { id, kind, body }));
        async move {
            sent.map_err(RequestError::NotSent)?;
            let Some(mut waiting) = waiting else {
                return Err(RequestError::NotSent(SendError::NotConnected));
            };
            let answer = timeout(wait, &mut waiting.answer).await;
            let answer = answer.map_err(|_| RequestError::TimedOut)?;
            let response = answer.map_err(|_| RequestError::Disconnected)?;
            match response.status {
                0 => Ok(response.body),
                status => Err(RequestError::Answered {
                    status,
                    body: response.body,
                }),
            }
        }
    }

    /// Answers a request: status 0 and a body, or a Kafka error code.
    ///
    /// # Errors
    /// As [`Network::send_frame`]. The asker learns of a broken connection by itself.
    pub fn respond(
        &self,
        node: NodeId,
        id: u64,
        status: i16,
        body: Bytes,
    ) -> Result<(), SendError> {
        self.send_frame(node, &Frame::Response(PeerResponse { id, status, body }))
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> NetworkStats {
        let stats = |peer: &Peer| {
            let link = peer.link.as_ref().filter(|link| !link.is_closed());
            let Counters {
                connects,
                received_bytes,
                sent_bytes,
                ..
            } = &*peer.counters;
            PeerStats {
                up: link.is_some(),
                connects: connects.get(),
                received_bytes: received_bytes.get(),
                sent_bytes: sent_bytes.get(),
                received_frames: peer.counters.received_frames.get(),
                sent_frames: peer.counters.sent_frames.get(),
                unformed_frames: peer.counters.unformed_frames.get(),
                refused: peer.counters.refused.get(),
                queued_bytes: link.map_or(0, |link| link.queued_bytes()),
                trouble: peer.trouble.clone(),
            }
        };
        let peers = self.peers.borrow();
        let peers = peers
            .iter()
            .map(|(node, peer)| (*node, stats(peer)))
            .collect();
        NetworkStats {
            peers,
            errors: self.errors.borrow().clone(),
        }
    }

    /// Closes everything. No event comes after it.
    pub fn stop(&self) {
        if let Some(accepter) = self.accepter.borrow_mut().take() {
            accepter.abort();
        }
        let peers = std::mem::take(&mut *self.peers.borrow_mut());
        for link in peers.values().filter_map(|peer| peer.link.as_ref()) {
            link.announced.set(true);
            link.close(DownReason::Removed);
            self.requests.disconnect(link.serial);
        }
    }

    pub(super) fn count_error(&self, kind: &'static str) {
        *self.errors.borrow_mut().entry(kind).or_default() += 1;
    }

    pub(super) fn config(&self) -> &NodeConfig {
        &self.config
    }

    pub(super) fn hello(&self) -> Hello {
        self.hello.borrow().clone()
    }

    pub(super) fn tell(&self, event: PeerEvent) {
        (self.events)(event);
    }

    fn link(&self, node: NodeId) -> Option<Rc<Link>> {
        let link = self.peers.borrow().get(&node)?.link.clone();
        link.filter(|link| !link.is_closed())
    }

    fn stopped(&self) -> bool {
        self.accepter.borrow().is_none()
    }

    /// The other side's dial already made a connection with this very process of it, and its dial has precedence.
    pub(super) fn has_twin(&self, theirs: &Hello) -> bool {
        let twin = self
            .link(theirs.node)
            .is_some_and(|link| link.theirs.boot == theirs.boot);
        twin && self.hello.borrow().node > theirs.node
    }

    /// The last connection ended only to be made anew. Asked once.
    pub(super) fn take_eager(&self, node: NodeId) -> bool {
        let mut peers = self.peers.borrow_mut();
        peers
            .get_mut(&node)
            .is_some_and(|peer| std::mem::take(&mut peer.eager))
    }

    /// A connection on which both have greeted.
    pub(super) fn install(&self, said: &Hello, greeted: Greeted, rest: BytesMut) {
        // What was said may be outdated; then the other side must hear it anew.
        if self.stopped() || self.hello.borrow().cluster != said.cluster {
            return;
        }
        self.serial.set(self.serial.get() + 1);
        let node = greeted.theirs.node;
        let (link, before) = {
            let mut peers = self.peers.borrow_mut();
            let peer = peers.entry(node).or_default();
            let counters = Rc::clone(&peer.counters);
            let link = Rc::new(Link::new(
                greeted,
                self.serial.get(),
                counters,
                self.limits(),
            ));
            peer.trouble = None;
            (Rc::clone(&link), peer.link.replace(link))
        };
        if let Some(before) = before {
            before.close(DownReason::Replaced);
            if before.theirs.directory != link.theirs.directory {
                let (was, is) = (before.theirs.directory, link.theirs.directory);
                tracing::warn!(target: "peer", %node, %was, %is, "a node is back with another data directory");
            }
            self.announce_down(&before, DownReason::Replaced);
        }
        self.reported.borrow_mut().remove(&node.to_string());
        let formed = !link.unformed;
        tracing::info!(target: "peer", %node, version = link.version, formed, "connected");
        let (hello, version) = (link.theirs.clone(), link.version);
        self.tell(PeerEvent::Up {
            node,
            hello,
            version,
        });
        spawn_local(Rc::clone(&link).run(Weak::clone(&self.me), rest));
        self.notify(node);
    }

    fn limits(&self) -> Limits {
        let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        Limits {
            queue_bytes: bytes(self.config.peer_queue_max_bytes),
            frame_bytes: bytes(self.config.peer_frame_max_bytes),
            read_bytes: bytes(self.config.peer_read_bytes),
            stall: Duration::from_millis(self.config.peer_write_stall_max_ms),
        }
    }

    fn notify(&self, node: NodeId) {
        if let Some(peer) = self.peers.borrow().get(&node) {
            peer.changed.notify_one();
        }
    }

    /// Tells once that the link is gone.
    pub(super) fn announce_down(&self, link: &Rc<Link>, reason: DownReason) {
        if link.announced.replace(true) {
            return;
        }
        self.requests.disconnect(link.serial);
        *self.errors.borrow_mut().entry(reason.kind()).or_default() += 1;
        let node = link.node;
        match &reason {
            DownReason::QueueFull | DownReason::Stalled | DownReason::Garbage(_) => {
                tracing::warn!(target: "peer", %node, %reason, "disconnected");
            }
            _ => tracing::info!(target: "peer", %node, %reason, "disconnected"),
        }
        self.forget(link, &reason);
        self.tell(PeerEvent::Down { node, reason });
        self.notify(node);
    }

    fn forget(&self, link: &Rc<Link>, reason: &DownReason) {
        let mut peers = self.peers.borrow_mut();
        let Some(peer) = peers.get_mut(&link.node) else {
            return;
        };
        if peer
            .link
            .as_ref()
            .is_some_and(|current| Rc::ptr_eq(current, link))
        {
            peer.link = None;
            peer.trouble = Some(reason.to_string());
            // One side had no cluster id: as soon as it has, it closes and introduces itself again.
            peer.eager = link.unformed;
            if peer.address.is_none() {
                peers.remove(&link.node);
            }
        }
    }

    /// Counts it, and tells it if it is news.
    pub(super) fn note_refusal(&self, node: Option<NodeId>, address: &str, refusal: Refusal) {
        self.count_error(refusal.kind());
        let mut peers = self.peers.borrow_mut();
        if let Some(peer) = node.and_then(|node| peers.get_mut(&node)) {
            peer.trouble = Some(refusal.to_string());
            if refusal == Refusal::Broken(std::io::ErrorKind::ConnectionRefused) {
                add(&peer.counters.refused, 1);
            }
        }
        drop(peers);
        let key = match node {
            Some(node) => node.to_string(),
            None => address
                .rsplit_once(':')
                .map_or(address, |(host, _)| host)
                .to_owned(),
        };
        let mut reported = self.reported.borrow_mut();
        if reported.len() >= REPORTED_MAX {
            reported.clear();
        }
        if reported.get(&key) == Some(&refusal) {
            return;
        }
        reported.insert(key, refusal.clone());
        drop(reported);
        let name = node.map_or_else(|| "unknown".to_owned(), |node| node.to_string());
        if refusal.transient() {
            tracing::info!(target: "peer", node = name, address, %refusal, "not connected");
            return;
        }
        tracing::warn!(target: "peer", node = name, address, %refusal, "refused");
        self.tell(PeerEvent::Refused {
            node,
            address: address.to_owned(),
            refusal,
        });
    }

    /// A greeting came in: the version to speak, if this node wants to talk.
    pub(super) fn admit(&self, ours: &Hello, theirs: &Hello) -> Result<u8, Refusal> {
        let version = check(ours, theirs)?;
        let twin = self.link(theirs.node).is_some_and(|link| {
            link.dialled && link.theirs.boot == theirs.boot && link.since.elapsed() < YOUNG
        });
        match twin && ours.node < theirs.node {
            true => Err(Refusal::AlreadyConnected),
            false => Ok(version),
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop();
    }
}
