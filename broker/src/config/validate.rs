//! What values must be together. Each alone was checked against its row when it was read.

use std::collections::BTreeSet;

use super::error::{Error, Problem};
use super::{Address, Config, Key, keys};

impl Config {
    /// Whether a broker can run with this.
    ///
    /// # Errors
    /// [`Error::Invalid`] with everything that is wrong, not only the first.
    pub fn validate(&self) -> Result<(), Error> {
        let mut problems = Vec::new();
        let mut problem = |key, text: String| problems.push(Problem { key, text });
        self.check_ranges(&mut problem);
        self.check_identity(&mut problem);
        self.check_seeds(&mut problem);
        self.check_listeners(&mut problem);
        self.check_sizes(&mut problem);
        self.check_waits(&mut problem);
        if problems.is_empty() {
            return Ok(());
        }
        let place = |problem: &Problem| keys().position(|key| key.name == problem.key);
        problems.sort_by_key(place);
        Err(Error::Invalid { problems })
    }

    /// A value that a program set, not a source, has not met its row yet.
    fn check_ranges(&self, problem: &mut impl FnMut(&'static str, String)) {
        let base = Self::default();
        let changed = |key: &&Key| self.get(key.name) != base.get(key.name);
        for key in keys().filter(changed) {
            let text = self.get(key.name);
            let mut copy = base.clone();
            let node = copy.node.set(key.name, &text);
            if let Err(what) = node.and_then(|_| copy.cluster.set(key.name, &text)) {
                problem(key.name, format!("'{text}' {what}"));
            }
        }
    }

    fn check_identity(&self, problem: &mut impl FnMut(&'static str, String)) {
        if self.node.node_id == 0 {
            let text = "must be set: a number from 1 on, another one on every node";
            problem("node.id", text.to_owned());
        }
        if self.node.data_dir.as_os_str().is_empty() {
            problem(
                "data.dir",
                "must be set: an empty directory, or this node's own".to_owned(),
            );
        }
    }

    fn check_seeds(&self, problem: &mut impl FnMut(&'static str, String)) {
        let mut nodes = BTreeSet::new();
        let mut addresses = BTreeSet::new();
        for seed in &self.node.cluster_seeds {
            if seed.node.0 < 1 {
                problem(
                    "cluster.seeds",
                    format!("'{seed}': a node id is at least 1"),
                );
            }
            if !nodes.insert(seed.node) {
                problem(
                    "cluster.seeds",
                    format!("node {} is there twice", seed.node),
                );
            }
            if !addresses.insert(seed.address.to_string()) {
                problem(
                    "cluster.seeds",
                    format!("the address {} is there twice", seed.address),
                );
            }
            if seed.address.is_wildcard() {
                problem(
                    "cluster.seeds",
                    format!("'{seed}' is a wildcard, not an address to dial"),
                );
            }
        }
    }

    fn check_listeners(&self, problem: &mut impl FnMut(&'static str, String)) {
        let node = &self.node;
        let listeners = [
            ("listener.kafka", &node.listener_kafka),
            ("listener.peer", &node.listener_peer),
            ("listener.admin", &node.listener_admin),
        ];
        for (at, (key, address)) in listeners.into_iter().enumerate() {
            if !address.is_loopback() && !node.insecure {
                let text = format!(
                    "{address} is reachable from other machines, without TLS or authentication: use a loopback \
                     address, or allow it with --insecure"
                );
                problem(key, text);
            }
            let twin = listeners[..at]
                .iter()
                .find(|(_, other)| clash(address, other));
            if let Some((other, _)) = twin {
                problem(
                    key,
                    format!("{address} is taken by {other}: choose another port"),
                );
            }
        }
        check_advertised(
            "advertised.kafka",
            &node.advertised_kafka,
            &node.listener_kafka,
            problem,
        );
        // NB: a node alone has nobody to tell its peer address to.
        if !node.cluster_seeds.is_empty() {
            check_advertised(
                "advertised.peer",
                &node.advertised_peer,
                &node.listener_peer,
                problem,
            );
        }
    }

    fn check_sizes(&self, problem: &mut impl FnMut(&'static str, String)) {
        let (node, cluster) = (&self.node, &self.cluster);
        let entry = cluster.entry_max_bytes;
        if !cluster.segment_bytes.is_multiple_of(64 << 10) {
            problem("segment.size", "must be a multiple of 64 KiB".to_owned());
        }
        if node.log_bytes_max != 0 && node.log_bytes_max < 8 * cluster.segment_bytes {
            problem(
                "log.max",
                "must be at least 8 of segment.size, or 0".to_owned(),
            );
        }
        // As the log has it: what one node has accepted every other one can store.
        if entry * 4 > cluster.segment_bytes {
            problem(
                "entry.max",
                "must be at most a quarter of segment.size".to_owned(),
            );
        }
        if u64::from(node.message_max_bytes) > entry {
            problem(
                "message.max.bytes",
                format!("must be at most entry.max ({entry} bytes)"),
            );
        }
        if node.message_max_bytes > node.request_max_bytes {
            problem(
                "message.max.bytes",
                "must be at most socket.request.max.bytes".to_owned(),
            );
        }
        if node.peer_frame_max_bytes < entry + (1 << 20) {
            problem(
                "peer.frame.max",
                "must be at least entry.max and 1 MiB more".to_owned(),
            );
        }
        if node.peer_queue_max_bytes < node.peer_frame_max_bytes {
            problem(
                "peer.queue.max",
                "must be at least peer.frame.max".to_owned(),
            );
        }
        if node.request_memory_bytes < u64::from(node.message_max_bytes) {
            problem(
                "request.memory.size",
                "must be at least message.max.bytes".to_owned(),
            );
        }
    }

    fn check_waits(&self, problem: &mut impl FnMut(&'static str, String)) {
        let node = &self.node;
        if node.formation_retry_max_ms < node.formation_retry_min_ms {
            problem(
                "formation.retry.max",
                "must be at least formation.retry.min".to_owned(),
            );
        }
        if node.peer_retry_max_ms < node.peer_retry_min_ms {
            problem(
                "peer.retry.max",
                "must be at least peer.retry.min".to_owned(),
            );
        }
        if node.group_session_timeout_max_ms < node.group_session_timeout_min_ms {
            let text = "must be at least group.min.session.timeout.ms".to_owned();
            problem("group.max.session.timeout.ms", text);
        }
        if node.group_consumer_heartbeat_interval_ms >= node.group_consumer_session_timeout_ms {
            let text = "must be below group.consumer.session.timeout.ms".to_owned();
            problem("group.consumer.heartbeat.interval.ms", text);
        }
    }
}

fn clash(a: &Address, b: &Address) -> bool {
    a.port != 0 && a.port == b.port && (a.host == b.host || a.is_wildcard() || b.is_wildcard())
}

fn check_advertised(
    key: &'static str,
    advertised: &Option<Address>,
    listener: &Address,
    problem: &mut impl FnMut(&'static str, String),
) {
    match advertised {
        Some(address) if address.is_wildcard() || address.port == 0 => {
            problem(
                key,
                format!("{address} is no address that anybody could connect to"),
            );
        }
        None if listener.is_wildcard() => {
            problem(
                key,
                format!("must be set, because the listener {listener} is a wildcard"),
            );
        }
        _ => {}
    }
}
