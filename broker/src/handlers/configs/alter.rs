//! `IncrementalAlterConfigs`, and the older `AlterConfigs`, which replaces all explicit configs of a resource.

use std::collections::HashMap;
use std::time::Duration;

use protocol::error_code::ErrorCode;
use protocol::messages::alter_configs::{
    self, AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse,
};
use protocol::messages::incremental_alter_configs::{
    self as incremental, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use protocol::wire::Str;

use super::{BROKER, TOPIC, scope};
use crate::controller::{AlterConfigs, ConfigOperation, ConfigTarget, ControllerRequest, Failure};
use crate::dispatch::Context;
use crate::handlers::{lookup, topics};

/// Neither request says how long its client waits.
const WAIT: Duration = Duration::from_secs(30);

/// One resource of either request.
struct Resource {
    kind: i8,
    name: Str,
    change: Result<AlterConfigs, Failure>,
}

/// Answers the older one.
pub async fn handle(cx: Context, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let set = |c: &alter_configs::AlterableConfig| {
        Ok((
            c.name.to_string(),
            ConfigOperation::Set(c.value.as_ref().map(ToString::to_string)),
        ))
    };
    let resource = |r: &alter_configs::AlterConfigsResource| {
        Resource::new(
            r.resource_type,
            &r.resource_name,
            r.configs.iter().map(set).collect(),
            true,
        )
    };
    let resources = request.resources.iter().map(resource).collect();
    let answers = alter(&cx, resources, request.validate_only).await;
    let responses = answers
        .into_iter()
        .map(|(kind, name, failure)| AlterConfigsResourceResponse {
            error_code: code(failure.as_ref()).code(),
            error_message: failure.and_then(|f| lookup::text(&f.message)),
            resource_type: kind,
            resource_name: name,
        });
    AlterConfigsResponse {
        responses: responses.collect(),
        ..Default::default()
    }
}

/// Answers the incremental one.
pub async fn handle_incremental(
    cx: Context,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let resource = |r: &incremental::AlterConfigsResource| {
        let changes = r.configs.iter().map(operation).collect();
        Resource::new(r.resource_type, &r.resource_name, changes, false)
    };
    let resources = request.resources.iter().map(resource).collect();
    let answers = alter(&cx, resources, request.validate_only).await;
    let row = |(kind, name, failure): (i8, Str, Option<Failure>)| {
        incremental::AlterConfigsResourceResponse {
            error_code: code(failure.as_ref()).code(),
            error_message: failure.and_then(|f| lookup::text(&f.message)),
            resource_type: kind,
            resource_name: name,
        }
    };
    let responses = answers.into_iter().map(row).collect();
    IncrementalAlterConfigsResponse {
        responses,
        ..Default::default()
    }
}

type Change = (String, ConfigOperation);

fn operation(config: &incremental::AlterableConfig) -> Result<Change, Failure> {
    let value = config.value.as_ref().map(ToString::to_string);
    let operation = match config.config_operation {
        0 => ConfigOperation::Set(value),
        1 => ConfigOperation::Delete,
        2 => ConfigOperation::Append(value),
        3 => ConfigOperation::Subtract(value),
        other => {
            let message = format!("there is no config operation {other}");
            return Err(Failure::new(ErrorCode::InvalidRequest, message));
        }
    };
    Ok((config.name.to_string(), operation))
}

impl Resource {
    fn new(kind: i8, name: &Str, changes: Result<Vec<Change>, Failure>, replace: bool) -> Self {
        let refuse = |message: String| Err(Failure::new(ErrorCode::InvalidRequest, message));
        let target = match kind {
            TOPIC => Ok(ConfigTarget::Topic(name.to_string())),
            BROKER => match scope(name) {
                Some(scope) => Ok(ConfigTarget::Broker(scope)),
                None => refuse(format!("{name:?} is no broker id")),
            },
            other => refuse(format!("resources of type {other} have no configs here")),
        };
        let change = target.and_then(|target| {
            Ok(AlterConfigs {
                target,
                changes: changes?,
                replace,
            })
        });
        Self {
            kind,
            name: name.clone(),
            change,
        }
    }
}

/// Asks the controller about all that makes sense; one outcome per resource, in order.
async fn alter(
    cx: &Context,
    mut resources: Vec<Resource>,
    validate_only: bool,
) -> Vec<(i8, Str, Option<Failure>)> {
    let mut named: HashMap<(i8, Str), usize> = HashMap::new();
    for resource in &resources {
        *named
            .entry((resource.kind, resource.name.clone()))
            .or_default() += 1;
    }
    for resource in &mut resources {
        if named[&(resource.kind, resource.name.clone())] > 1 {
            let message = "the request names this resource more than once";
            resource.change = Err(Failure::new(ErrorCode::InvalidRequest, message));
        }
    }
    let changes: Vec<_> = resources
        .iter()
        .filter_map(|r| r.change.as_ref().ok().cloned())
        .collect();
    let count = changes.len();
    let call = ControllerRequest::AlterConfigs {
        resources: changes,
        validate_only,
    };
    let mut answers = topics::ask(cx, call, count, WAIT).await.into_iter();
    let outcome = |resource: Resource| {
        let failure = match resource.change {
            Ok(_) => answers
                .next()
                .expect("there is an answer for every resource asked about")
                .err(),
            Err(failure) => Some(failure),
        };
        (resource.kind, resource.name, failure)
    };
    resources.into_iter().map(outcome).collect()
}

fn code(failure: Option<&Failure>) -> ErrorCode {
    failure.map_or(ErrorCode::None, |failure| failure.code)
}
