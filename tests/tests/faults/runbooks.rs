//! The runbooks of the snapshot store, carried out: every command in them, as it is written, does what they say.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

use super::snapshots::{files_below, walser};
use super::*;
use tests::cluster::walser::unstored_ms;
use tests::wait::wait_for;
use tests::wire::batch::Batch;
use tests::wire::{Connection, groups, requests};

const STORE: &str = "snapshot-store.md";
const CLUSTER: &str = "restore-cluster.md";
const TOPIC: &str = "restore-topic.md";
const GROUP: &str = "readers";

/// A command of a runbook, and what it says.
struct Said {
    book: &'static str,
    command: &'static str,
    fact: &'static str,
}

const fn said(book: &'static str, command: &'static str, fact: &'static str) -> Said {
    Said {
        book,
        command,
        fact,
    }
}

/// While the cluster runs.
const RUNNING: &[Said] = &[
    said(
        STORE,
        "walser config explain snapshot.store",
        "snapshot.store",
    ),
    said(
        STORE,
        "walser topic alter hello -c local.retention.bytes=1073741824 -b ADDRESS",
        "hello  true",
    ),
    said(STORE, "walser snapshot list --admin ADMIN", "SNAPSHOT-END"),
    said(
        STORE,
        "walser snapshot create hello/0 --admin ADMIN",
        "hello  0          0          0            3 ",
    ),
    said(
        STORE,
        "walser snapshot describe hello/0 --admin ADMIN",
        "FIRST-OFFSET  END  RAW-BYTES",
    ),
    said(
        STORE,
        "walser snapshot verify --admin ADMIN",
        "read the newest snapshots of 1 partitions with 1 chunks",
    ),
    said(
        STORE,
        "walser snapshot verify hello --admin ADMIN",
        "read the newest snapshots of 1 partitions with 1 chunks",
    ),
    said(
        STORE,
        "walser snapshot verify --heal --admin ADMIN",
        "read the newest snapshots of 1 partitions with 1 chunks",
    ),
    said(
        STORE,
        "walser partition verify hello/0 --admin ADMIN",
        "with store: 1 members of chunks",
    ),
    said(
        STORE,
        "walser bucket verify URL",
        "read 1 manifests, 1 chunks and ",
    ),
    said(STORE, "walser bucket ls URL", "owner.json"),
    said(STORE, "walser bucket cat URL KEY", "\"cluster_id\""),
    said(
        STORE,
        "walser snapshot gc --dry-run --admin ADMIN",
        "0 objects with 0 bytes would be removed",
    ),
    said(
        STORE,
        "walser bucket gc URL --dry-run",
        "0 objects with 0 bytes would be removed",
    ),
    said(
        STORE,
        "walser bucket gc URL",
        "0 objects with 0 bytes were removed",
    ),
    said(
        STORE,
        "walser snapshot cut --admin ADMIN",
        "NUMBER  PARTITIONS  HOLD-MS",
    ),
];

/// When it is lost.
const LOST: &[Said] = &[
    said(
        CLUSTER,
        "walser restore --from URL --dry-run",
        "would restore 3 topics of cluster ",
    ),
    said(
        CLUSTER,
        "walser restore --from URL --cut 1 --dry-run",
        "would restore ",
    ),
    said(
        CLUSTER,
        "walser bucket verify URL",
        "read 3 manifests, 2 chunks and ",
    ),
    said(
        TOPIC,
        "walser restore --from URL --topic hello --dry-run",
        "group readers: its offsets in 1 partitions of other, which is not restored, are dropped\n\
         not restored, and left in the store: other\n",
    ),
];

/// In a new cluster, topic by topic.
const TOPICS: &[Said] = &[
    said(
        TOPIC,
        "walser restore --from URL --topic hello --admin ADMIN --yes",
        "restored 2 topics of cluster ",
    ),
    said(
        TOPIC,
        "walser restore --from URL --topic other --admin ADMIN --yes",
        "restored 1 topics of cluster ",
    ),
    said(
        TOPIC,
        "walser group seek GROUP --to TIME --topic other --yes -b ADDRESS",
        "other  0          -       0      3    true",
    ),
];

/// In yet another one, all of them.
const ALL: &[Said] = &[
    said(
        CLUSTER,
        "walser restore --from URL --admin ADMIN --yes",
        "this is incarnation 3",
    ),
    said(
        CLUSTER,
        "walser snapshot list --admin ADMIN --format wide",
        "INCARNATION",
    ),
];

/// In one that has nothing to do with it.
const COPIED: &[Said] = &[
    said(
        TOPIC,
        "walser clone --from URL --topic hello --dry-run",
        "would copy hello of cluster ",
    ),
    said(
        TOPIC,
        "walser clone --from URL --topic hello --as hello-copy --admin ADMIN",
        " as hello-copy, with its offsets",
    ),
    said(
        TOPIC,
        "walser consume hello-copy -o start -e -b ADDRESS",
        "hello 0\nhello 1\nhello 2\n",
    ),
];

