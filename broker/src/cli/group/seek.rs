//! `walser group seek`: what is committed is moved, while nobody reads.

use std::collections::BTreeMap;

use protocol::error_code::ErrorCode;
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use protocol::wire::Str;
use serde_json::json;

use super::describe;
use super::offsets::{self, Committed, EARLIEST, LATEST, Place};
use super::position::{Position, Selection};
use crate::cli::Target;
use crate::cli::client::Cluster;
use crate::cli::exit::{Exit, Failure, Result};
use crate::cli::output::{Table, column, confirm, wide};

/// Whether to change anything, and whether that was said already.
#[derive(Clone, Copy, Debug)]
pub struct Consent {
    /// Change nothing.
    pub dry_run: bool,
    /// Do not ask.
    pub yes: bool,
}

/// One partition's move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Where.
    pub place: Place,
    /// What is committed; None for nothing.
    pub before: Option<i64>,
    /// What will be.
    pub after: i64,
    /// The first offset that is there, and the end.
    pub range: (i64, i64),
}

/// Runs it.
pub async fn run(
    target: &Target,
    group: &str,
    to: Position,
    topics: &[Selection],
    consent: Consent,
) -> Result<()> {
    let mut cluster = Cluster::new(target);
    match describe::look(&mut cluster, group).await {
        Ok(look) => look.check_empty("move")?,
        // Offsets of named topics make the group.
        Err(absent) if describe::is_absent(&absent) && !topics.is_empty() => {}
        Err(failure) => return Err(failure),
    }
    let committed = offsets::committed(&mut cluster, group).await?;
    let places = places(&mut cluster, &committed, topics).await?;
    if places.is_empty() {
        let message = format!("group {group} has committed nothing");
        return Err(Failure::with(Exit::NotFound, message).next("name topics with --topic"));
    }
    let moves = plan(&mut cluster, &committed, places, to).await?;
    let summary = summary(group, &moves);
    eprintln!("{summary}");
    let mut failed = BTreeMap::new();
    if !consent.dry_run {
        confirm(consent.yes, &summary)?;
        cluster.extend(target.wait());
        failed = commit(&mut cluster, group, &moves).await?;
    }
    table(&moves, &failed, consent.dry_run).print(target.format, "offsets")?;
    let Some((place, code)) = failed.iter().next() else {
        return Ok(());
    };
    let what = format!("group {group}, {}/{}", place.0, place.1);
    let mut failure = Failure::of_code(*code, None, &what);
    if failed.len() < moves.len() {
        failure.exit = Exit::Partial;
    }
    Err(failure)
}

/// The partitions that are meant.
async fn places(
    cluster: &mut Cluster,
    committed: &BTreeMap<Place, Committed>,
    topics: &[Selection],
) -> Result<Vec<Place>> {
    if topics.is_empty() {
        return Ok(committed.keys().cloned().collect());
    }
    let mut places = Vec::new();
    for selection in topics {
        let topic = cluster.topic(&selection.topic).await?;
        let mut numbers: Vec<i32> = topic.partitions.iter().map(|p| p.partition_index).collect();
        if let Some(partition) = selection.partition {
            numbers.retain(|number| *number == partition);
            if numbers.is_empty() {
                let message = format!("topic {} has no partition {partition}", selection.topic);
                return Err(Failure::with(Exit::NotFound, message));
            }
        }
        places.extend(numbers.into_iter().map(|p| (selection.topic.clone(), p)));
    }
    places.sort();
    places.dedup();
    Ok(places)
}

async fn plan(
    cluster: &mut Cluster,
    committed: &BTreeMap<Place, Committed>,
    places: Vec<Place>,
    to: Position,
) -> Result<Vec<Move>> {
    let starts = known(cluster, &places, EARLIEST).await?;
    let ends = known(cluster, &places, LATEST).await?;
    let times = match to {
        Position::Time(ms) => known(cluster, &places, ms).await?,
        _ => BTreeMap::new(),
    };
    let plan = |place: Place| {
        let before = committed.get(&place).map(|c| c.offset);
        let range = (starts[&place], ends[&place]);
        let of_time = times.get(&place).copied().filter(|offset| *offset >= 0);
        Move {
            after: to.resolve(before, range, of_time),
            before,
            range,
            place,
        }
    };
    Ok(places.into_iter().map(plan).collect())
}

