//! `DeleteTopics`, by name or by id.

use protocol::error_code::ErrorCode;
use protocol::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse,
};
use protocol::wire::{Str, Uuid};

use super::{ask, timeout};
use crate::controller::{Answer, ControllerRequest, Failure, TopicRef};
use crate::dispatch::Context;
use crate::handlers::lookup;
use crate::metadata::TopicId;

/// From this version on topics may be named by id, and null is a name.
const IDS_SINCE: i16 = 6;

struct Wanted {
    name: Option<Str>,
    id: Uuid,
}

/// Answers it.
pub async fn handle(cx: Context, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let wanted: Vec<Wanted> = if cx.version >= IDS_SINCE {
        request
            .topics
            .into_iter()
            .map(|t| Wanted {
                name: t.name,
                id: t.topic_id,
            })
            .collect()
    } else {
        let named = |name| Wanted {
            name: Some(name),
            id: Uuid::ZERO,
        };
        request.topic_names.into_iter().map(named).collect()
    };
    let topics: Vec<TopicRef> = wanted.iter().filter_map(Wanted::target).collect();
    let count = topics.len();
    let call = ControllerRequest::DeleteTopics { topics };
    let mut answers = ask(&cx, call, count, timeout(request.timeout_ms))
        .await
        .into_iter();
    let responses = wanted.into_iter().map(|wanted| {
        let answer = match wanted.target() {
            Some(_) => answers
                .next()
                .expect("there is an answer for every topic asked about"),
            None => Err(Failure::new(
                ErrorCode::InvalidRequest,
                "a topic is named either by its name or by its id",
            )),
        };
        wanted.result(answer, cx.version)
    });
    DeleteTopicsResponse {
        responses: responses.collect(),
        ..Default::default()
    }
}

impl Wanted {
    /// None when neither or both name the topic.
    fn target(&self) -> Option<TopicRef> {
        match (&self.name, self.id.is_zero()) {
            (Some(name), true) => Some(TopicRef::Name(name.to_string())),
            (None, false) => Some(TopicRef::Id(TopicId(self.id.0))),
            _ => None,
        }
    }

    fn result(self, answer: Result<Answer, Failure>, version: i16) -> DeletableTopicResult {
        let nameless = (version < IDS_SINCE).then(Str::new);
        match answer {
            Ok(Answer::Deleted { topic, name }) => DeletableTopicResult {
                name: Some(Str::from(name)),
                topic_id: Uuid(topic.0),
                ..Default::default()
            },
            Ok(_) => DeletableTopicResult {
                name: self.name.or(nameless),
                topic_id: self.id,
                error_code: ErrorCode::RequestTimedOut.code(),
                error_message: Some(Str::from_static("the controller answered something else")),
            },
            Err(failure) => DeletableTopicResult {
                name: self.name.or(nameless),
                topic_id: self.id,
                error_code: failure.code.code(),
                error_message: lookup::text(&failure.message),
            },
        }
    }
}
