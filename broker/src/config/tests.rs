use std::io::Write as _;

use raft::types::NodeId;

use super::*;

fn sources(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> (Sources, tempfile::NamedTempFile) {
    let mut handle = tempfile::NamedTempFile::new().unwrap();
    handle.write_all(file.as_bytes()).unwrap();
    let own = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let sources = Sources {
        file: Some(handle.path().to_owned()),
        environment: own(environment),
        flags: own(flags),
    };
    (sources, handle)
}

fn load(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, Error> {
    let (sources, _handle) = sources(file, environment, flags);
    Config::load(&sources)
}

const MINIMAL: &str = "node.id = 1\ndata.dir = '/tmp/x'\n";

fn refused(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    let error = load(&format!("{MINIMAL}{file}"), environment, flags).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let file = "node.id = 2\ndata.dir = '/f'\nnum.partitions = 3\nmessage.max.bytes = '2 MiB'\n";
    let environment = [
        ("WALSER_NODE_ID", "4"),
        ("WALSER_NUM_PARTITIONS", "5"),
        ("HOME", "/root"),
    ];
    let config = load(file, &environment, &[("--node-id", "6")]).unwrap();
    assert_eq!(config.node.node_id, 6);
    assert_eq!(config.node.num_partitions, 5);
    assert_eq!(config.node.message_max_bytes, 2 << 20);
    assert_eq!(config.node.shutdown_max_ms, 30_000);
    let source = |key| config.explain(key).unwrap().source;
    assert_eq!(source("node.id"), "flag --node-id");
    assert_eq!(
        source("num.partitions"),
        "environment variable WALSER_NUM_PARTITIONS"
    );
    assert!(source("message.max.bytes").starts_with("file /"));
    assert_eq!(source("shutdown.max"), "default");
    let explained = config.explain("num.partitions").unwrap();
    assert_eq!(
        (explained.value.as_str(), explained.default.as_str()),
        ("5", "1")
    );
    assert!(explained.doc.contains("Partitions of a topic"));
}

#[test]
fn a_typo_names_the_nearest_key() {
    let text = refused("mesage.max.bytes = 5\n", &[], &[]);
    assert!(
        text.contains("'mesage.max.bytes'") && text.contains("'message.max.bytes'"),
        "{text}"
    );
    let text = refused("", &[("WALSER_NUM_PARTITONS", "5")], &[]);
    assert!(
        text.contains("did you mean 'WALSER_NUM_PARTITIONS'"),
        "{text}"
    );
    let text = refused("", &[], &[("--num-partitoins", "5")]);
    assert!(text.contains("did you mean 'num.partitions'"), "{text}");
    let text = refused("[nonsense]\n", &[], &[]);
    assert!(
        text.contains("'nonsense'") && !text.contains("did you mean"),
        "{text}"
    );
    let text = refused("[peer]\nfoo = {}\n", &[], &[]);
    assert!(text.contains("'peer.foo'"), "{text}");
    assert!(
        Config::default()
            .explain("nod.id")
            .unwrap_err()
            .to_string()
            .contains("'node.id'")
    );
}

#[test]
fn kubernetes_service_variables_are_not_ours() {
    let environment = [
        ("WALSER_SERVICE_HOST", "10.0.0.1"),
        ("WALSER_PORT", "tcp://10.0.0.1:9092"),
        ("WALSER_PORT_9092_TCP_ADDR", "10.0.0.1"),
        ("WALSER_HEADLESS_SERVICE_PORT_KAFKA", "9092"),
        ("WALSER_CONFIG", "/etc/walser.toml"),
    ];
    load(MINIMAL, &environment, &[]).unwrap();
}

#[test]
fn units_of_sizes_and_times() {
    let file =
        format!("{MINIMAL}shutdown.max = '5 s'\nretention.ms = '2h'\nretention.bytes = '10GiB'\n");
    let config = load(&file, &[("WALSER_PEER_RETRY_MAX", "1500")], &[]).unwrap();
    assert_eq!(config.node.shutdown_max_ms, 5000);
    assert_eq!(config.node.retention_ms, 7_200_000);
    assert_eq!(config.node.retention_bytes, 10 << 30);
    assert_eq!(config.node.peer_retry_max_ms, 1500);
    for (line, reason) in [
        ("shutdown.max = '5 lightyears'", "unknown unit 'lightyears'"),
        ("shutdown.max = '-5 s'", "must be from 0 to 1 h"),
        ("shutdown.max = 1.5", "unknown unit"),
        ("num.partitions = 0", "must be from 1 to 100000"),
        ("num.partitions = '3 KiB'", "must be a plain number"),
        ("message.max.bytes = '9999999999 GiB'", "is too large"),
        ("message.max.bytes = ''", "is not a number"),
        ("insecure = 'yes'", "must be true or false"),
        (
            "election.profile = 'fast'",
            "must be one of default, low-latency, wan",
        ),
        ("num.partitions = 1979-05-27", "must be count"),
        ("num.partitions = {a = 1}", "must be count"),
        ("num.partitions = 1\n\"num.partitions\" = 2", "given twice"),
        ("num.partitions = 1\n[num]\n", "valid TOML"),
    ] {
        let text = refused(&format!("{line}\n"), &[], &[]);
        assert!(text.contains(reason), "{line}: {text}");
    }
}

#[test]
fn every_value_survives_its_own_text() {
    for config in [Config::default(), Config::dev(), Config::tiny()] {
        for key in keys() {
            let text = config.get(key.name);
            if key.name == "node.id" && text == "0" {
                continue;
            }
            let mut copy = Config::default();
            let known = copy.node.set(key.name, &text).unwrap()
                || copy.cluster.set(key.name, &text).unwrap();
            assert!(known);
            assert_eq!(copy.get(key.name), text, "{}", key.name);
        }
    }
}

#[test]
fn names_can_be_told_apart_in_every_source() {
    let names: Vec<&str> = keys().map(|key| key.name).collect();
    for (at, a) in names.iter().enumerate() {
        for b in names.iter().skip(at + 1) {
            assert_ne!(a, b);
            let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
            assert!(
                !long.starts_with(&format!("{short}.")),
                "{short} and {long} clash in TOML"
            );
        }
        assert!(a.chars().all(|c| c.is_ascii_lowercase() || c == '.'), "{a}");
    }
    assert!(keys().all(|key| !of_service(key) && key.text().ends_with('.')));
}

fn of_service(key: &Key) -> bool {
    key.environment().ends_with("_PORT") || key.environment().contains("_SERVICE_")
}

#[test]
fn what_must_be_set() {
    let text = load("", &[], &[]).unwrap_err().to_string();
    assert!(
        text.contains("node.id: must be set") && text.contains("data.dir: must be set"),
        "{text}"
    );
}

#[test]
fn seeds() {
    let file = format!("{MINIMAL}cluster.seeds = ['1@127.0.0.1:9193', '2@[::1]:9193']\n");
    let config = load(&file, &[], &[]).unwrap();
    assert_eq!(config.node.cluster_seeds[1].node, NodeId(2));
    assert_eq!(
        config.node.cluster_seeds[1].address,
        Address::new("::1", 9193)
    );
    let swapped = load(
        MINIMAL,
        &[("WALSER_CLUSTER_SEEDS", "2@[::1]:9193,1@127.0.0.1:9193")],
        &[],
    );
    assert_eq!(
        swapped.unwrap().node.seeds_fingerprint(),
        config.node.seeds_fingerprint()
    );
    assert_ne!(
        Config::default().node.seeds_fingerprint(),
        config.node.seeds_fingerprint()
    );
    for (seeds, reason) in [
        ("0@h:1", "at least 1"),
        ("-3@h:1", "at least 1"),
        ("x@h:1", "not a number"),
        ("h:1", "must be id@host:port"),
        ("1@h", "must be host:port"),
        ("1@h:0", "real port"),
        ("1@h:65536", "no valid port"),
        ("1@h:+5", "no valid port"),
        ("1@:5", "no valid host"),
        ("1@a b:5", "no valid host"),
        ("1@::1:5", "in brackets"),
        ("1@[nope]:5", "no IPv6 address"),
        ("1@0.0.0.0:5", "wildcard"),
        ("1@a:1, 1@b:1", "node 1 is there twice"),
        ("1@a:1, 2@a:1", "the address a:1 is there twice"),
    ] {
        let text = refused("", &[("WALSER_CLUSTER_SEEDS", seeds)], &[]);
        assert!(text.contains(reason), "{seeds}: {text}");
    }
}

#[test]
fn listeners_beyond_loopback_need_insecure() {
    for address in [
        "0.0.0.0:9092",
        "10.0.0.1:9092",
        "broker.example:9092",
        "[::]:9092",
    ] {
        let line = format!("listener.kafka = '{address}'\n");
        let text = refused(&line, &[], &[]);
        assert!(
            text.contains("listener.kafka") && text.contains("--insecure"),
            "{text}"
        );
    }
    for address in [
        "127.0.0.1:9092",
        "127.8.0.1:1",
        "localhost:9092",
        "[::1]:9092",
    ] {
        load(
            &format!("{MINIMAL}listener.kafka = '{address}'\n"),
            &[],
            &[],
        )
        .unwrap();
    }
    let line = "listener.kafka = '0.0.0.0:9092'\n";
    let text = refused(line, &[], &[("--insecure", "true")]);
    assert!(text.contains("advertised.kafka: must be set"), "{text}");
    let text = refused(
        &format!("{line}advertised.kafka = '0.0.0.0:9092'\n"),
        &[],
        &[("insecure", "true")],
    );
    assert!(
        text.contains("advertised.kafka: 0.0.0.0:9092 is no address"),
        "{text}"
    );
    let good = format!("{MINIMAL}{line}advertised.kafka = 'broker.example:9092'\n");
    let config = load(&good, &[], &[("insecure", "true")]).unwrap();
    assert_eq!(
        config.node.kafka_address().to_string(),
        "broker.example:9092"
    );
    let text = refused("listener.admin = '127.0.0.1:9092'\n", &[], &[]);
    assert!(text.contains("taken by listener.kafka"), "{text}");
}

#[test]
fn assignors_are_named_once_each() {
    let config = |text: &str| {
        let file = format!("{MINIMAL}group.consumer.assignors = {text}\n");
        load(&file, &[], &[]).map(|config| config.node.group_consumer_assignors.to_string())
    };
    assert_eq!(config("'range'").unwrap(), "range");
    assert_eq!(config("' range,uniform'").unwrap(), "range, uniform");
    for (value, why) in [
        ("sticky", "'sticky' is none of them"),
        ("uniform,", "'' is none of them"),
        ("", "'' is none of them"),
        ("range, range", "has range twice"),
    ] {
        let text = refused(&format!("group.consumer.assignors = '{value}'\n"), &[], &[]);
        let named = text.contains(&format!("group.consumer.assignors = '{value}'"));
        assert!(named && text.contains(why), "{text}");
    }
}

#[test]
fn sizes_that_do_not_fit_together() {
    for (line, key) in [
        ("message.max.bytes = '40 MiB'", "message.max.bytes"),
        ("segment.size = '64 MiB'", "entry.max"),
        ("segment.size = 268435457", "segment.size"),
        ("peer.frame.max = '16 MiB'", "peer.frame.max"),
        ("peer.queue.max = '16 MiB'", "peer.queue.max"),
        ("peer.retry.max = 1", "peer.retry.max"),
        ("formation.retry.max = 1", "formation.retry.max"),
    ] {
        let text = refused(&format!("{line}\n"), &[], &[]);
        assert!(
            text.contains(&format!("  {key}: must be")),
            "{line}: {text}"
        );
    }
    let mut config = Config::tiny();
    config.node.data_dir = "/tmp/x".into();
    config.validate().unwrap();
    config.node.num_partitions = -1;
    let text = config.validate().unwrap_err().to_string();
    assert!(
        text.contains("num.partitions: '-1' must be from 1"),
        "{text}"
    );
}

#[test]
fn the_fingerprint_is_of_the_cluster_part_only() {
    let mut config = Config::default();
    let before = config.cluster.fingerprint();
    config.node.num_partitions = 7;
    assert_eq!(config.cluster.fingerprint(), before);
    config.cluster.segment_bytes *= 2;
    assert_ne!(config.cluster.fingerprint(), before);
}

#[test]
fn memory_follows_the_machine_unless_set() {
    let mut config = load(MINIMAL, &[("WALSER_TAIL_CACHE_SIZE", "100 MiB")], &[]).unwrap();
    config.fit_memory(1 << 30);
    assert_eq!(config.node.tail_cache_bytes, 100 << 20);
    assert_eq!(config.node.request_memory_bytes, 256 << 20);
    let mut config = Config::default();
    config.fit_memory(1 << 40);
    assert_eq!(config.node.tail_cache_bytes, 256 << 20);
    assert_eq!(config.node.request_memory_bytes, 512 << 20);
}

#[test]
fn a_missing_or_broken_file_is_named() {
    let sources = Sources {
        file: Some("/nonexistent/walser.toml".into()),
        ..Sources::default()
    };
    let text = Config::load(&sources).unwrap_err().to_string();
    assert!(text.contains("/nonexistent/walser.toml"), "{text}");
    let text = load("node.id = = 1", &[], &[]).unwrap_err().to_string();
    assert!(text.contains("not valid TOML"), "{text}");
}

#[test]
fn the_documentation_has_every_key() {
    let table = markdown();
    assert_eq!(table.lines().count(), keys().count() + 2);
    assert!(
        table.contains("| `message.max.bytes` | `1048588` | bytes |"),
        "{table}"
    );
}
