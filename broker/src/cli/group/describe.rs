//! `walser group describe`: one group, its members, its offsets.

use std::collections::BTreeMap;

use protocol::error_code::ErrorCode;
use protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use protocol::wire::Str;
use serde_json::{Value, json};

use super::assignment;
use super::consumers;
use super::offsets::{self, Committed, Place};
use super::told::Admin;
use crate::cli::Target;
use crate::cli::client::Cluster;
use crate::cli::exit::{Exit, Failure, Result};
use crate::cli::output::{self, Format, Table, column, wide};
use crate::http::{GroupView, OffsetView};

/// A group as its coordinator describes it.
pub struct Look {
    /// Its name.
    pub name: String,
    /// The node that answered.
    pub coordinator: i32,
    /// What it said.
    pub described: DescribedGroup,
}

/// A group with its offsets.
pub struct View {
    /// The group.
    pub look: Look,
    /// A row for each partition that is committed or assigned.
    pub rows: Vec<Row>,
    /// What its coordinator says beyond Kafka's protocol; None where nobody could be asked.
    pub told: Option<GroupView>,
}

/// One partition of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where.
    pub place: Place,
    /// None when nothing is committed.
    pub committed: Option<Committed>,
    /// The partition's end; None when its leader could not be asked.
    pub end: Option<i64>,
    /// The member that reads it: its id.
    pub member: Option<String>,
    /// That member's client id.
    pub client: Option<String>,
}

impl View {
    /// The age of the first record that is not committed, where known.
    fn seconds(&self, place: &Place) -> Option<f64> {
        let mut offsets = self.told.iter().flat_map(|told| &told.offsets);
        let is_it = |at: &&OffsetView| (at.topic.as_str(), at.partition) == (&place.0, place.1);
        offsets.find(is_it)?.lag_seconds
    }
}

impl Row {
    /// Records between what is committed and the end.
    pub fn lag(&self) -> Option<i64> {
        let committed = self.committed.as_ref()?.offset;
        Some((self.end? - committed).max(0))
    }
}

impl Look {
    /// What is not allowed while members are there.
    pub fn check_empty(&self, verb: &str) -> Result<()> {
        let members = self.described.members.len();
        if members == 0 && *self.described.group_state == *"Empty" {
            return Ok(());
        }
        let state = &self.described.group_state;
        let message = format!(
            "cannot {verb} group {}: it has {members} members and is {state}",
            self.name
        );
        Err(Failure::new(message)
            .next("stop its consumers first; a crashed one leaves after its session timeout"))
    }
}

/// Asks the coordinator. A group that is not there is an error.
pub async fn look(cluster: &mut Cluster, name: &str) -> Result<Look> {
    let request = DescribeGroupsRequest {
        groups: vec![Str::from(name)],
        include_authorized_operations: false,
    };
    let code = |answer: &DescribeGroupsResponse| {
        let nothing = ErrorCode::CoordinatorNotAvailable.code();
        answer.groups.first().map_or(nothing, |g| g.error_code)
    };
    let answer = cluster.coordinated(name, &request, code).await?;
    let coordinator = cluster.coordinator(name).await?;
    if code(&answer) == ErrorCode::GroupIdNotFound.code()
        && let Some(described) = consumers::look(cluster, name).await?
    {
        let name = name.to_owned();
        return Ok(Look {
            name,
            coordinator,
            described,
        });
    }
    if code(&answer) != 0 {
        let described = answer.groups.first();
        let message = described.and_then(|group| group.error_message.as_deref());
        let failure = Failure::of_code(code(&answer), message, &format!("group {name}"));
        return Err(failure.next("`walser group list` shows the groups"));
    }
    let described = answer.groups.into_iter().next();
    let described = described
        .ok_or_else(|| Failure::new(format!("nothing was answered about group {name}")))?;
    Ok(Look {
        name: name.to_owned(),
        coordinator,
        described,
    })
}

/// The group with its offsets.
pub async fn view(
    cluster: &mut Cluster,
    target: &Target,
    admin: &Admin,
    name: &str,
) -> Result<View> {
    let look = look(cluster, name).await?;
    let told = admin.group(cluster, target, name).await;
    let committed = offsets::committed(cluster, name).await?;
    let owners = owners(&look.described);
    let mut places: Vec<Place> = committed.keys().chain(owners.keys()).cloned().collect();
    places.sort();
    places.dedup();
    let ends = offsets::at(cluster, &places, offsets::LATEST).await?;
    let row = |place: Place| {
        let owner = owners.get(&place).copied();
        Row {
            committed: committed.get(&place).cloned(),
            end: ends.get(&place).copied().and_then(std::result::Result::ok),
            member: owner.map(|member| member.member_id.to_string()),
            client: owner.map(|member| member.client_id.to_string()),
            place,
        }
    };
    let rows = places.into_iter().map(row).collect();
    Ok(View { look, rows, told })
}

