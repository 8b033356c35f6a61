//! `walser group`: list, describe, seek, delete, why.

mod assignment;
mod consumers;
mod describe;
mod offsets;
mod position;
mod seek;
#[cfg(test)]
mod tests;
mod told;
mod why;

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use protocol::error_code::ErrorCode;
use protocol::messages::delete_groups::DeleteGroupsRequest;
use protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};
use protocol::wire::Str;
use serde_json::json;

use super::Target;
use super::client::Cluster;
use super::exit::{Exit, Failure, Result};
use super::output::{Table, Watch, column, confirm, wide};
use position::{Position, Selection};
use told::Admin;

/// List, describe, move, delete consumer groups.
#[derive(Debug, Args)]
pub struct Group {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// All groups of all coordinators.
    List {
        /// Only groups in these states: Stable, Empty, PreparingRebalance, CompletingRebalance; of the consumer
        /// protocol also Assigning, Reconciling.
        #[arg(long, value_delimiter = ',')]
        state: Vec<String>,
        #[command(flatten)]
        admin: Admin,
        #[command(flatten)]
        target: Target,
    },
    /// Show the members, what they are assigned, committed offsets and lag.
    Describe {
        /// Its name.
        name: String,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        admin: Admin,
        #[command(flatten)]
        target: Target,
    },
    /// Move the committed offsets of a group without members.
    Seek {
        /// Its name.
        name: String,
        /// Where to: start, end, an offset N, +N or -N from what is committed, @TIME (milliseconds, or
        /// 2026-01-31T12:00:00Z).
        #[arg(long, allow_hyphen_values = true)]
        to: Position,
        /// Only these: TOPIC or TOPIC/PARTITION. May be repeated. All that is committed when left out.
        #[arg(short, long = "topic", value_name = "TOPIC[/PARTITION]")]
        topics: Vec<Selection>,
        /// Show before and after, change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Delete groups without members, and all their offsets.
    Delete {
        /// Their names.
        #[arg(required = true)]
        names: Vec<String>,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
        /// Show what would be deleted.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Say in one line why a group is as it is, and who began its last rebalance.
    Why {
        /// Its name.
        name: String,
        #[command(flatten)]
        admin: Admin,
        #[command(flatten)]
        target: Target,
    },
}

impl Group {
    /// Runs it.
    pub async fn run(self) -> Result<()> {
        match self.verb {
            Verb::List {
                state,
                admin,
                target,
            } => list(&target, &admin, &state).await,
            Verb::Describe {
                name,
                watch,
                admin,
                target,
            } => {
                watch
                    .run(async || describe::run(&target, &admin, &name).await)
                    .await
            }
            Verb::Seek {
                name,
                to,
                topics,
                dry_run,
                yes,
                target,
            } => {
                let consent = seek::Consent { dry_run, yes };
                seek::run(&target, &name, to, &topics, consent).await
            }
            Verb::Delete {
                names,
                yes,
                dry_run,
                target,
            } => delete(&target, &names, yes, dry_run).await,
            Verb::Why {
                name,
                admin,
                target,
            } => why::run(&target, &admin, &name).await,
        }
    }
}

async fn list(target: &Target, admin: &Admin, states: &[String]) -> Result<()> {
    let mut cluster = Cluster::new(target);
    let brokers = cluster.metadata(Some(&[])).await?.brokers;
    let request = ListGroupsRequest {
        states_filter: states.iter().map(|s| Str::from(s.as_str())).collect(),
        types_filter: Vec::new(),
    };
    let columns = [
        column("group"),
        column("state"),
        column("type"),
        column("protocol_type"),
        column("lag"),
        wide("coordinator"),
    ];
    let mut rows = Vec::new();
    let mut lost = None;
    for broker in &brokers {
        match list_of(&mut cluster, broker.node_id, &request).await {
            Ok(answer) => rows.extend(answer.groups.into_iter().map(|g| (g, broker.node_id))),
            Err(failure) => lost = Some((broker.node_id, failure)),
        }
    }
    rows.sort_by(|(a, _), (b, _)| a.group_id.cmp(&b.group_id));
    let told = admin.groups(&mut cluster, target).await;
    let lines = told.into_iter().flat_map(|view| view.groups);
    let lags: BTreeMap<String, Option<i64>> =
        lines.map(|line| (line.group, line.lag_records)).collect();
    let mut table = Table::new(&columns);
    for (group, coordinator) in &rows {
        table.row(vec![
            json!(&*group.group_id),
            json!(&*group.group_state),
            json!(&*group.group_type),
            json!(&*group.protocol_type),
            json!(lags.get(&*group.group_id)),
            json!(coordinator),
        ]);
    }
    table.print(target.format, "groups")?;
    match lost {
        None => Ok(()),
        Some((node, failure)) => {
            let message = format!("the groups of node {node} are missing: {}", failure.message);
            Err(Failure::with(Exit::Partial, message)
                .next("try again; `walser node list` shows who is there"))
        }
    }
}

/// The groups of one broker, once it has loaded them.
async fn list_of(
    cluster: &mut Cluster,
    node: i32,
    request: &ListGroupsRequest,
) -> Result<ListGroupsResponse> {
    loop {
        let answer = cluster.node(node, request).await?;
        if answer.error_code == 0 {
            return Ok(answer);
        }
        let what = format!("groups of node {node}");
        cluster.pause(&what, answer.error_code, None).await?;
    }
}

async fn delete(target: &Target, names: &[String], yes: bool, dry_run: bool) -> Result<()> {
    let mut cluster = Cluster::new(target);
    let mut doomed = Vec::new();
    for name in names {
        let group = describe::look(&mut cluster, name).await?;
        group.check_empty("delete")?;
        let count = offsets::committed(&mut cluster, name).await?.len();
        doomed.push(format!("{name} ({count} committed offsets)"));
    }
    let doomed = doomed.join(", ");
    eprintln!("the offsets of {doomed}");
    if !dry_run {
        confirm(yes, &format!("deleting {doomed}"))?;
        cluster.extend(target.wait());
        for name in names {
            delete_one(&mut cluster, name).await?;
        }
    }
    let mut table = Table::new(&[column("group"), column("deleted")]);
    for name in names {
        table.row(vec![json!(name), json!(!dry_run)]);
    }
    table.print(target.format, "groups")
}

async fn delete_one(cluster: &mut Cluster, name: &str) -> Result<()> {
    let request = DeleteGroupsRequest {
        groups_names: vec![Str::from(name)],
    };
    let nothing = ErrorCode::CoordinatorNotAvailable.code();
    let answer = cluster
        .coordinated(name, &request, |answer| {
            answer.results.first().map_or(nothing, |r| r.error_code)
        })
        .await?;
    match answer.results.first().map_or(nothing, |r| r.error_code) {
        0 => Ok(()),
        code => Err(Failure::of_code(code, None, &format!("group {name}"))),
    }
}
