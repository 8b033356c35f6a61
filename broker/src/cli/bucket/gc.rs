//! `walser bucket gc` and `walser snapshot gc`: what nobody needs goes out of a store.

use clap::Args;
use serde_json::{Value, json};
use snapshot::collect::{self, Collected};
use snapshot::key::Key;
use snapshot::store::Store;

use super::super::exit::{Exit, Failure, Result};
use super::super::output::{Format, Table, column, print};
use super::super::time::now_ms;
use super::exit_of;
use crate::config::kind::{DAY, Kind, Value as _};
use crate::snapshots::sweep::{self, Swept, Wanted, What};

/// What stays, where no cluster says it.
#[derive(Clone, Copy, Debug, Args)]
pub struct Keep {
    /// So many snapshots of each partition stay, besides newer ones: as far as `walser restore --at` can go back.
    #[arg(long, default_value_t = 3, value_name = "SNAPSHOTS", value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
    /// What is younger stays: 90s, 2h, 7d. Longer than any snapshot or read takes.
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = grace_ms)]
    grace: i64,
}

/// How it is done.
#[derive(Clone, Copy, Debug, Args)]
pub struct How {
    /// Only show what would go.
    #[arg(long)]
    pub dry_run: bool,
    /// Name every object, not only how many there are. JSON and YAML always do.
    #[arg(long)]
    pub verbose: bool,
}

impl Keep {
    /// As a cluster has it configured.
    pub(in crate::cli) fn configured(keep: u32, grace_ms: i64) -> Self {
        Self {
            keep,
            grace: grace_ms,
        }
    }
}

fn grace_ms(text: &str) -> std::result::Result<i64, String> {
    let kind = Kind::Millis {
        min: 100,
        max: 365 * DAY,
    };
    i64::parse(&kind, text)
}

/// Runs it.
pub(in crate::cli) async fn run(
    store: &dyn Store,
    keep: Keep,
    how: How,
    format: Format,
) -> Result<()> {
    let wanted = Wanted {
        keep: usize::try_from(keep.keep).unwrap_or(usize::MAX),
        grace_ms: keep.grace,
        dry_run: how.dry_run,
    };
    let swept = sweep::sweep(store, wanted, now_ms()).await;
    let swept = swept.map_err(|why| failed(&why))?;
    print(&render(&swept, how, format))?;
    let Some(first) = swept.problems.first() else {
        return Ok(());
    };
    let sweep::Problem {
        topic,
        partition,
        why,
    } = first;
    let count = swept.problems.len();
    let why =
        format!("nothing was removed of {count} partitions, as of {topic}/{partition}: {why}");
    Err(Failure::with(Exit::Corruption, why)
        .next("`walser bucket verify` names everything that is damaged or missing"))
}

/// An object, and why it goes.
struct Gone<'a> {
    key: &'a Key,
    why: &'static str,
    of: Option<String>,
}

fn gone(swept: &Swept) -> impl Iterator<Item = Gone<'_>> {
    swept.collected.iter().flat_map(|(what, collected)| {
        collected.deleted.iter().map(|key| Gone {
            key,
            why: why(what, key),
            of: match what {
                What::Partition(topic, partition) => Some(format!("{topic}/{partition}")),
                What::Metadata | What::DeletedTopics | What::Tails => None,
            },
        })
    })
}

fn why(what: &What, key: &Key) -> &'static str {
    match what {
        What::Partition(..) if key.as_str().contains("/manifests/") => "newer snapshots are kept",
        What::Partition(..) => "no snapshot that is kept names it",
        What::Metadata => "newer metadata is kept",
        What::DeletedTopics => "its topic is deleted",
        What::Tails => "newer objects hold all of it",
    }
}

fn render(swept: &Swept, how: How, format: Format) -> String {
    let sum = |count: &dyn Fn(&Collected) -> u64| -> u64 {
        swept.collected.iter().map(|(_, of)| count(of)).sum()
    };
    let (objects, bytes) = (sum(&|of| of.deleted.len() as u64), sum(&|of| of.bytes));
    let young = sum(&|of| of.young);
    // Who looks for deleted topics sees all of them, also those that are counted with a partition.
    let of_all = swept.collected.iter().map(|(_, of)| of.unknown);
    let unknown = of_all.max().unwrap_or(0);
    let mut table = Table::new(&[column("why"), column("partition"), column("key")]);
    for Gone { key, why, of } in gone(swept) {
        table.row(vec![json!(why), json!(of), json!(key)]);
    }
    let summary = json!({
        "schema": 1,
        "cluster": swept.life.cluster_id,
        "incarnation": swept.life.incarnation.0,
        "dry_run": how.dry_run,
        "objects": objects,
        "bytes": bytes,
        "young": young,
        "unknown": unknown,
        "gone": table.values(),
        "not_collected": problems(swept),
    });
    if let Some(data) = format.data(&summary) {
        return data;
    }
    let mut text = match (how.verbose, objects) {
        (_, 0) => String::new(),
        (true, _) => table.render(format, "gone"),
        (false, _) => sums(swept).render(format, "gone"),
    };
    let went = match how.dry_run {
        true => "would be removed",
        false => "were removed",
    };
    text += &format!(
        "{objects} objects with {bytes} bytes {went}; {young} stay for being young or in the making, \
         {unknown} for having a name that is not of this format\n"
    );
    text
}

fn sums(swept: &Swept) -> Table {
    let mut table = Table::new(&[column("what"), column("objects"), column("bytes")]);
    for (what, collected) in &swept.collected {
        if collected.deleted.is_empty() {
            continue;
        }
        let what = match what {
            What::Partition(topic, partition) => format!("{topic}/{partition}: replaced snapshots"),
            What::Metadata => "replaced metadata of the cluster".to_owned(),
            What::DeletedTopics => "deleted topics".to_owned(),
            What::Tails => "tails that newer objects hold".to_owned(),
        };
        let objects = collected.deleted.len();
        table.row(vec![json!(what), json!(objects), json!(collected.bytes)]);
    }
    table
}

fn problems(swept: &Swept) -> Value {
    let one = |problem: &sweep::Problem| {
        let sweep::Problem {
            topic,
            partition,
            why,
        } = problem;
        json!({ "partition": format!("{topic}/{partition}"), "why": why.to_string() })
    };
    Value::Array(swept.problems.iter().map(one).collect())
}

fn failed(why: &sweep::Error) -> Failure {
    use snapshot::{cluster, owner, tail};
    match why {
        sweep::Error::Store(inner)
        | sweep::Error::Owner(owner::Error::Store(inner))
        | sweep::Error::Cluster(cluster::Error::Store(inner))
        | sweep::Error::Collect(
            collect::Error::Store(inner) | collect::Error::Tail(tail::Error::Store(inner)),
        ) => Failure::with(exit_of(inner), why.to_string()),
        sweep::Error::NoMetadata(_) | sweep::Error::Collect(collect::Error::Superseded(_)) => {
            Failure::new(why.to_string()).next("run it again when the restore has ended")
        }
        sweep::Error::Owner(_)
        | sweep::Error::Cluster(_)
        | sweep::Error::State(_)
        | sweep::Error::Collect(_) => Failure::with(Exit::Corruption, why.to_string())
            .next("`walser bucket verify` names everything that is damaged or missing"),
    }
}