/// Every command in an example, and every whole one in a sentence.
fn commands(book: &str) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/runbooks");
    let text = std::fs::read_to_string(root.join(book)).unwrap();
    let examples = text.lines().filter(|line| line.starts_with("    "));
    let examples = examples.map(|line| line.trim().to_owned());
    let spans = text.split('`').skip(1).step_by(2);
    let spans = spans.map(|span| span.replace('\n', " "));
    let all = examples.chain(spans);
    all.filter(|command| command.starts_with("walser "))
        .collect()
}

/// Nobody writes down what is not run here, nor runs what nobody has written down.
#[test]
fn every_command_of_the_stores_runbooks_is_run() {
    for book in [STORE, CLUSTER, TOPIC] {
        let tables = [RUNNING, LOST, TOPICS, ALL, COPIED].into_iter().flatten();
        let run = tables.filter(|said| said.book == book);
        let run: BTreeSet<String> = run.map(|said| said.command.to_owned()).collect();
        assert_eq!(commands(book), run, "{book}");
    }
}

/// Runs them, against the only broker of a cluster where there is one.
fn carry_out(all: &[Said], store: &Path, cluster: Option<&Cluster>) {
    let node = cluster.map(|cluster| cluster.node(1));
    let value = |word: &str| match word {
        "URL" => store.display().to_string(),
        "KEY" => "owner.json".to_owned(),
        "GROUP" => GROUP.to_owned(),
        "TIME" => "start".to_owned(),
        "ADMIN" => node.unwrap().admin(),
        "ADDRESS" => node.unwrap().kafka(),
        own => own.to_owned(),
    };
    for Said {
        book,
        command,
        fact,
    } in all
    {
        let words: Vec<String> = command.split(' ').skip(1).map(value).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ended = walser(&words);
        assert_eq!(ended.status.code(), Some(0), "{book}: {command}: {ended:?}");
        let text = String::from_utf8(ended.stdout).unwrap();
        assert!(text.contains(fact), "{book}: {command}: {text}");
    }
}

fn start(store: &Path) -> Cluster {
    let extra = [
        format!("snapshot.store = \"{}\"", store.display()),
        "snapshot.max.lag = \"1s\"".to_owned(),
        "offsets.topic.num.partitions = 1".to_owned(),
    ];
    Cluster::start(
        1,
        &Options {
            extra: extra.to_vec(),
            ..Options::default()
        },
    )
}

fn connect(cluster: &Cluster) -> Connection {
    Connection::open(&cluster.node(1).kafka(), Duration::from_secs(10)).unwrap()
}

fn await_some<T>(cluster: &Cluster, what: &str, look: impl FnMut() -> Option<T>) -> T {
    let found = wait_for(what, failover(), Duration::from_millis(50), look);
    found.unwrap_or_else(|late| cluster.fail(&late.to_string()))
}

fn commit(cluster: &Cluster, topic: &str, offset: i64) {
    await_some(cluster, "a commit", || {
        // Whoever asks for a coordinator has the topic of the groups made.
        cluster.coordinator(GROUP)?;
        let mut connection = connect(cluster);
        let code = groups::commit(&mut connection, GROUP, (-1, ""), (topic, 0), offset);
        (code.ok()? == 0).then_some(())
    });
}

fn consumed(cluster: &Cluster, topic: &str) -> String {
    let address = cluster.node(1).kafka();
    let all = walser(&["consume", topic, "-e", "-b", &address]);
    assert!(all.status.success(), "{all:?}");
    String::from_utf8(all.stdout).unwrap()
}

/// Waits until the store has everything, and metadata of this life that names these topics and no other.
fn wait_stored(cluster: &Cluster, store: &Path, life: u32, topics: &[&str]) {
    await_some(cluster, "the store to have everything", || {
        (unstored_ms(&cluster.node(1).admin())? == 0).then_some(())
    });
    await_some(cluster, "metadata", || {
        let folder = Some(store.join("metadata")).filter(|folder| folder.is_dir());
        let mut all = files_below(&folder?);
        all.retain(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(&format!("{life:08}-"))
        });
        all.sort();
        let text = std::fs::read_to_string(all.last()?).ok()?;
        let text: serde_json::Value = serde_json::from_str(text.lines().next()?).ok()?;
        let named = text["topics"].as_array()?.iter();
        let named: Vec<&str> = named.filter_map(|topic| topic["name"].as_str()).collect();
        (named == topics).then_some(())
    });
}

fn text_of(topic: &str) -> String {
    (0..3).map(|at| format!("{topic} {at}\n")).collect()
}

