//! Families of the groups of consumers that this node coordinates. A group whose coordinator moves, moves with its rows.

// Prometheus has no other numbers than f64: what is above 2^53 is rounded.
#![allow(clippy::cast_precision_loss)]

use super::families::Families;
use crate::coordinator::reply::GroupStateName;
use crate::lag::Lag;
use crate::metrics::node::{ConsumerGroupMetrics, ConsumerMetrics};

/// A family with a row per group: name, help, and the row's value.
type OfConsumers = (&'static str, &'static str, fn(&Lag) -> Option<f64>);

/// Writes them.
pub fn write(metrics: &ConsumerMetrics, out: &mut Families) {
    lags(&metrics.lags, out);
    groups(&metrics.groups, out);
    out.gauge(
        "walser_group_rows_left_out",
        "What has no rows here because there is too much of it: groups, and offsets of groups.",
    )
    .row(&[("of", "groups")], metrics.groups_left_out)
    .row(&[("of", "offsets")], metrics.lags_left_out)
    .end();
}

fn lags(lags: &[(String, Lag)], out: &mut Families) {
    let gauges: [OfConsumers; 2] = [
        (
            "walser_group_lag_records",
            "Records between a group's committed offset and the high watermark. No row while unknown.",
            |lag| lag.records.map(|records| records as f64),
        ),
        (
            "walser_group_lag_seconds",
            "Age of the first record that a group has not committed, 0 without one. No row while unknown.",
            |lag| lag.seconds,
        ),
    ];
    for (name, help, value) in gauges {
        let known = lags
            .iter()
            .filter_map(|(group, lag)| Some((group, lag, value(lag)?)));
        out.gauge(name, help)
            .each(known, |family, (group, lag, value)| {
                let partition = lag.partition.to_string();
                let labels = [
                    ("group", group.as_str()),
                    ("topic", lag.topic.as_str()),
                    ("partition", partition.as_str()),
                ];
                family.value(&labels, value)
            })
            .end();
    }
}

fn groups(groups: &[ConsumerGroupMetrics], out: &mut Families) {
    out.gauge("walser_group_members", "Members of a group.")
        .each(groups, |family, group| {
            family.row(&[("group", group.name.as_str())], group.members)
        })
        .end();
    out.counter(
        "walser_group_rebalances_total",
        "Rebalances of a group that began under this coordinator.",
    )
    .each(groups, |family, group| {
        family.row(&[("group", group.name.as_str())], group.rebalances)
    })
    .end();
    out.gauge(
        "walser_group_state",
        "1 in the row of the state that a group is in.",
    )
    .each(groups, |family, group| {
        family.each(GroupStateName::ALL, |family, state| {
            let labels = [("group", group.name.as_str()), ("state", state.name())];
            family.row(&labels, u64::from(group.state == state))
        })
    })
    .end();
}
