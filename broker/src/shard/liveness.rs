//! Which peers are heard, and the frames to them: one per flush, and one per heartbeat interval when there is nothing
//! to say. Idle cost is per peer, not per group.

use std::collections::BTreeMap;

use protocol::peer::LeaderInfo;
use raft::message::Message;
use raft::types::{DirectoryId, GroupId, NodeId, Tick};

use super::output::PeerBatch;

struct Peer {
    directory: DirectoryId,
    heard: Tick,
    sent: Tick,
    announcements: Vec<LeaderInfo>,
}

/// For how long a disk that fell silent counts as heard lately.
const LATELY_MS: u64 = 2500;
/// Leader announcements that one frame carries at most.
const ANNOUNCEMENTS_MAX: usize = 4096;

pub(super) struct Liveness {
    heartbeat_ms: u64,
    timeout_ms: u64,
    peers: BTreeMap<NodeId, Peer>,
    /// When each disk was heard last, under which node id.
    disks: BTreeMap<(NodeId, DirectoryId), Tick>,
    now: Tick,
}

impl Liveness {
    pub(super) fn new(heartbeat_ms: u64, timeout_ms: u64) -> Self {
        let (peers, disks) = (BTreeMap::new(), BTreeMap::new());
        Self {
            heartbeat_ms,
            timeout_ms,
            peers,
            disks,
            now: Tick(0),
        }
    }

    pub(super) fn up(&mut self, now: Tick, node: NodeId, directory: DirectoryId) {
        self.disks
            .retain(|_, heard| now.0.saturating_sub(heard.0) < LATELY_MS);
        self.disks.insert((node, directory), now);
        let announcements = Vec::new();
        let peer = Peer {
            directory,
            heard: now,
            sent: Tick(0),
            announcements,
        };
        self.peers.insert(node, peer);
    }

    /// Whether it was up.
    pub(super) fn down(&mut self, node: NodeId) -> bool {
        self.peers.remove(&node).is_some()
    }

    /// NB: a frame of a peer that had expired revives it only through a new connection, so that both sides agree.
    pub(super) fn heard(&mut self, now: Tick, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.heard = now;
            self.disks.insert((node, peer.directory), now);
        }
    }

    /// When the node was heard last, whatever its disk.
    pub(super) fn last_heard(&self, node: NodeId) -> Option<Tick> {
        let of_node = self.disks.iter().filter(|((of, _), _)| *of == node);
        of_node.map(|(_, heard)| *heard).max()
    }

    /// Whether this very disk was heard within the last seconds.
    pub(super) fn heard_lately(&self, node: NodeId, directory: DirectoryId) -> bool {
        let heard = self.disks.get(&(node, directory));
        heard.is_some_and(|heard| self.now.0.saturating_sub(heard.0) < LATELY_MS)
    }

    /// Whether the node is up, and with this very disk: one that lost its disk speaks for none of its old replicas.
    pub(super) fn is_up_with(&self, node: NodeId, directory: DirectoryId) -> bool {
        self.peers
            .get(&node)
            .is_some_and(|peer| peer.directory == directory)
    }

    pub(super) fn is_up(&self, node: NodeId) -> bool {
        self.peers.contains_key(&node)
    }

    pub(super) fn nodes(&self) -> Vec<NodeId> {
        self.peers.keys().copied().collect()
    }

    /// Takes the peers that were not heard for too long.
    pub(super) fn expired(&mut self, now: Tick) -> Vec<NodeId> {
        let timeout = self.timeout_ms;
        let silent = |p: &Peer| now.0.saturating_sub(p.heard.0) > timeout;
        let nodes: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(_, p)| silent(p))
            .map(|(&node, _)| node)
            .collect();
        for node in &nodes {
            self.peers.remove(node);
        }
        nodes
    }

    pub(super) fn announce<'a>(
        &mut self,
        node: NodeId,
        infos: impl IntoIterator<Item = &'a LeaderInfo>,
    ) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.announcements.extend(infos.into_iter().cloned());
        }
    }

    /// The frames to send now.
    pub(super) fn frames(
        &mut self,
        now: Tick,
        outbox: &mut BTreeMap<NodeId, Vec<(GroupId, Message)>>,
    ) -> Vec<(NodeId, PeerBatch)> {
        self.now = now;
        let mut frames = Vec::new();
        for (&node, peer) in &mut self.peers {
            let messages = outbox.remove(&node).unwrap_or_default();
            let due = now.0 >= peer.sent.0 + self.heartbeat_ms;
            if messages.is_empty() && peer.announcements.is_empty() && !due {
                continue;
            }
            peer.sent = now;
            let some = peer.announcements.len().min(ANNOUNCEMENTS_MAX);
            let soft = peer.announcements.drain(..some).collect();
            frames.push((node, PeerBatch { messages, soft }));
        }
        // What is for nobody who is up is lost: Raft sends again.
        outbox.clear();
        frames
    }
}
