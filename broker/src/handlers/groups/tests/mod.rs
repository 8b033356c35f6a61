//! Every version's shapes, against a stand-in for the coordinators. Requests and answers go through the codec, so that
//! what a version does not have is not there.

mod consumers;
mod find;
mod inspection;
mod membership;
mod offsets;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use protocol::messages::{Message, Request};
use protocol::wire::{Encoder, Reader, Str};
use raft::types::NodeId;
use tokio::task::LocalSet;

use super::*;

type Answer = dyn Fn(&str, &GroupRequest) -> Result<GroupReply, ErrorCode>;

/// Stands in for the broker: answers as it is told, and notes what it is asked.
#[derive(Clone)]
struct Fake(Rc<Inner>);

struct Inner {
    answer: Box<Answer>,
    asked: RefCell<Vec<(String, GroupRequest)>>,
    /// Topics and how many partitions they have.
    topics: BTreeMap<&'static str, i32>,
    listed: Result<Vec<Listed>, ErrorCode>,
    found: Cell<Where>,
    after_creation: Where,
    created: Cell<u32>,
    assignors: Assignors,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    At(i32),
    NoLeader,
    NoTopic,
}

impl Fake {
    fn answering(
        answer: impl Fn(&str, &GroupRequest) -> Result<GroupReply, ErrorCode> + 'static,
    ) -> Self {
        Self(Rc::new(Inner {
            answer: Box::new(answer),
            asked: RefCell::default(),
            topics: BTreeMap::from([("orders", 3), ("clicks", 1)]),
            listed: Ok(Vec::new()),
            found: Cell::new(Where::NoTopic),
            after_creation: Where::NoLeader,
            created: Cell::new(0),
            assignors: Assignors::default(),
        }))
    }

    fn replying(reply: GroupReply) -> Self {
        Self::answering(move |_, _| Ok(reply.clone()))
    }

    fn failing(code: ErrorCode) -> Self {
        Self::replying(GroupReply::Failed {
            code,
            member: String::new(),
        })
    }

    /// Not the coordinator at all.
    fn elsewhere() -> Self {
        Self::answering(|_, _| Err(ErrorCode::NotCoordinator))
    }

    /// Nobody may be asked.
    fn silent() -> Self {
        Self::answering(|group, request| panic!("{group} was asked {request:?}"))
    }

    fn asked(&self) -> Vec<GroupRequest> {
        let asked = self.0.asked.borrow();
        asked.iter().map(|(_, request)| request.clone()).collect()
    }
}

impl Coordinators for Fake {
    async fn ask(
        &self,
        group: &str,
        request: GroupRequest,
        wait: Duration,
    ) -> Result<GroupReply, ErrorCode> {
        assert!(wait >= WAIT);
        let answer = (self.0.answer)(group, &request);
        let mut asked = self.0.asked.borrow_mut();
        asked.push((group.to_owned(), request));
        answer
    }

    async fn list(&self) -> Result<Vec<Listed>, ErrorCode> {
        self.0.listed.clone()
    }

    fn has_partition(&self, topic: &str, partition: i32) -> bool {
        let count = self.0.topics.get(topic).copied().unwrap_or(0);
        (0..count).contains(&partition)
    }

    fn topic_name(&self, id: Uuid) -> Option<String> {
        let mut names = self.0.topics.keys();
        let name = names.find(|name| self.topic_id(name) == Some(id))?;
        Some((*name).to_owned())
    }

    fn topic_id(&self, name: &str) -> Option<Uuid> {
        let at = self.0.topics.keys().position(|topic| *topic == name)?;
        Some(Uuid(at as u128 + 1))
    }

    fn assignors(&self) -> &Assignors {
        &self.0.assignors
    }

    fn client(&self) -> Client {
        Client {
            id: "test".to_owned(),
            host: "/127.0.0.1".to_owned(),
        }
    }

    fn find(&self, _: &str) -> Found {
        match self.0.found.get() {
            Where::At(node) => Found::At(Endpoint {
                node: NodeId(node),
                host: "broker".to_owned(),
                port: 9092,
                rack: None,
            }),
            Where::NoLeader => Found::NoLeader,
            Where::NoTopic => Found::NoTopic,
        }
    }

    async fn create_offsets_topic(&self) {
        self.0.created.set(self.0.created.get() + 1);
        self.0.found.set(self.0.after_creation);
    }
}

/// A message as the other side sees it.
fn wire<M: Message>(version: i16, message: &M) -> M {
    let mut encoder = Encoder::new();
    message.encode(&mut encoder, version);
    let bytes = encoder.into_bytes().expect("it can be encoded");
    M::decode(&mut Reader::new(bytes), version).expect("it can be decoded")
}

/// Versions of a request.
fn versions<R: Request>() -> std::ops::RangeInclusive<i16> {
    R::VERSIONS.0..=R::VERSIONS.1
}

/// Runs a handler, in every version of its request.
fn in_every_version<R: Request>(
    request: &R,
    run: impl AsyncFn(i16, R) -> R::Response,
    check: impl Fn(i16, R::Response),
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let local = LocalSet::new();
    for version in versions::<R>() {
        let request = wire(version, request);
        let answer = local.block_on(&runtime, run(version, request));
        check(version, wire(version, &answer));
    }
}

fn text(words: &str) -> Str {
    Str::from(words)
}

#[test]
fn results_are_in_the_order_asked_whatever_ends_first() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let run = async {
        let running = Rc::new(Cell::new(0_usize));
        let most = Rc::new(Cell::new(0_usize));
        let one = |number: usize| {
            let (running, most) = (running.clone(), most.clone());
            async move {
                running.set(running.get() + 1);
                most.set(most.get().max(running.get()));
                for _ in 0..number % 7 {
                    tokio::task::yield_now().await;
                }
                running.set(running.get() - 1);
                number
            }
        };
        let results = all((0..1000).map(one)).await;
        assert_eq!(results, (0..1000).collect::<Vec<_>>());
        assert!(most.get() > 1, "they run at the same time");
        assert!(most.get() <= ASKED_MAX, "{} at once", most.get());
    };
    LocalSet::new().block_on(&runtime, run);
}

#[test]
fn addresses_are_shown_as_kafka_shows_them() {
    for (address, shown) in [
        ("10.0.0.1", "/10.0.0.1"),
        ("::1", "/0:0:0:0:0:0:0:1"),
        ("::ffff:10.0.0.1", "/10.0.0.1"),
        ("2001:db8::a", "/2001:db8:0:0:0:0:0:a"),
    ] {
        assert_eq!(host(address.parse().expect("an address")), shown);
    }
}

#[test]
fn what_the_log_says_is_said_in_terms_of_groups() {
    use ErrorCode as E;
    for (code, of_groups) in [
        (E::NotLeaderOrFollower, E::NotCoordinator),
        (E::UnknownTopicOrPartition, E::CoordinatorNotAvailable),
        (E::RequestTimedOut, E::CoordinatorNotAvailable),
        (E::NotEnoughReplicas, E::CoordinatorNotAvailable),
        (E::CoordinatorLoadInProgress, E::CoordinatorLoadInProgress),
        (E::NotCoordinator, E::NotCoordinator),
    ] {
        assert_eq!(in_terms_of_groups(code), of_groups, "{code}");
    }
}
