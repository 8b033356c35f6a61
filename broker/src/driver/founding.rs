//! Driving the formation: peers, timer and disk in, what the formation decides out, until the cluster has a record.
//! The rules are [`crate::formation`]'s.

use std::cell::RefCell;
use std::collections::BTreeMap;

use protocol::peer::Frame;
use raft::types::{DirectoryId, NodeId, Tick};
use tokio::sync::Notify;

use super::boot::Error;
use super::clock::Clock;
use super::inbox::PeerInbox;
use crate::config::Config;
use crate::data_directory::DataDirectory;
use crate::formation::{self, Formation, Setup};
use crate::peer::{Network, PeerEvent};

/// What the formation waits for.
#[derive(Clone, Copy)]
pub(super) struct Events<'a> {
    pub(super) inbox: &'a PeerInbox,
    pub(super) work: &'a Notify,
    pub(super) connected: &'a RefCell<BTreeMap<NodeId, DirectoryId>>,
}

/// Waits until the cluster is formed and its record is on this disk.
pub(super) async fn form(
    config: &Config,
    directory: &mut DataDirectory,
    network: &Network,
    waits: Events<'_>,
    clock: Clock,
) -> Result<Formation, Error> {
    let identity = directory.identity().directory;
    let setup = Setup::new(&config.node, identity, directory.bootstrap().cloned());
    let mut formation = Formation::new(setup);
    let mut events = vec![formation::Event::Tick];
    loop {
        let mut effects = Vec::new();
        for event in events.drain(..) {
            formation.step(clock.now(), event, &mut effects);
        }
        let mut formed = false;
        for effect in effects {
            match effect {
                formation::Effect::Send { to, message } => send_formation(network, to, &message),
                formation::Effect::SyncRecord(record) => {
                    directory.store_bootstrap(&record)?;
                    events.push(formation::Event::RecordSynced);
                }
                formation::Effect::Formed(record) => {
                    directory.set_cluster(record.cluster)?;
                    network.set_cluster(record.cluster);
                    formed = true;
                }
                formation::Effect::Refused { node, refusal } => {
                    tracing::warn!(target: "peer", node = node.0, %refusal, "cannot take part");
                }
                formation::Effect::Failed(failure) => return Err(failure.into()),
            }
        }
        if formed {
            return Ok(formation);
        }
        if events.is_empty() {
            wait_for_event(&formation, waits, clock, &mut events).await;
        }
    }
}

async fn wait_for_event(
    formation: &Formation,
    waits: Events<'_>,
    clock: Clock,
    events: &mut Vec<formation::Event>,
) {
    let wakeup = formation.wakeup().unwrap_or(Tick(u64::MAX / 2));
    tokio::select! {
        () = waits.work.notified() => {}
        () = tokio::time::sleep_until(clock.instant(wakeup).into()) => {
            events.push(formation::Event::Tick);
        }
    }
    while let Some(event) = waits.inbox.pop() {
        match event {
            PeerEvent::Up { node, hello, .. } => {
                waits.connected.borrow_mut().insert(node, hello.directory);
                events.push(formation::Event::PeerUp(node));
            }
            PeerEvent::Down { node, .. } => {
                waits.connected.borrow_mut().remove(&node);
            }
            PeerEvent::Frame {
                node,
                frame: Frame::Formation(body),
            } => match formation::Message::decode(&body) {
                Ok(message) => events.push(formation::Event::Presented { node, message }),
                Err(why) => tracing::warn!(target: "peer", node = node.0, %why, "bad message"),
            },
            // Raft messages before formation are repeated by their senders.
            _ => {}
        }
    }
}

/// Sends a formation message, if there is a connection; the machine sends again otherwise.
pub(super) fn send_formation(network: &Network, to: NodeId, message: &formation::Message) {
    if let Err(why) = network.send_frame(to, &Frame::Formation(message.encode())) {
        tracing::debug!(target: "peer", node = to.0, %why, "formation message not sent");
    }
}
