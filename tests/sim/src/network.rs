//! The model network: every message on its way, and which links are cut.
//!
//! A link is up or down for both ends as in TCP: while it is up messages may be delayed, lost, doubled and overtake
//! each other (worse than TCP: the Raft core must not depend on it); leader announcements are not lost, because the
//! real transport would end the connection instead.

use std::collections::{BTreeMap, BTreeSet};

use broker::shard::PeerBatch;
use raft::types::NodeId;

use crate::random::Random;

/// Something on its way.
#[derive(Clone, Debug)]
pub struct Packet {
    /// From whom.
    pub from: NodeId,
    /// To whom.
    pub to: NodeId,
    /// The connection that it goes over: when that ends, so does it.
    pub connection: u64,
    /// The content.
    pub batch: PeerBatch,
}

/// How well a link works.
#[derive(Clone, Copy, Debug)]
pub struct Quality {
    /// Messages lost, in a thousand.
    pub loss_per_mille: u64,
    /// Frames delivered twice, in a thousand.
    pub duplicate_per_mille: u64,
    /// Longest delay in ms.
    pub delay_max_ms: u64,
}

impl Quality {
    /// Nothing is lost, nothing takes long.
    pub const GOOD: Self = Self {
        loss_per_mille: 0,
        duplicate_per_mille: 0,
        delay_max_ms: 2,
    };

    /// What a plan says.
    #[must_use]
    pub fn of(plan: &crate::Plan) -> Self {
        Self {
            loss_per_mille: plan.loss_per_mille,
            duplicate_per_mille: plan.duplicate_per_mille,
            delay_max_ms: plan.delay_max_ms,
        }
    }
}

/// What the network did.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Packets delivered.
    pub delivered: u64,
    /// Messages lost on purpose.
    pub lost: u64,
    /// Packets doubled.
    pub doubled: u64,
    /// Cuts made.
    pub cuts: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Network {
    on_the_way: BTreeMap<(u64, u64), Packet>,
    sequence: u64,
    /// One-way cuts: nothing goes from the first to the second.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// What happened.
    pub counts: Counts,
}

impl Network {
    /// Sends a packet.
    pub fn send(&mut self, now: u64, mut packet: Packet, link: Quality, random: &mut Random) {
        if self.cut.contains(&(packet.from, packet.to)) {
            self.counts.lost += packet.batch.messages.len() as u64;
            return;
        }
        let before = packet.batch.messages.len();
        packet
            .batch
            .messages
            .retain(|_| !random.chance(link.loss_per_mille));
        self.counts.lost += (before - packet.batch.messages.len()) as u64;
        if random.chance(link.duplicate_per_mille) {
            self.counts.doubled += 1;
            self.put(now, packet.clone(), link, random);
        }
        self.put(now, packet, link, random);
    }

    fn put(&mut self, now: u64, packet: Packet, link: Quality, random: &mut Random) {
        let arrives = now + random.between(0, link.delay_max_ms);
        self.sequence += 1;
        self.on_the_way.insert((arrives, self.sequence), packet);
    }

    /// Who gets it does not get round to it before.
    pub fn hold(&mut self, until: u64, packet: Packet) {
        self.sequence += 1;
        self.on_the_way.insert((until, self.sequence), packet);
    }

    /// When the next packet arrives.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.on_the_way.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes a packet that has arrived.
    pub fn arrived(&mut self, now: u64) -> Option<Packet> {
        let (&key, _) = self.on_the_way.first_key_value()?;
        if key.0 > now {
            return None;
        }
        let packet = self.on_the_way.remove(&key)?;
        if self.cut.contains(&(packet.from, packet.to)) {
            self.counts.lost += packet.batch.messages.len() as u64;
            return self.arrived(now);
        }
        self.counts.delivered += 1;
        Some(packet)
    }

    /// Cuts one direction.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.counts.cuts += 1;
        self.cut.insert((from, to));
    }

    /// Whether anything passes in both directions.
    #[must_use]
    pub fn is_whole(&self, a: NodeId, b: NodeId) -> bool {
        !self.cut.contains(&(a, b)) && !self.cut.contains(&(b, a))
    }

    /// Mends everything.
    pub fn heal(&mut self) {
        self.cut.clear();
    }
}
