//! What brokers say of the replicas of a topic: what is in the snapshot store, and what is left in their logs.

use crate::error::{Error, Result};
use crate::probe;
use crate::stage::Stage;
use serde::Deserialize;

/// A replica, as `/status` shows it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Replica {
    topic: String,
    pub(super) partition: i32,
    role: String,
    /// First offset that retention has left.
    pub(super) log_start_offset: i64,
    /// First offset that is in the log here.
    pub(super) local_start_offset: i64,
    /// Live bytes of it in the log.
    pub(super) log_bytes: u64,
    snapshot: Option<Snapshot>,
    /// The broker that said so.
    #[serde(skip)]
    pub(super) node: u16,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Snapshot {
    next_offset: i64,
}

#[derive(Deserialize)]
struct Status {
    groups: Vec<Replica>,
}

impl Replica {
    pub(super) fn is_leader(&self) -> bool {
        self.role == "leader"
    }

    /// First offset that the newest snapshot does not hold.
    pub(super) fn stored_end(&self) -> i64 {
        self.snapshot
            .as_ref()
            .map_or(0, |snapshot| snapshot.next_offset)
    }

    #[cfg(test)]
    pub(super) fn test(node: u16, partition: i32, local_start_offset: i64) -> Self {
        Self {
            topic: "t".into(),
            partition,
            role: "follower".into(),
            log_start_offset: 0,
            local_start_offset,
            log_bytes: 0,
            snapshot: None,
            node,
        }
    }
}

/// All replicas of the topic, at all brokers.
pub(super) fn replicas(stage: &Stage, topic: &str) -> Result<Vec<Replica>> {
    let mut all = Vec::new();
    for node in stage.ids() {
        let admin = stage.admin(node);
        let found = parse(&probe::get(admin, "/status")?, topic, node);
        all.extend(found.map_err(|what| Error::Malformed {
            peer: admin.into(),
            what,
        })?);
    }
    Ok(all)
}

fn parse(status: &str, topic: &str, node: u16) -> std::result::Result<Vec<Replica>, String> {
    let status: Status = serde_json::from_str(status).map_err(|e| e.to_string())?;
    let of_topic = status.groups.into_iter().filter(|r| r.topic == topic);
    Ok(of_topic
        .map(|replica| Replica { node, ..replica })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_the_replicas_of_a_topic_and_one_without_offsets_is_none() {
        let group = |topic: &str| {
            format!(
                r#"{{"topic":"{topic}","partition":3,"role":"leader","log_start_offset":5,"local_start_offset":7,
                     "log_bytes":9,"snapshot":{{"next_offset":12}},"term":1}}"#
            )
        };
        let status = format!(r#"{{"groups":[{},{}]}}"#, group("t"), group("u"));
        let found = parse(&status, "t", 2).unwrap();
        let [replica] = &found[..] else {
            panic!("{found:?}");
        };
        assert!(replica.is_leader());
        assert_eq!((replica.node, replica.partition), (2, 3));
        assert_eq!((replica.local_start_offset, replica.log_bytes), (7, 9));
        assert_eq!(replica.stored_end(), 12);
        let without = status.replace("\"log_bytes\":9,", "");
        assert!(parse(&without, "t", 2).is_err());
    }
}
