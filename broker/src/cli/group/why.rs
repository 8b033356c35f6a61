//! `walser group why`: the cause in one line.

use serde_json::json;

use super::describe::{self, Row, View, total_lag};
use super::told::{self, Admin};
use crate::cli::Target;
use crate::cli::client::Cluster;
use crate::cli::exit::{Exit, Failure, Result};
use crate::cli::output;
use crate::coordinator::{OFFSETS_TOPIC, partition_of};

/// Runs it.
pub async fn run(target: &Target, admin: &Admin, name: &str) -> Result<()> {
    let mut cluster = Cluster::new(target);
    if let Some(reason) = no_coordinator(&mut cluster, name).await? {
        return Err(Failure::with(Exit::Unreachable, reason).next(format!(
            "`walser topic describe {OFFSETS_TOPIC}` shows its replicas"
        )));
    }
    let view = describe::view(&mut cluster, target, admin, name).await?;
    let rebalance = view.told.as_ref().and_then(told::rebalance);
    let reason = [Some(reason(&view)), rebalance];
    let reason = reason.into_iter().flatten().collect::<Vec<_>>().join("; ");
    let object = json!({
        "schema": 1,
        "group": name,
        "state": &*view.look.described.group_state,
        "reason": reason,
        "last_rebalance": view.told.as_ref().map(|told| &told.last_rebalance),
    });
    if let Some(data) = target.format.data(&object) {
        return output::print(&data);
    }
    output::print(&format!("group {name}: {reason}\n"))
}

/// What keeps the group from having a coordinator. Creates nothing.
async fn no_coordinator(cluster: &mut Cluster, name: &str) -> Result<Option<String>> {
    let metadata = cluster.metadata(Some(&[OFFSETS_TOPIC])).await?;
    let topic = metadata.topics.iter().find(|topic| topic.error_code == 0);
    let Some(topic) = topic else {
        let message = format!("group {name}: there have never been groups in this cluster");
        return Err(Failure::with(Exit::NotFound, message));
    };
    let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    let number = partition_of(name, count);
    let row = topic
        .partitions
        .iter()
        .find(|p| p.partition_index == number);
    Ok(row.filter(|row| row.leader_id < 0).map(|row| {
        let list = |nodes: &[i32]| {
            let words: Vec<_> = nodes.iter().map(ToString::to_string).collect();
            words.join(", ")
        };
        format!(
            "group {name} has no coordinator: nobody leads {OFFSETS_TOPIC}/{number}, its replicas are on nodes {}, \
             of which {} are not heard",
            list(&row.replica_nodes),
            if row.offline_replicas.is_empty() {
                "none".to_owned()
            } else {
                list(&row.offline_replicas)
            },
        )
    }))
}

/// The cause, from what can be seen.
pub fn reason(view: &View) -> String {
    let members = view.look.described.members.len();
    let node = view.look.coordinator;
    match &*view.look.described.group_state {
        "PreparingRebalance" => format!(
            "rebalances: node {node} waits for its {members} members to join again, each at most for its rebalance \
             timeout (max.poll.interval.ms)"
        ),
        "CompletingRebalance" => {
            format!(
                "rebalances: {members} members have joined, the leader among them has not assigned yet"
            )
        }
        "Assigning" => format!(
            "its {members} members are to get new assignments, with the next heartbeat of any"
        ),
        "Reconciling" => format!(
            "goes over to new assignments: of its {members} members one has not given up what another is to get, at \
             most for its rebalance timeout (max.poll.interval.ms)"
        ),
        "Empty" => format!("nobody reads: it has no members, {}", progress(&view.rows)),
        state => format!(
            "{} with {members} members, {}",
            state.to_lowercase(),
            progress(&view.rows)
        ),
    }
}

/// How far it is, and what is in the way.
fn progress(rows: &[Row]) -> String {
    let name = |row: &Row| format!("{}/{}", row.place.0, row.place.1);
    if let Some(row) = rows.iter().find(|row| row.end.is_none()) {
        return format!("the leader of {} cannot be asked", name(row));
    }
    let worst = rows.iter().max_by_key(|row| row.lag());
    match (total_lag(rows), worst) {
        (Some(0), _) | (_, None) => "it has read everything".to_owned(),
        (lag, Some(row)) => format!(
            "lag {}, most of it in {} ({})",
            lag.unwrap_or(0),
            name(row),
            match &row.client {
                Some(client) => format!("read by {client}"),
                None => "read by nobody".to_owned(),
            }
        ),
    }
}
