//! Sequences of requests of consumer groups with the answers of a real Apache Kafka, which ours have to equal.
//!
//! - [`text`] is how they are written, in `tests/sequences`; [`value`] the values in them.
//! - [`schema`] and [`codec`] write any request in any version, and read its answer.
//! - [`play`] plays one, [`render`] makes text of what came, with names for what is random.
//! - [`judge`] compares.
//!
//! What is for humans only (error messages) is compared by whether it is there. Who joined first is not left to
//! chance: a sequence waits until the group's state shows what the next step rests on.

pub mod codec;
pub mod judge;
pub mod names;
pub mod play;
pub mod render;
pub mod schema;
#[cfg(test)]
mod tests;
pub mod text;
pub mod value;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::cluster::{Cluster, Options};
use crate::wait::wait_for;
use crate::wire::Connection;
use crate::wire::groups::find_coordinator;
use play::{Answers, Stage};
use text::{File, Sequence};
use value::Value;

/// Most of the time a sequence waits for the broker's clock.
const AT_ONCE: usize = 32;

/// The topics that the sequences commit to, and their partitions.
const TOPICS: [(&str, i32); 2] = [("things", 2), ("others", 1)];

/// What became of a sequence.
#[derive(Debug)]
pub struct Played<'a> {
    /// Where it is from.
    pub file: &'a File,
    /// Which.
    pub sequence: &'a Sequence,
    /// What the broker answered.
    pub answers: Result<Answers, String>,
}

/// All files, by name.
pub fn files() -> Vec<File> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sequences");
    let listed = std::fs::read_dir(&folder).expect("the folder of sequences");
    let mut paths: Vec<PathBuf> = listed
        .map(|file| file.expect("the folder of sequences").path())
        .collect();
    paths.sort();
    paths.iter().map(|path| File::read(path)).collect()
}

/// A broker whose timeouts are short enough for a test, the same for ours and Kafka's.
pub fn options() -> Options {
    let lines = [
        "group.initial.rebalance.delay.ms = 1000",
        "group.min.session.timeout.ms = 100",
        "group.max.size = 3",
        "offsets.topic.num.partitions = 1",
    ];
    Options {
        extra: lines.map(str::to_owned).into(),
        ..Options::default()
    }
}

/// The ids of the topics, by the names that they have in sequences.
fn topic_ids(stage: &Stage) -> Result<HashMap<String, Value>, String> {
    let within = Duration::from_secs(10);
    let mut connection = Connection::open(&stage.address, within).map_err(|e| e.to_string())?;
    let all = Value::Struct(vec![("topics".to_owned(), Value::Null)]);
    let answer = play::ask(stage, &mut connection, "Metadata", 12, &all)?;
    let id = |topic: &Value| match (topic.get("name")?, topic.get("topic_id")?) {
        (Value::Text(name), id) => {
            Some((format!("{}.id", String::from_utf8_lossy(name)), id.clone()))
        }
        _ => None,
    };
    match answer.get("topics") {
        Some(Value::List(topics)) => Ok(topics.iter().filter_map(id).collect()),
        _ => Err(format!("no topics in {answer:?}")),
    }
}

/// Plays all of them against the only broker of a cluster.
pub fn play_all<'a>(cluster: &Cluster, files: &'a [File]) -> Vec<Played<'a>> {
    for (topic, partitions) in TOPICS {
        cluster.create_topic(topic, partitions, &[]);
    }
    let mut stage = Stage {
        apis: schema::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/messages")),
        address: cluster.node(1).kafka(),
        variables: HashMap::new(),
    };
    stage.variables = topic_ids(&stage).unwrap_or_else(|why| cluster.fail(&why));
    let coordinates = wait_for(
        "a coordinator",
        Duration::from_secs(60),
        Duration::from_millis(50),
        || {
            let mut connection = Connection::open(&stage.address, Duration::from_secs(10)).ok()?;
            let found = find_coordinator(&mut connection, "first").ok()?;
            play::describe(&stage, &mut connection, "first").ok()?;
            (found.0 == 0).then_some(())
        },
    );
    coordinates.unwrap_or_else(|late| cluster.fail(&late.to_string()));
    let all: Vec<(&File, &Sequence)> = files
        .iter()
        .flat_map(|file| file.sequences.iter().map(move |sequence| (file, sequence)))
        .collect();
    let (next, played) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((file, sequence)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let answers = play::play(&stage, sequence);
                    let one = Played {
                        file,
                        sequence,
                        answers,
                    };
                    played.lock().expect("nobody panics with it").push(one);
                }
            });
        }
    });
    let mut played = played.into_inner().expect("nobody panics with it");
    played.sort_by(|one, other| one.sequence.name.cmp(&other.sequence.name));
    played
}
