#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::codec::{self, Form};
use super::render::Names;
use super::schema::{self, Api};
use super::text::{Ask, File, Step};
use super::value::{Value, quoted};
use super::{files, judge, names};
use crate::cluster::Flavor;

fn apis() -> HashMap<String, Api> {
    schema::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/messages"))
}

fn asks(files: &[File]) -> impl Iterator<Item = &Ask> {
    let sequences = files.iter().flat_map(|file| &file.sequences);
    sequences
        .flat_map(|sequence| &sequence.steps)
        .filter_map(|step| match step {
            Step::Ask(ask) => Some(&**ask),
            Step::Wait(_) | Step::Until(..) | Step::Settle(..) => None,
        })
}

fn value(text: &str) -> Value {
    Value::parse(text).unwrap()
}

fn body(api: &Api, version: i16, fields: &str) -> Result<Vec<u8>, String> {
    let is_flexible = version >= api.flexible;
    let mut out = Vec::new();
    let form = Form {
        version,
        is_flexible,
    };
    codec::encode(form, &api.request, &value(fields), &mut out).map(|()| out)
}

#[test]
fn values_are_read_as_they_are_written() {
    let read = value(r#"{a: [1, -2], b: "q\"\\\x00", c: null, d: true, e: $me, f: {}, g: []}"#);
    assert_eq!(
        read.get("a"),
        Some(&Value::List(vec![Value::Int(1), Value::Int(-2)]))
    );
    assert_eq!(read.get("b"), Some(&Value::Text(b"q\"\\\0".to_vec())));
    assert_eq!(read.get("c"), Some(&Value::Null));
    assert_eq!(read.get("e"), Some(&Value::Variable("me".to_owned())));
    assert_eq!(read.get("z"), None);
    let text = b"\xff \"\\ plain";
    assert_eq!(value(&quoted(text)), Value::Text(text.to_vec()));
    for wrong in [
        "",
        "{a}",
        "{a: 1",
        "[1 2]",
        "\"",
        "\"\\xz0\"",
        "word",
        "1 2",
        "{a: 1 b: 2}",
    ] {
        assert!(Value::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn requests_are_encoded_by_the_version() {
    let all = apis();
    let heartbeat = &all["Heartbeat"];
    let fields = r#"{group_id: "g", generation_id: 1, member_id: "m"}"#;
    let plain = b"\0\x01g\0\0\0\x01\0\x01m";
    assert_eq!(body(heartbeat, 0, fields).unwrap(), plain);
    assert_eq!(
        body(heartbeat, 3, fields).unwrap(),
        [&plain[..], b"\xff\xff"].concat()
    );
    assert_eq!(
        body(heartbeat, 4, fields).unwrap(),
        b"\x02g\0\0\0\x01\x02m\0\0"
    );
    let instance = r#"{group_instance_id: "i"}"#;
    assert!(
        body(heartbeat, 2, instance).is_err(),
        "version 2 has no instances"
    );
    assert!(body(heartbeat, 3, instance).is_ok());
    let fetch = &all["OffsetFetch"];
    let one = r#"{group_id: "g", topics: [{name: "t", partition_indexes: [5]}]}"#;
    let expected = b"\0\x01g\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x05";
    assert_eq!(body(fetch, 1, one).unwrap(), expected);
}

#[test]
fn answers_that_are_too_long_or_too_short_are_found() {
    let all = apis();
    let form = Form {
        version: 1,
        is_flexible: false,
    };
    let decode = |bytes: &[u8]| codec::decode(form, &all["Heartbeat"].response, bytes);
    let whole = decode(&[0, 0, 0, 0, 0, 25]).unwrap();
    assert_eq!(whole.get("error_code"), Some(&Value::Int(25)));
    assert_eq!(names::of(25), "UNKNOWN_MEMBER_ID");
    assert!(decode(&[0, 0, 0, 0, 0]).is_err());
    assert!(decode(&[0, 0, 0, 0, 0, 25, 0]).is_err());
    // A null where the version knows none.
    let form = Form {
        version: 0,
        is_flexible: false,
    };
    let sync = codec::decode(
        form,
        &all["SyncGroup"].response,
        &[0, 0, 255, 255, 255, 255],
    );
    assert!(sync.unwrap_err().contains("assignment is null"));
}

#[test]
fn a_file_is_written_back_as_it_was() {
    let all = files();
    for file in &all {
        let asks = asks(std::slice::from_ref(file));
        let answers = asks.filter_map(|ask| Some((ask.line, ask.recorded.clone()?)));
        let written = file.with_answers(&answers.collect());
        assert_eq!(
            written,
            std::fs::read_to_string(&file.path).unwrap(),
            "{:?}",
            file.path
        );
    }
}

fn ask(recorded: Option<&str>, differs: Option<(&str, &str)>) -> Ask {
    Ask {
        line: 0,
        who: "a".to_owned(),
        waits: true,
        api: "Heartbeat".to_owned(),
        version: 0,
        defaults: value("{}"),
        fields: value("{}"),
        recorded: recorded.map(str::to_owned),
        differs: differs.map(|(answer, why)| (answer.to_owned(), why.to_owned())),
    }
}

#[test]
fn ids_and_structures_that_are_not_there_come_back_as_they_were() {
    let all = apis();
    let form = Form {
        version: 1,
        is_flexible: true,
    };
    let fields = &all["ConsumerGroupHeartbeat"].response;
    let bytes = |answer: &str| {
        let mut bytes = Vec::new();
        codec::encode(form, fields, &value(answer), &mut bytes).map(|()| bytes)
    };
    let nothing = bytes("{assignment: null}").unwrap();
    assert_eq!(nothing[nothing.len() - 2..], [255, 0]);
    let read = codec::decode(form, fields, &nothing).unwrap();
    assert_eq!(read.get("assignment"), Some(&Value::Null));
    let id = "sixteen letters.";
    let own = format!("{{topic_partitions: [{{topic_id: \"{id}\", partitions: [1]}}]}}");
    let told = bytes(&format!("{{assignment: {own}}}")).unwrap();
    let read = codec::decode(form, fields, &told).unwrap();
    assert_eq!(read.get("assignment"), Some(&value(&own)));
    assert!(bytes(&format!("{{assignment: {own}}}").replace(id, "too short")).is_err());
}

#[test]
fn epochs_are_counted_from_the_first_that_was_told() {
    let answer = value("{error_code: 0, member_epoch: 7, group_epoch: 0, assignment_epoch: -1}");
    let ids = HashMap::from([("t.id".to_owned(), value("\"sixteen letters.\""))]);
    let mut names = Names::new("g", ids, "127.0.0.1:1");
    let told = |names: &Names| names.render(&ask(None, None), &answer);
    assert!(told(&names).contains("member_epoch: 7, group_epoch: 0, assignment_epoch: -1"));
    names.begin(-1);
    names.begin(6);
    names.begin(7);
    assert!(told(&names).contains("member_epoch: 2, group_epoch: 0, assignment_epoch: -1"));
    names.begin_anew(7);
    assert!(told(&names).contains("member_epoch: 1, "));
    let topic = names.render(&ask(None, None), &value("{topic_id: \"sixteen letters.\"}"));
    assert_eq!(topic, "{topic_id: $t.id}");
}

#[test]
fn an_answer_is_wrong_unless_it_is_the_recorded_one_or_the_meant_difference() {
    let wrong = |flavor, ask: &Ask, answer| judge::wrong(flavor, ask, answer).is_some();
    let plain = ask(Some("kafka"), None);
    let meant = ask(Some("kafka"), Some(("ours", "so it is")));
    for flavor in [Flavor::Kafka, Flavor::Walser] {
        assert!(!wrong(flavor, &plain, Some("kafka")));
        assert!(wrong(flavor, &plain, Some("other")));
        assert!(wrong(flavor, &plain, None), "not answered");
        assert!(
            wrong(flavor, &ask(None, None), Some("kafka")),
            "not recorded"
        );
        assert!(wrong(flavor, &meant, Some("other")));
    }
    assert!(!wrong(Flavor::Kafka, &meant, Some("kafka")));
    assert!(wrong(Flavor::Kafka, &meant, Some("ours")));
    assert!(!wrong(Flavor::Walser, &meant, Some("ours")));
    assert!(
        wrong(Flavor::Walser, &meant, Some("kafka")),
        "it differs no longer"
    );
    let unreasoned = ask(Some("kafka"), Some(("ours", "")));
    assert!(wrong(Flavor::Walser, &unreasoned, Some("ours")));
}

/// Those that ours takes.
#[test]
fn every_version_of_every_api_of_groups_is_played() {
    let all = files();
    let played: HashSet<(&str, i16)> = asks(&all).map(|ask| (&*ask.api, ask.version)).collect();
    let apis = apis();
    for name in [
        "FindCoordinator",
        "JoinGroup",
        "SyncGroup",
        "Heartbeat",
        "LeaveGroup",
        "ConsumerGroupHeartbeat",
        "ConsumerGroupDescribe",
        "OffsetCommit",
        "OffsetFetch",
        "OffsetDelete",
        "DescribeGroups",
        "ListGroups",
        "DeleteGroups",
    ] {
        for version in apis[name].versions.clone() {
            assert!(played.contains(&(name, version)), "{name} {version}");
        }
    }
    let sequences: usize = all.iter().map(|file| file.sequences.len()).sum();
    assert!(sequences >= 540, "{sequences}");
}
