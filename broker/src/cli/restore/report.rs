//! What is restored, for people and programs.

use serde_json::{Value, json};
use snapshot::source::Incarnation;

use super::refused;
use crate::cli::exit::Result;
use crate::cli::output::{Format, Table, column, print, wide};
use crate::coordinator::rebirth::{Clamped, Dropped, Lost};
use crate::restore::{Plan, Reborn};

/// See the module.
pub(super) struct Report {
    partitions: Table,
    lost: Lost,
    /// Topics that stay where they are.
    left: Vec<String>,
    from: String,
    topics: usize,
    records: i64,
    deleted: usize,
    /// Of the oldest and of the newest snapshot, in ms before now.
    ages_ms: Option<(i64, i64)>,
    /// Of the new life, when it is done.
    pub(super) restored: Option<Incarnation>,
}

/// What a plan restores.
pub(super) fn planned(plan: &Plan, now_ms: i64) -> Result<Report> {
    let mut partitions = Table::new(&[
        column("topic"),
        column("partition"),
        column("log_start"),
        column("end"),
        column("snapshot_age_seconds"),
        wide("topic_id"),
        wide("manifest"),
    ]);
    let rebirth = plan.rebirth(0, now_ms);
    let (mut lost, mut records, mut ages) = (Lost::default(), 0, Vec::new());
    for topic in &plan.topics {
        for partition in &topic.partitions {
            let reborn = Reborn::new(topic, partition, plan.life.incarnation, &rebirth);
            let reborn = reborn.map_err(|why| refused(&why))?;
            let found = partition.manifest.as_ref();
            let age = partition.created_ms().map(|at| now_ms - at);
            records += reborn.manifest.next_offset - reborn.manifest.log_start;
            ages.extend(age);
            partitions.row(vec![
                json!(topic.topic.name),
                json!(partition.source.partition),
                json!(reborn.manifest.log_start),
                json!(reborn.manifest.next_offset),
                json!(age.map(|ms| ms / 1000)),
                json!(topic.topic.id),
                json!(found.map(|found| found.key())),
            ]);
            lost.clamped.extend(reborn.lost.clamped);
            lost.dropped.extend(reborn.lost.dropped);
        }
    }
    Ok(Report {
        partitions,
        lost,
        left: plan.left.iter().map(|topic| topic.name.clone()).collect(),
        from: plan.life.cluster_id.clone(),
        topics: plan.topics.len(),
        records,
        deleted: plan.deleted,
        ages_ms: ages.iter().max().copied().zip(ages.iter().min().copied()),
        restored: None,
    })
}

impl Report {
    pub(super) fn print(&self, format: Format) -> Result<()> {
        match format.data(&self.value()) {
            Some(data) => print(&data),
            None => {
                self.partitions.print(format, "partitions")?;
                print(&self.text())
            }
        }
    }

    fn value(&self) -> Value {
        json!({
            "schema": 1,
            "from_cluster": self.from,
            "incarnation": self.restored.map(|incarnation| incarnation.0),
            "topics": self.topics,
            "offsets": self.records,
            "deleted_topics": self.deleted,
            "oldest_snapshot_age_seconds": self.ages_ms.map(|(oldest, _)| oldest / 1000),
            "newest_snapshot_age_seconds": self.ages_ms.map(|(_, newest)| newest / 1000),
            "partitions": self.partitions.values(),
            "clamped": self.lost.clamped,
            "dropped_offsets": self.lost.dropped,
            "left_topics": self.left,
        })
    }

    fn text(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        let mut line =
            |words: String| writeln!(text, "{words}").expect("writing to memory does not fail");
        for Clamped {
            group,
            topic,
            partition,
            from,
            to,
        } in &self.lost.clamped
        {
            line(format!(
                "group {group}: {topic}/{partition} goes back from {from} to {to}, the end"
            ));
        }
        for Dropped {
            group,
            topic,
            partitions,
        } in &self.lost.dropped
        {
            line(format!(
                "group {group}: its offsets in {partitions} partitions of {topic}, which is not restored, are dropped"
            ));
        }
        if !self.left.is_empty() {
            let left = self.left.join(", ");
            line(format!("not restored, and left in the store: {left}"));
        }
        if let Some((oldest, newest)) = self.ages_ms {
            let (oldest, newest) = (oldest / 1000, newest / 1000);
            line(format!(
                "the snapshots are {newest} to {oldest} s old; what a partition got after its own is not in it"
            ));
        }
        let Self {
            topics,
            records,
            deleted,
            from,
            ..
        } = self;
        let what = format!(
            "{topics} topics of cluster {from} with {records} offsets; {deleted} deleted topics stay deleted"
        );
        match self.restored {
            None => line(format!("would restore {what}")),
            Some(incarnation) => line(format!(
                "restored {what}; this is incarnation {}",
                incarnation.0
            )),
        }
        text
    }
}
