//! One small record into each partition: whoever leads it, it serves.

use super::client::{Client, Cluster, Topic};
use super::{TIMEOUT_MS, single_record};
use crate::error::{Error, Result};
use protocol::messages::ProduceRequest;
use protocol::messages::produce::{PartitionProduceData, TopicProduceData};
use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

const PRODUCE_VERSION: i16 = 7;
/// There is no event for "this leader serves now": it has to be tried.
const RETRY: Duration = Duration::from_millis(2);

/// Produces until a record is acknowledged in every partition; brokers that cannot be reached, or do not know yet that
/// they lead, are asked again.
///
/// # Errors
/// When that takes longer than `patience`.
pub(crate) fn prime(
    cluster: &Cluster,
    name: &str,
    partitions: i32,
    patience: Duration,
) -> Result<Topic> {
    let mut due: BTreeSet<i32> = (0..partitions).collect();
    let began = Instant::now();
    loop {
        let known = cluster.topic(name);
        for (leader, led) in known.iter().flat_map(|topic| &topic.by_leader) {
            let asked: Vec<i32> = led.iter().copied().filter(|p| due.contains(p)).collect();
            if !asked.is_empty() {
                // Refused, not there yet, or gone again: the same to who asks again.
                let acked = produce(leader, name, &asked).unwrap_or_default();
                acked.iter().for_each(|partition| {
                    due.remove(partition);
                });
            }
        }
        match known {
            Ok(topic) if due.is_empty() => return Ok(topic),
            _ if began.elapsed() < patience => thread::sleep(RETRY),
            _ => {
                return Err(Error::Cluster(format!(
                    "{name}: {} of {partitions} partitions take no record after {patience:?}",
                    due.len()
                )));
            }
        }
    }
}

/// The partitions in which a record was acknowledged.
fn produce(leader: &str, name: &str, partitions: &[i32]) -> Result<Vec<i32>> {
    let data = |partition: &i32| PartitionProduceData {
        index: *partition,
        records: Some(single_record()),
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: TIMEOUT_MS,
        topic_data: vec![TopicProduceData {
            name: name.into(),
            partition_data: partitions.iter().map(data).collect(),
        }],
        ..ProduceRequest::default()
    };
    let answer = Client::connect(leader)?.call(&request, PRODUCE_VERSION)?;
    let answers = answer.responses.iter().flat_map(|t| &t.partition_responses);
    let acked = answers.filter(|partition| partition.error_code == 0);
    Ok(acked.map(|partition| partition.index).collect())
}