/// Offsets of all these, once every one has a leader that tells it.
async fn known(cluster: &mut Cluster, places: &[Place], time: i64) -> Result<BTreeMap<Place, i64>> {
    loop {
        let found = offsets::at(cluster, places, time).await?;
        let missing = found
            .iter()
            .find_map(|(place, offset)| offset.err().map(|code| (place, code)));
        match missing {
            Some(((topic, partition), code)) => {
                let what = format!("topic {topic} partition {partition}");
                // A committed offset may be of a topic that is gone: that does not pass.
                if code == ErrorCode::UnknownTopicOrPartition.code() {
                    return Err(Failure::of_code(code, None, &what));
                }
                cluster.pause(&what, code, None).await?;
            }
            None => {
                let known = found.into_iter();
                return Ok(known.filter_map(|(p, o)| Some((p, o.ok()?))).collect());
            }
        }
    }
}

/// What a person has to know before saying yes.
pub fn summary(group: &str, moves: &[Move]) -> String {
    let by = |m: &Move| m.after - m.before.unwrap_or(m.after);
    let back: i64 = moves.iter().map(by).filter(|by| *by < 0).sum();
    let skipped: i64 = moves.iter().map(by).filter(|by| *by > 0).sum();
    format!(
        "group {group}: {} offsets move, {} records will be read again, {skipped} skipped",
        moves.iter().filter(|m| m.before != Some(m.after)).count(),
        -back,
    )
}

/// Commits, and tells what was refused.
async fn commit(
    cluster: &mut Cluster,
    group: &str,
    moves: &[Move],
) -> Result<BTreeMap<Place, i16>> {
    let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
    for m in moves {
        if topics.last().is_none_or(|topic| *topic.name != *m.place.0) {
            topics.push(OffsetCommitRequestTopic {
                name: Str::from(m.place.0.as_str()),
                ..Default::default()
            });
        }
        let topic = topics.last_mut().expect("just pushed");
        topic.partitions.push(OffsetCommitRequestPartition {
            partition_index: m.place.1,
            committed_offset: m.after,
            committed_leader_epoch: -1,
            committed_metadata: None,
        });
    }
    // Generation and member of one who is no member: refused as soon as there is one.
    let request = OffsetCommitRequest {
        group_id: Str::from(group),
        topics,
        ..Default::default()
    };
    let any = |answer: &OffsetCommitResponse| {
        let mut rows = answer.topics.iter().flat_map(|topic| &topic.partitions);
        rows.find(|row| row.error_code != 0)
            .map_or(0, |row| row.error_code)
    };
    let answer = cluster.coordinated(group, &request, any).await?;
    let mut failed = BTreeMap::new();
    for topic in &answer.topics {
        for row in topic.partitions.iter().filter(|row| row.error_code != 0) {
            failed.insert(
                (topic.name.to_string(), row.partition_index),
                row.error_code,
            );
        }
    }
    Ok(failed)
}

fn table(moves: &[Move], failed: &BTreeMap<Place, i16>, dry_run: bool) -> Table {
    let mut table = Table::new(&[
        column("topic"),
        column("partition"),
        column("before"),
        column("after"),
        column("lag"),
        column("moved"),
        wide("start"),
        wide("end"),
    ]);
    for m in moves {
        let (start, end) = m.range;
        table.row(vec![
            json!(m.place.0),
            json!(m.place.1),
            json!(m.before),
            json!(m.after),
            json!(end - m.after),
            json!(!dry_run && !failed.contains_key(&m.place)),
            json!(start),
            json!(end),
        ]);
    }
    table
}
