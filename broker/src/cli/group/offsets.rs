//! Committed offsets, and the ends of partitions.

use std::collections::BTreeMap;

use protocol::error_code::ErrorCode;
use protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse,
};
use protocol::wire::Str;

use crate::cli::client::Cluster;
use crate::cli::exit::{Failure, Result};

/// The next offset to write.
pub const LATEST: i64 = -1;
/// The first offset that is there.
pub const EARLIEST: i64 = -2;

/// A topic's partition.
pub type Place = (String, i32);

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read.
    pub offset: i64,
    /// -1 for unknown.
    pub leader_epoch: i32,
    /// The client's own words.
    pub metadata: String,
}

/// All that a group has committed.
pub async fn committed(cluster: &mut Cluster, group: &str) -> Result<BTreeMap<Place, Committed>> {
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: Str::from(group),
            topics: None,
            ..Default::default()
        }],
        require_stable: true,
        ..Default::default()
    };
    let code = |answer: &OffsetFetchResponse| {
        let nothing = ErrorCode::CoordinatorNotAvailable.code();
        answer.groups.first().map_or(nothing, |g| g.error_code)
    };
    let answer = cluster.coordinated(group, &request, code).await?;
    if code(&answer) != 0 {
        let what = format!("offsets of group {group}");
        return Err(Failure::of_code(code(&answer), None, &what));
    }
    let mut found = BTreeMap::new();
    for topic in answer.groups.iter().flat_map(|group| &group.topics) {
        for row in &topic.partitions {
            let place = (topic.name.to_string(), row.partition_index);
            if row.error_code != 0 {
                let what = format!("offset of group {group} in {}/{}", place.0, place.1);
                return Err(Failure::of_code(row.error_code, None, &what));
            }
            if row.committed_offset >= 0 {
                let committed = Committed {
                    offset: row.committed_offset,
                    leader_epoch: row.committed_leader_epoch,
                    metadata: row.metadata.as_deref().unwrap_or_default().to_owned(),
                };
                found.insert(place, committed);
            }
        }
    }
    Ok(found)
}

/// The offsets at one time (or [`LATEST`], [`EARLIEST`]) of all these partitions, or the code that stood in the way.
pub async fn at(
    cluster: &mut Cluster,
    places: &[Place],
    time: i64,
) -> Result<BTreeMap<Place, std::result::Result<i64, i16>>> {
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    let mut found: BTreeMap<Place, _> = places.iter().map(|p| (p.clone(), Err(unknown))).collect();
    for (leader, asked) in by_leader(cluster, places, &mut found).await? {
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: asked.iter().map(|place| topic(place, time)).collect(),
            ..Default::default()
        };
        let answer = match cluster.node(leader, &request).await {
            Ok(answer) => answer,
            Err(_) => {
                let gone = ErrorCode::LeaderNotAvailable.code();
                found.extend(asked.into_iter().map(|place| (place, Err(gone))));
                continue;
            }
        };
        for topic in &answer.topics {
            for row in &topic.partitions {
                let place = (topic.name.to_string(), row.partition_index);
                let offset = match row.error_code {
                    0 => Ok(row.offset),
                    code => Err(code),
                };
                found.insert(place, offset);
            }
        }
    }
    Ok(found)
}

fn topic(place: &Place, timestamp: i64) -> ListOffsetsTopic {
    ListOffsetsTopic {
        name: Str::from(place.0.as_str()),
        partitions: vec![ListOffsetsPartition {
            partition_index: place.1,
            timestamp,
            ..Default::default()
        }],
    }
}

/// The partitions by their leader. What is unknown or has none gets its code.
async fn by_leader(
    cluster: &mut Cluster,
    places: &[Place],
    found: &mut BTreeMap<Place, std::result::Result<i64, i16>>,
) -> Result<BTreeMap<i32, Vec<Place>>> {
    let mut topics: Vec<&str> = places.iter().map(|(topic, _)| topic.as_str()).collect();
    topics.sort_unstable();
    topics.dedup();
    let mut leaders = BTreeMap::new();
    if topics.is_empty() {
        return Ok(leaders);
    }
    let metadata = cluster.metadata(Some(&topics)).await?;
    for topic in &metadata.topics {
        let name = topic.name.as_deref().unwrap_or_default();
        for row in &topic.partitions {
            let place = (name.to_owned(), row.partition_index);
            if !found.contains_key(&place) {
                continue;
            }
            if row.leader_id < 0 {
                found.insert(place, Err(ErrorCode::LeaderNotAvailable.code()));
            } else {
                let of_leader: &mut Vec<Place> = leaders.entry(row.leader_id).or_default();
                of_leader.push(place);
            }
        }
    }
    Ok(leaders)
}
