//! `DescribeConfigs`: values, and where they come from.

use protocol::error_code::ErrorCode;
use protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use protocol::wire::Str;

use super::{BROKER, TOPIC, layers, scope};
use crate::controller::Failure;
use crate::dispatch::Context;
use crate::handlers::lookup;
use crate::metadata::ConfigScope;
use crate::topic_config::{Row, Source, describe_broker, describe_topic};

/// Answers it.
pub fn handle(cx: &Context, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request.resources.iter().map(|resource| {
        let asked = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..Default::default()
        };
        match rows(cx, resource) {
            Ok(rows) => DescribeConfigsResult {
                configs: rows.into_iter().map(|row| config(row, request)).collect(),
                ..asked
            },
            Err(failure) => DescribeConfigsResult {
                error_code: failure.code.code(),
                error_message: lookup::text(&failure.message),
                ..asked
            },
        }
    });
    DescribeConfigsResponse {
        results: results.collect(),
        ..Default::default()
    }
}

fn rows(cx: &Context, resource: &DescribeConfigsResource) -> Result<Vec<Row>, Failure> {
    let image = cx.broker.image();
    let names = resource
        .configuration_keys
        .as_ref()
        .filter(|keys| !keys.is_empty());
    let names: Option<Vec<String>> =
        names.map(|keys| keys.iter().map(ToString::to_string).collect());
    let wanted = names.as_deref();
    let name = &*resource.resource_name;
    let layers = layers(cx, &image);
    match resource.resource_type {
        TOPIC if !lookup::is_topic_name(name) => Err(Failure::new(
            ErrorCode::InvalidTopic,
            format!("{name:?} is no topic name"),
        )),
        TOPIC => match lookup::topic_named(&image, name) {
            Ok(topic) => Ok(describe_topic(&topic.configs, layers, wanted)),
            Err(code) => Err(Failure::new(code, format!("there is no topic {name}"))),
        },
        BROKER => match scope(name) {
            Some(ConfigScope::Cluster) => {
                let all = describe_broker(layers, wanted).into_iter();
                Ok(all.filter_map(of_cluster).collect())
            }
            Some(ConfigScope::Node(node)) if node == cx.broker.node_id() => {
                Ok(describe_broker(layers, wanted))
            }
            Some(ConfigScope::Node(_)) | None => {
                let own = cx.broker.node_id();
                let message = format!("this is broker {own}: ask broker {name:?} about itself");
                Err(Failure::new(ErrorCode::InvalidRequest, message))
            }
        },
        other => {
            let message = format!("resources of type {other} have no configs here");
            Err(Failure::new(ErrorCode::InvalidRequest, message))
        }
    }
}

/// What all brokers were told dynamically, if this is one of those configs.
fn of_cluster(mut row: Row) -> Option<Row> {
    row.synonyms
        .retain(|synonym| synonym.source == Source::DynamicDefaultBroker);
    row.value = row.synonyms.first()?.value.clone();
    row.source = Source::DynamicDefaultBroker;
    Some(row)
}

fn config(row: Row, request: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
    let synonyms = if request.include_synonyms {
        row.synonyms
    } else {
        Vec::new()
    };
    let synonym = |s: crate::topic_config::Synonym| DescribeConfigsSynonym {
        name: Str::from_static(s.name),
        value: s.value.map(Str::from),
        source: s.source as i8,
    };
    DescribeConfigsResourceResult {
        name: Str::from_static(row.name),
        value: row.value.map(Str::from),
        read_only: row.read_only,
        config_source: row.source as i8,
        is_sensitive: row.sensitive,
        synonyms: synonyms.into_iter().map(synonym).collect(),
        config_type: row.kind as i8,
        documentation: request
            .include_documentation
            .then(|| Str::from_static(row.documentation)),
    }
}
