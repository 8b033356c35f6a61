//! The task that keeps a peer connected.

use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::BytesMut;
use raft::types::NodeId;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::backoff::Backoff;
use super::handshake::{Refusal, confirm, introduce};
use super::link::Greeted;
use super::network::Network;

/// How much longer than the first wait the node with the higher id leaves the dialling to the other one.
const PATIENCE: u64 = 10;

/// Whom to dial, and what tells that the connection came or went.
pub(super) struct Target {
    pub node: NodeId,
    pub address: String,
    pub changed: Rc<Notify>,
}

/// Never ends while there is a network; aborted when the peer is removed or has another address.
pub(super) async fn keep_connected(network: Weak<Network>, target: Target) {
    let Some((mut backoff, patience, long)) = network.upgrade().map(|network| {
        let config = network.config();
        let (min, max) = (config.peer_retry_min_ms, config.peer_retry_max_ms);
        let ours = network.hello();
        #[expect(clippy::cast_sign_loss, reason = "any bits will do")]
        let seed = ours.boot ^ (target.node.0 as u64).rotate_left(32);
        let patience = if ours.node < target.node {
            0
        } else {
            PATIENCE * min
        };
        (
            Backoff::new(min, max, seed),
            Duration::from_millis(patience),
            Duration::from_millis(max),
        )
    }) else {
        return;
    };
    let mut wait = patience;
    loop {
        let up_since = Instant::now();
        loop {
            match network.upgrade() {
                None => return,
                Some(network) if !network.is_up(target.node) => break,
                Some(_) => {}
            }
            target.changed.notified().await;
            wait = patience;
        }
        // Only a connection that lasted, or ended to be made anew, shows that the next one is worth an early try.
        let eager = network
            .upgrade()
            .is_some_and(|network| network.take_eager(target.node));
        if eager || up_since.elapsed() >= long {
            backoff.reset();
        }
        if timeout(wait + backoff.wait(), target.changed.notified())
            .await
            .is_ok()
        {
            continue; // It came, or it went; look again.
        }
        wait = Duration::ZERO;
        if let Err(refusal) = dial(&network, &target).await {
            let Some(network) = network.upgrade() else {
                return;
            };
            network.note_refusal(Some(target.node), &target.address, refusal);
        }
    }
}

async fn dial(network: &Weak<Network>, target: &Target) -> Result<(), Refusal> {
    let Some((ours, connect, greet)) = network.upgrade().map(|network| {
        let config = network.config();
        let connect = Duration::from_millis(config.peer_connect_timeout_ms);
        let greet = Duration::from_millis(config.peer_handshake_timeout_ms);
        (network.hello(), connect, greet)
    }) else {
        return Ok(());
    };
    let broken = |error: std::io::Error| Refusal::Broken(error.kind());
    let connected = timeout(connect, TcpStream::connect(&target.address)).await;
    let mut stream = connected
        .map_err(|_| Refusal::Broken(std::io::ErrorKind::TimedOut))?
        .map_err(broken)?;
    stream.set_nodelay(true).map_err(broken)?;
    let mut rest = BytesMut::new();
    let greeting = async {
        let (theirs, version) = introduce(&mut stream, &ours, target.node, &mut rest).await?;
        // Both dialled at once: the connection of the lower id stays.
        let wanted = network
            .upgrade()
            .is_some_and(|network| !network.has_twin(&theirs));
        if !wanted {
            return Err(Refusal::AlreadyConnected);
        }
        confirm(&mut stream, version).await?;
        Ok((theirs, version))
    };
    let greeted = timeout(greet, greeting).await;
    let (theirs, version) = greeted.map_err(|_| Refusal::Silent).and_then(|done| done)?;
    let Some(network) = network.upgrade() else {
        return Ok(());
    };
    let unformed = ours.cluster == 0 || theirs.cluster == 0;
    let greeted = Greeted {
        stream,
        theirs,
        version,
        dialled: true,
        unformed,
    };
    network.install(&ours, greeted, rest);
    Ok(())
}
