//! `CreateTopics`, and the creation of topics on first use.

use std::collections::HashMap;
use std::time::Duration;

use protocol::error_code::ErrorCode;
use protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest,
    CreateTopicsResponse,
};
use protocol::wire::{Str, Uuid};
use raft::types::NodeId;
use tracing::debug;

use super::{ask, timeout};
use crate::controller::{Answer, ControllerRequest, CreateTopic, CreatedTopic, Failure};
use crate::coordinator::OFFSETS_TOPIC;
use crate::dispatch::Context;
use crate::handlers::{configs, groups, lookup};
use crate::topic_config;

/// Answers it.
pub async fn handle(cx: Context, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut named: HashMap<&str, usize> = HashMap::new();
    for topic in &request.topics {
        *named.entry(&topic.name).or_default() += 1;
    }
    let once = |topic: &&CreatableTopic| named[&*topic.name] == 1;
    let topics: Vec<CreateTopic> = request.topics.iter().filter(once).map(wanted).collect();
    let count = topics.len();
    let call = ControllerRequest::CreateTopics {
        topics,
        validate_only: request.validate_only,
    };
    let mut answers = ask(&cx, call, count, timeout(request.timeout_ms))
        .await
        .into_iter();
    let mut results = Vec::with_capacity(named.len());
    let mut repeated: Vec<&str> = Vec::new();
    for topic in &request.topics {
        if once(&topic) {
            let answer = answers
                .next()
                .expect("there is an answer for every topic asked about");
            results.push(result(&cx, &topic.name, answer));
        } else if !repeated.contains(&&*topic.name) {
            repeated.push(&topic.name);
            let message = "the request names this topic more than once";
            results.push(refused(
                &topic.name,
                &Failure::new(ErrorCode::InvalidRequest, message),
            ));
        }
    }
    CreateTopicsResponse {
        topics: results,
        ..Default::default()
    }
}

/// Creates topics with the defaults; that of the groups as it has to be. Failures are not answered: the caller looks whether the topics are there.
pub async fn automatically(cx: &Context, names: Vec<String>, wait: Duration) {
    let topic = |name: String| {
        if name == OFFSETS_TOPIC {
            return groups::offsets_topic::wanted(cx);
        }
        CreateTopic {
            name,
            partitions: -1,
            replication_factor: -1,
            assignments: Vec::new(),
            configs: Vec::new(),
        }
    };
    let topics: Vec<CreateTopic> = names.into_iter().map(topic).collect();
    let count = topics.len();
    let call = ControllerRequest::CreateTopics {
        topics,
        validate_only: false,
    };
    for failure in ask(cx, call, count, wait)
        .await
        .into_iter()
        .filter_map(Result::err)
    {
        if failure.code != ErrorCode::TopicAlreadyExists {
            debug!(%failure, "a topic was not created on first use");
        }
    }
}

fn wanted(topic: &CreatableTopic) -> CreateTopic {
    let assignment = |a: &protocol::messages::create_topics::CreatableReplicaAssignment| {
        (
            a.partition_index,
            a.broker_ids.iter().copied().map(NodeId).collect(),
        )
    };
    let config = |c: &protocol::messages::create_topics::CreatableTopicConfig| {
        (
            c.name.to_string(),
            c.value.as_ref().map(ToString::to_string),
        )
    };
    CreateTopic {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic.assignments.iter().map(assignment).collect(),
        configs: topic.configs.iter().map(config).collect(),
    }
}

fn result(cx: &Context, name: &Str, answer: Result<Answer, Failure>) -> CreatableTopicResult {
    match answer {
        Ok(Answer::Topic(created)) => success(cx, name, &created),
        Ok(_) => {
            let message = "the controller answered something else";
            refused(name, &Failure::new(ErrorCode::RequestTimedOut, message))
        }
        Err(failure) => refused(name, &failure),
    }
}

fn success(cx: &Context, name: &Str, created: &CreatedTopic) -> CreatableTopicResult {
    let image = cx.broker.image();
    let layers = configs::layers(cx, &image);
    let rows = topic_config::describe_topic(&created.configs, layers, None);
    let config = |row: topic_config::Row| CreatableTopicConfigs {
        name: Str::from_static(row.name),
        value: row.value.map(Str::from),
        read_only: row.read_only,
        config_source: row.source as i8,
        is_sensitive: row.sensitive,
    };
    CreatableTopicResult {
        name: name.clone(),
        topic_id: Uuid(created.topic.0),
        error_code: ErrorCode::None.code(),
        num_partitions: created.partitions,
        replication_factor: created.replication_factor,
        configs: Some(rows.into_iter().map(config).collect()),
        ..Default::default()
    }
}

fn refused(name: &Str, failure: &Failure) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.clone(),
        error_code: failure.code.code(),
        error_message: lookup::text(&failure.message),
        // NB: null stops Kafka's Java client.
        configs: Some(Vec::new()),
        ..Default::default()
    }
}
