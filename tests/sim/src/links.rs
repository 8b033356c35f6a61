//! Connections between brokers: made while both ends are up and nothing is cut, ended for both together.

use broker::shard::PeerBatch;
use raft::types::{NodeId, Tick};

use crate::network::{Packet, Quality};
use crate::world::{Outcome, World};

impl World {
    pub(crate) fn connect_all(&mut self) -> Outcome {
        for a in 0..self.nodes.len() {
            for b in a + 1..self.nodes.len() {
                let both = self.nodes[a].up.is_some() && self.nodes[b].up.is_some();
                let whole = self.network.is_whole(self.nodes[a].id, self.nodes[b].id);
                if both && whole && !self.connected.contains_key(&(a, b)) {
                    self.connect(a, b)?;
                }
            }
        }
        Ok(())
    }

    fn connect(&mut self, a: usize, b: usize) -> Outcome {
        let connection = self.random.bits();
        self.connected.insert((a, b), connection);
        for (here, there) in [(a, b), (b, a)] {
            let (there, disk) = (self.nodes[there].id, self.nodes[there].directory);
            if let Some(up) = &mut self.nodes[here].up {
                up.shard.peer_up(Tick(self.now), there, disk);
            }
            self.flush(here)?;
        }
        Ok(())
    }

    pub(crate) fn disconnect(&mut self, link: (usize, usize)) {
        if self.connected.remove(&link).is_none() {
            return;
        }
        let (a, b) = link;
        for (here, there) in [(a, b), (b, a)] {
            let there = self.nodes[there].id;
            if let Some(up) = &mut self.nodes[here].up {
                up.shard.peer_down(Tick(self.now), there);
            }
        }
    }

    fn connection(&self, a: NodeId, b: NodeId) -> Option<u64> {
        let (a, b) = (self.place_of(a)?, self.place_of(b)?);
        self.connected.get(&(a.min(b), a.max(b))).copied()
    }

    pub(crate) fn send(&mut self, from: NodeId, to: NodeId, batch: PeerBatch) -> Outcome {
        self.account.sending(from, &batch)?;
        let Some(connection) = self.connection(from, to) else {
            return Ok(());
        };
        let packet = Packet {
            from,
            to,
            connection,
            batch,
        };
        let quality = if self.chaos {
            Quality::of(&self.plan)
        } else {
            Quality::GOOD
        };
        self.network
            .send(self.now, packet, quality, &mut self.random);
        Ok(())
    }

    pub(crate) fn deliver(&mut self, packet: Packet) -> Outcome {
        if self.connection(packet.from, packet.to) != Some(packet.connection) {
            return Ok(());
        }
        let Some(at) = self.place_of(packet.to) else {
            return Ok(());
        };
        if let Some(until) = self.faults.deaf_until(at, self.now) {
            self.network.hold(until, packet);
            return Ok(());
        }
        self.note(0xC0 + packet.batch.messages.len() as u64);
        let Some(up) = &mut self.nodes[at].up else {
            return Ok(());
        };
        let now = Tick(self.now);
        up.shard.peer_frame(now, packet.from, packet.batch);
        self.flush(at)
    }
}