/// Who reads which partition.
fn owners(group: &DescribedGroup) -> BTreeMap<Place, &DescribedGroupMember> {
    let mut owners = BTreeMap::new();
    for member in &group.members {
        for place in assigned(group, member).unwrap_or_default() {
            owners.insert(place, member);
        }
    }
    owners
}

/// What a member reads; None where only its own kind understands it.
fn assigned(group: &DescribedGroup, member: &DescribedGroupMember) -> Option<Vec<Place>> {
    let known = *group.protocol_type == *assignment::CONSUMER;
    known.then(|| assignment::decode(&member.member_assignment))?
}

/// Shows it.
pub async fn run(target: &Target, admin: &Admin, name: &str) -> Result<()> {
    let mut cluster = Cluster::new(target);
    let view = view(&mut cluster, target, admin, name).await?;
    show(&view, target.format)
}

fn show(view: &View, format: Format) -> Result<()> {
    if let Some(data) = format.data(&object(view)) {
        return output::print(&data);
    }
    summary(view).print(format, "groups")?;
    output::print("\n")?;
    members(&view.look.described).print(format, "members")?;
    output::print("\n")?;
    partitions(view).print(format, "offsets")
}

fn object(view: &View) -> Value {
    let group = &view.look.described;
    json!({
        "schema": 1,
        "group": view.look.name,
        "state": &*group.group_state,
        "protocol_type": &*group.protocol_type,
        "protocol": &*group.protocol_data,
        "coordinator": view.look.coordinator,
        "lag": total_lag(&view.rows),
        "lag_seconds": view.told.as_ref().and_then(|told| told.lag_seconds),
        "generation": view.told.as_ref().and_then(|told| told.generation),
        "rebalances": view.told.as_ref().map(|told| told.rebalances),
        "last_rebalance": view.told.as_ref().map(|told| &told.last_rebalance),
        "members": members(group).values(),
        "offsets": partitions(view).values(),
    })
}

/// The lag of all partitions; None when that of one is not known.
pub fn total_lag(rows: &[Row]) -> Option<i64> {
    let committed = rows.iter().filter(|row| row.committed.is_some());
    committed.map(Row::lag).sum()
}

fn summary(view: &View) -> Table {
    let group = &view.look.described;
    let mut table = Table::new(&[
        column("group"),
        column("state"),
        column("protocol"),
        column("members"),
        column("lag"),
        column("lag_seconds"),
        column("coordinator"),
        wide("protocol_type"),
    ]);
    table.row(vec![
        json!(view.look.name),
        json!(&*group.group_state),
        json!(&*group.protocol_data),
        json!(group.members.len()),
        json!(total_lag(&view.rows)),
        json!(view.told.as_ref().and_then(|told| told.lag_seconds)),
        json!(view.look.coordinator),
        json!(&*group.protocol_type),
    ]);
    table
}

fn members(group: &DescribedGroup) -> Table {
    let mut table = Table::new(&[
        column("member"),
        column("client"),
        column("host"),
        column("instance"),
        column("partitions"),
    ]);
    for member in &group.members {
        let assigned = assigned(group, member).map(|places| {
            let places = places.into_iter();
            let names = places.map(|(topic, partition)| format!("{topic}/{partition}"));
            names.collect::<Vec<_>>()
        });
        table.row(vec![
            json!(&*member.member_id),
            json!(&*member.client_id),
            json!(&*member.client_host),
            json!(member.group_instance_id.as_deref()),
            json!(assigned),
        ]);
    }
    table
}

fn partitions(view: &View) -> Table {
    let mut table = Table::new(&[
        column("topic"),
        column("partition"),
        column("committed"),
        column("end"),
        column("lag"),
        column("lag_seconds"),
        column("client"),
        wide("member"),
        wide("leader_epoch"),
        wide("metadata"),
    ]);
    for row in &view.rows {
        let committed = row.committed.as_ref();
        table.row(vec![
            json!(row.place.0),
            json!(row.place.1),
            json!(committed.map(|c| c.offset)),
            json!(row.end),
            json!(row.lag()),
            json!(view.seconds(&row.place)),
            json!(row.client),
            json!(row.member),
            json!(
                committed
                    .map(|c| c.leader_epoch)
                    .filter(|epoch| *epoch >= 0)
            ),
            json!(committed.map(|c| c.metadata.as_str())),
        ]);
    }
    table
}

/// Whether a failure only says that the group is not there.
pub fn is_absent(failure: &Failure) -> bool {
    failure.exit == Exit::NotFound
}