#[test]
fn what_the_runbooks_of_the_store_say_is_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let mut old = start(&store);
    for topic in ["hello", "other"] {
        old.create_topic(topic, 1, &[]);
        let text = text_of(topic);
        let lines: Vec<&[u8]> = text.lines().map(str::as_bytes).collect();
        let sent = requests::produce(&mut connect(&old), topic, 0, &Batch::of(&lines).encode());
        assert_eq!(sent.unwrap(), (0, 0));
    }
    commit(&old, "hello", 2);
    commit(&old, "other", 1);
    let topics = ["__consumer_offsets", "hello", "other"];
    wait_stored(&old, &store, 1, &topics);
    carry_out(RUNNING, &store, Some(&old));
    old.kill(1);
    carry_out(LOST, &store, None);

    let mut some = start(&store);
    carry_out(&TOPICS[..1], &store, Some(&some));
    assert_eq!(consumed(&some, "hello"), text_of("hello"));
    let committed = |topic: &str| groups::committed(&mut connect(&some), GROUP, topic, 0);
    assert_eq!(committed("hello").unwrap(), (0, 2));
    assert_eq!(committed("other").unwrap(), (0, -1));
    carry_out(&TOPICS[1..], &store, Some(&some));
    assert_eq!(consumed(&some, "other"), text_of("other"));
    wait_stored(&some, &store, 2, &topics);
    some.kill(1);

    let all = start(&store);
    carry_out(ALL, &store, Some(&all));
    for topic in ["hello", "other"] {
        assert_eq!(consumed(&all, topic), text_of(topic));
    }

    let own = folder.path().join("own");
    let elsewhere = start(&own);
    carry_out(COPIED, &store, Some(&elsewhere));
    expect_undeleted(&elsewhere, &own);
    expect_collected(&elsewhere, &own);
    expect_damage_named(&elsewhere, &own);
}

/// What was deleted comes back out of the own store.
fn expect_undeleted(cluster: &Cluster, store: &Path) {
    wait_stored(cluster, store, 1, &["hello-copy"]);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now_ms = now.unwrap().as_millis().to_string();
    let (address, admin) = (cluster.node(1).kafka(), cluster.node(1).admin());
    let deleted = walser(&["topic", "delete", "hello-copy", "--yes", "-b", &address]);
    assert!(deleted.status.success(), "{deleted:?}");
    wait_stored(cluster, store, 1, &[]);
    let from = store.to_str().unwrap();
    let clone = ["clone", "--from", from, "--topic", "hello-copy"];
    let into = ["--admin", &admin];
    let gone = walser(&[&clone[..], &into].concat());
    assert_eq!(gone.status.code(), Some(3), "{gone:?}");
    let back = walser(&[&clone[..], &into, &["--at", &now_ms]].concat());
    assert!(back.status.success(), "{back:?}");
    assert_eq!(consumed(cluster, "hello-copy"), text_of("hello"));
}

/// What is of the deleted topic goes, beside the running cluster, and nothing of the one that has its name now.
fn expect_collected(cluster: &Cluster, store: &Path) {
    let of_topics = || files_below(&store.join("topics"));
    let before = of_topics();
    let url = store.to_str().unwrap();
    let gc = ["bucket", "gc", url, "--grace", "100ms", "--format", "json"];
    let said = |options: &[&str]| -> serde_json::Value {
        let done = walser(&[&gc[..], options].concat());
        assert!(done.status.success(), "{done:?}");
        serde_json::from_slice(&done.stdout).unwrap()
    };
    let would = said(&["--dry-run"]);
    assert_eq!(of_topics(), before);
    let done = said(&[]);
    assert_eq!(done["gone"], would["gone"]);
    let gone = done["gone"].as_array().unwrap().iter();
    let gone = gone.filter(|one| one["why"] == "its topic is deleted");
    assert_eq!(gone.count(), 2, "a manifest and a chunk: {done}");
    assert_eq!(of_topics().len(), before.len() - 2);
    assert_eq!(consumed(cluster, "hello-copy"), text_of("hello"));
    let sound = walser(&["bucket", "verify", url]);
    assert!(sound.status.success(), "{sound:?}");
}

fn expect_damage_named(cluster: &Cluster, store: &Path) {
    let admin = cluster.node(1).admin();
    let verify = || walser(&["snapshot", "verify", "hello-copy/0", "--admin", &admin]);
    let sound = verify();
    assert!(sound.status.success(), "{sound:?}");
    let is_chunk = |path: &std::path::PathBuf| path.to_str().unwrap().ends_with(".gz");
    let chunk = files_below(&store.join("topics"))
        .into_iter()
        .find(is_chunk);
    let chunk = chunk.unwrap();
    let mut bytes = std::fs::read(&chunk).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&chunk, bytes).unwrap();
    let damaged = verify();
    assert_eq!(damaged.status.code(), Some(11), "{damaged:?}");
    let text = String::from_utf8(damaged.stdout).unwrap();
    let name = chunk.strip_prefix(store).unwrap().to_str().unwrap();
    let row = "damaged  hello-copy  0          0..3     ";
    assert!(text.contains(row) && text.contains(name), "{text}");
}
