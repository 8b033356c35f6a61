//! Brokers register, are emptied, leave, report, and get producer ids.

use protocol::error_code::ErrorCode;
use raft::types::{GroupId, Index, NodeId, ReplicaId};
use std::net::IpAddr;

use super::request::Answer;
use super::{Failure, Step, View};
use crate::metadata::{Command, Registration};

/// Longest host name.
const HOST_MAX: usize = 255;

pub(super) fn register(view: View<'_>, registration: &Registration) -> Step {
    if let Err(failure) = check_registration(view, registration) {
        return Step::refuse(failure);
    }
    let answer = Answer::Registered {
        epoch: Index::default(),
        metadata: ReplicaId::default(),
    };
    Step::propose(answer, Command::RegisterBroker(registration.clone()))
}

fn check_registration(view: View<'_>, new: &Registration) -> Result<(), Failure> {
    let invalid = |why: String| Err(Failure::new(ErrorCode::InvalidRegistration, why));
    if new.node.0 < 1 {
        return invalid(format!("node id {} is not at least 1", new.node));
    }
    if new.directory.0 == 0 {
        return invalid("the directory has no id: format it first".to_owned());
    }
    let Some((peer_host, peer_port)) = split_address(&new.peer) else {
        return invalid(format!("peer address {:?} is not host:port", new.peer));
    };
    for (what, host, port) in [
        ("Kafka", new.host.as_str(), new.port),
        ("peer", peer_host, peer_port),
    ] {
        if let Err(why) = check_address(host, port) {
            return invalid(format!("the {what} address cannot be advertised: {why}"));
        }
    }
    if let Some(present) = view.image.broker(new.node)
        && present.directory() != new.directory
        && view.soft.heard_lately(new.node, present.directory())
    {
        let why = format!(
            "node id {} is in use by a live broker with another directory ({})",
            new.node,
            present.directory()
        );
        return Err(Failure::new(ErrorCode::DuplicateBrokerRegistration, why));
    }
    let same_address = view.image.brokers().find(|b| {
        let theirs = &b.registration;
        b.node() != new.node
            && view.soft.alive(b.node())
            && (theirs.peer == new.peer || (&theirs.host, theirs.port) == (&new.host, new.port))
    });
    match same_address {
        Some(other) => invalid(format!("live broker {} has the same address", other.node())),
        None => Ok(()),
    }
}

/// Host and port of `host:port`; an IPv6 host in brackets.
fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    Some((host, port.parse().ok()?))
}

fn check_address(host: &str, port: u16) -> Result<(), &'static str> {
    let is_legal =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'%');
    if port == 0 {
        Err("the port is 0")
    } else if host.is_empty() || host.len() > HOST_MAX {
        Err("the host is empty or too long")
    } else if !host.bytes().all(is_legal) {
        Err("the host is not a host name or IP address")
    } else if host
        .parse::<IpAddr>()
        .is_ok_and(|ip| ip.is_unspecified() || ip.is_multicast())
    {
        Err("a wildcard is not an address")
    } else {
        Ok(())
    }
}

fn check_known(view: View<'_>, node: NodeId) -> Result<(), Failure> {
    if view.image.broker(node).is_some() {
        return Ok(());
    }
    let why = format!("Broker {node} is not registered.");
    Err(Failure::new(ErrorCode::BrokerIdNotRegistered, why))
}

pub(super) fn unregister(view: View<'_>, node: NodeId) -> Step {
    let step = || {
        check_known(view, node)?;
        let refuse = |why| Err(Failure::new(ErrorCode::InvalidRequest, why));
        if view.soft.alive(node) {
            return refuse(format!("Broker {node} is alive: stop it first."));
        }
        let replicas = view
            .image
            .groups_on(node)
            .filter(|p| p.group != GroupId::METADATA)
            .count();
        if replicas > 0 {
            return refuse(format!(
                "Broker {node} still holds {replicas} replica(s): drain it first."
            ));
        }
        if view.image.groups_on(node).next().is_some() {
            return refuse(format!(
                "Broker {node} votes in the metadata group: drain it first."
            ));
        }
        Ok(Step::propose(
            Answer::Done,
            Command::UnregisterBroker { node },
        ))
    };
    Step::of(step())
}

pub(super) fn set_draining(view: View<'_>, node: NodeId, draining: bool) -> Step {
    if let Err(failure) = check_known(view, node) {
        return Step::refuse(failure);
    }
    if view
        .image
        .broker(node)
        .is_some_and(|b| b.draining == draining)
    {
        return Step::done(Answer::Done);
    }
    let others = view
        .image
        .brokers()
        .filter(|b| b.node() != node && !b.draining)
        .count();
    if draining && others == 0 {
        let why = format!("Broker {node} is the last one that is not drained.");
        return Step::refuse(Failure::new(ErrorCode::InvalidRequest, why));
    }
    Step::propose(Answer::Done, Command::SetDraining { node, draining })
}

pub(super) fn allocate_producer_ids(view: View<'_>, node: NodeId) -> Step {
    if let Err(failure) = check_known(view, node) {
        return Step::refuse(failure);
    }
    let count = view.policy.producer_id_block;
    let command = Command::AllocateProducerIds { node, count };
    // The answer holds nothing until the block is allocated: `Answer::completed` fills it in.
    Step::propose(
        Answer::ProducerIds {
            first: -1,
            count: 0,
        },
        command,
    )
}

/// What other brokers may have proposed without a plan: reports, which the apply function checks against the image.
pub(super) fn report(command: &Command) -> Step {
    match command {
        Command::FinishReassignment { .. } | Command::ConfirmRemovals { .. } => {
            Step::propose(Answer::Done, command.clone())
        }
        _ => Step::refuse(Failure::new(
            ErrorCode::InvalidRequest,
            "This command is not a report.",
        )),
    }
}
