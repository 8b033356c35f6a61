//! Connections that others dialled.

use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::BytesMut;
use protocol::peer::Hello;
use raft::types::NodeId;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::handshake::{Refusal, confirmed, hear, refuse, welcome};
use super::link::Greeted;
use super::network::Network;

/// Wait after a failed `accept`: the process is out of files, and trying at once would only burn the thread.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Never ends while there is a network.
pub(super) async fn accept_all(network: Weak<Network>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let Some(network) = network.upgrade() else {
                    return;
                };
                if network.greeting.get() >= network.config().peer_handshakes_max {
                    network.count_error("crowded");
                    continue;
                }
                network.greeting.set(network.greeting.get() + 1);
                spawn_local(accept_one(Rc::downgrade(&network), stream, address));
            }
            Err(error) => {
                tracing::warn!(target: "peer", %error, "cannot accept a peer");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept_one(network: Weak<Network>, mut stream: TcpStream, address: SocketAddr) {
    let Some((ours, limit)) = network.upgrade().map(|network| {
        (
            network.hello(),
            Duration::from_millis(network.config().peer_handshake_timeout_ms),
        )
    }) else {
        return;
    };
    let mut rest = BytesMut::new();
    let mut node = None;
    let greeted = timeout(
        limit,
        greet(&network, &mut stream, &ours, &mut rest, &mut node),
    )
    .await;
    let Some(network) = network.upgrade() else {
        return;
    };
    network.greeting.set(network.greeting.get() - 1);
    match greeted.unwrap_or(Err(Refusal::Silent)) {
        Ok((theirs, version)) => {
            let unformed = ours.cluster == 0 || theirs.cluster == 0;
            let greeted = Greeted {
                stream,
                theirs,
                version,
                dialled: false,
                unformed,
            };
            network.install(&ours, greeted, rest);
        }
        Err(refusal) => network.note_refusal(node, &address.to_string(), refusal),
    }
}

/// What both say before the connection counts; `node` is who the other side says it is, for the log.
async fn greet(
    network: &Weak<Network>,
    stream: &mut TcpStream,
    ours: &Hello,
    rest: &mut BytesMut,
    node: &mut Option<NodeId>,
) -> Result<(Hello, u8), Refusal> {
    let broken = |error: std::io::Error| Refusal::Broken(error.kind());
    stream.set_nodelay(true).map_err(broken)?;
    let theirs = hear(stream, ours, rest).await?;
    *node = Some(theirs.node);
    let admit = || match network.upgrade() {
        Some(network) => network.admit(ours, &theirs),
        None => Err(Refusal::Silent),
    };
    if let Err(refusal) = admit() {
        refuse(stream, &refusal).await;
        return Err(refusal);
    }
    welcome(stream, ours).await?;
    confirmed(stream, rest).await?;
    // Meanwhile this side's own dial may have come through.
    let version = admit()?;
    Ok((theirs, version))
}
