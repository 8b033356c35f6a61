//! One sequence is played against a broker.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::Duration;

use super::codec::{self, Form};
use super::render::Names;
use super::schema::Api;
use super::text::{Ask, Sequence, Step};
use super::value::Value;
use crate::wait::wait_for;
use crate::wire::Connection;

/// No answer takes longer: the timeouts in the sequences are short.
const WITHIN: Duration = Duration::from_secs(20);

/// What all sequences of a run have in common.
#[derive(Debug)]
pub struct Stage {
    /// By name.
    pub apis: HashMap<String, Api>,
    /// Where the broker listens.
    pub address: String,
    /// What every sequence may use: the ids of the topics, as `$things.id`.
    pub variables: HashMap<String, Value>,
}

/// What is told of a request: its line, and its answer in the text of sequences.
pub type Answers = Vec<(usize, String)>;

/// Plays it to its end.
pub fn play(stage: &Stage, sequence: &Sequence) -> Result<Answers, String> {
    let mut variables = sequence.variables.clone();
    variables.extend(stage.variables.clone());
    let mut player = Player {
        stage,
        group: sequence.name.clone(),
        actors: HashMap::new(),
        names: Names::new(&sequence.name, variables, &stage.address),
        answers: Vec::new(),
    };
    for step in &sequence.steps {
        player.step(step)?;
    }
    let mut waiting = player.actors.keys().cloned().collect::<Vec<_>>();
    waiting.sort();
    for who in waiting {
        player.receive(&who)?;
    }
    let Player { names, answers, .. } = player;
    // Rendered at the end, when all ids that were given out are known.
    let render = |(ask, answer): (&Ask, Option<Value>)| match answer {
        Some(answer) => (ask.line, names.render(ask, &answer)),
        None => (ask.line, "closed".to_owned()),
    };
    Ok(answers.into_iter().map(render).collect())
}

/// One client with its connection.
struct Actor<'a> {
    connection: Connection,
    /// The id that it was given last.
    id: String,
    /// It was told last; or its epoch.
    generation: i64,
    waiting: Option<&'a Ask>,
}

struct Player<'a> {
    stage: &'a Stage,
    group: String,
    actors: HashMap<String, Actor<'a>>,
    names: Names,
    answers: Vec<(&'a Ask, Option<Value>)>,
}

impl<'a> Player<'a> {
    fn step(&mut self, step: &'a Step) -> Result<(), String> {
        match step {
            Step::Wait(who) => self.receive(who),
            Step::Until(state, members) => self.until(state, *members),
            Step::Settle(topics, ask) => self.settle(*topics, ask),
            Step::Ask(ask) => {
                let told = |why: String| format!("line {}: {why}", ask.line + 1);
                self.send(ask).map_err(told)?;
                if ask.waits {
                    self.receive(&ask.who).map_err(told)?;
                }
                Ok(())
            }
        }
    }

    fn send(&mut self, ask: &'a Ask) -> Result<(), String> {
        if !self.actors.contains_key(&ask.who) {
            let connection =
                Connection::open(&self.stage.address, WITHIN).map_err(|e| e.to_string())?;
            let (id, generation, waiting) = (String::new(), -1, None);
            let actor = Actor {
                connection,
                id,
                generation,
                waiting,
            };
            self.actors.insert(ask.who.clone(), actor);
        }
        let body = self.body(ask)?;
        let key = api(self.stage, &ask.api)?.key;
        let actor = self.actors.get_mut(&ask.who).expect("it was just made");
        if actor.waiting.replace(ask).is_some() {
            return Err(format!("{} still waits for an answer", ask.who));
        }
        let frame = actor.connection.frame(key, ask.version, &body);
        actor.connection.send(&frame).map_err(|e| e.to_string())
    }

    fn body(&self, ask: &Ask) -> Result<Vec<u8>, String> {
        let api = api(self.stage, &ask.api)?;
        // One that is not described takes the fields of the next one that is; it is refused unread.
        let version = ask
            .version
            .clamp(*api.versions.start(), *api.versions.end());
        let mut fields = match self.resolve(&ask.who, &ask.fields)? {
            Value::Struct(fields) => fields,
            other => return Err(format!("{other:?} are no fields")),
        };
        let named: HashSet<String> = fields.iter().map(|(name, _)| name.clone()).collect();
        if let Value::Struct(defaults) = self.resolve(&ask.who, &ask.defaults)? {
            let has = |name: &str| {
                let found = api.request.iter().find(|field| field.name == name);
                found.is_some_and(|field| field.versions.contains(&version))
            };
            let more = defaults
                .into_iter()
                .filter(|(name, _)| !named.contains(name) && has(name));
            fields.extend(more);
        }
        encode(api, version, &Value::Struct(fields))
    }

    /// With what stands for variables.
    fn resolve(&self, who: &str, value: &Value) -> Result<Value, String> {
        let all = |values: &[Value]| {
            values
                .iter()
                .map(|v| self.resolve(who, v))
                .collect::<Result<_, _>>()
        };
        Ok(match value {
            Value::Variable(name) => self.variable(who, name)?,
            Value::List(items) => Value::List(all(items)?),
            Value::Struct(fields) => {
                let resolved =
                    |(name, value): &(String, Value)| Ok((name.clone(), self.resolve(who, value)?));
                Value::Struct(fields.iter().map(resolved).collect::<Result<_, String>>()?)
            }
            Value::Text(text) => match std::str::from_utf8(text) {
                Ok(text) => Value::Text(text.replace("${group}", &self.group).into_bytes()),
                Err(_) => value.clone(),
            },
            plain => plain.clone(),
        })
    }

    fn variable(&self, who: &str, name: &str) -> Result<Value, String> {
        let own = self.actors.get(who);
        let text = |text: &str| Ok(Value::Text(text.as_bytes().to_vec()));
        match name {
            "group" => text(&self.group),
            "me" => text(own.map_or("", |own| &own.id)),
            "before" => Ok(Value::Int(own.map_or(-1, |own| own.generation - 1))),
            "after" => Ok(Value::Int(own.map_or(-1, |own| own.generation + 1))),
            "generation" | "epoch" => Ok(Value::Int(own.map_or(-1, |own| own.generation))),
            _ => match (self.names.variable(name), self.names.id(name)) {
                (Some(value), _) => Ok(value.clone()),
                (None, Some(id)) => text(id),
                (None, None) => Err(format!("what is ${name}?")),
            },
        }
    }

    /// Takes the answer that the actor waits for, if it does.
    fn receive(&mut self, who: &str) -> Result<(), String> {
        let Some(actor) = self.actors.get_mut(who) else {
            return Err(format!("who is {who}?"));
        };
        let Some(ask) = actor.waiting.take() else {
            return Ok(());
        };
        let bytes = match actor.connection.receive() {
            Ok(bytes) => bytes,
            Err(error) if is_closed(&error) => {
                self.actors.remove(who);
                self.answers.push((ask, None));
                return Ok(());
            }
            Err(error) => return Err(format!("{} {}: {error}", ask.api, ask.version)),
        };
        let answer = decode(self.stage, &ask.api, ask.version, &bytes)?;
        let is_heartbeat = ask.api == "ConsumerGroupHeartbeat";
        let generation = match ask.api.as_str() {
            "JoinGroup" => answer.get("generation_id"),
            "ConsumerGroupHeartbeat" => answer.get("member_epoch"),
            _ => None,
        };
        let is_refused = is_heartbeat && answer.get("error_code") != Some(&Value::Int(0));
        if let (Some(Value::Int(generation @ 0..)), false) = (generation, is_refused) {
            actor.generation = *generation;
            if is_heartbeat {
                self.names.begin(*generation);
            }
        }
        if let (Some(_), Some(Value::Text(id))) = (generation, answer.get("member_id"))
            && !id.is_empty()
        {
            let id = String::from_utf8_lossy(id).into_owned();
            let is_given = ask.fields.get("member_id") != answer.get("member_id");
            if is_given && actor.id != id {
                self.names.give(who, &id);
            }
            if is_given || is_heartbeat {
                actor.id = id;
            }
        }
        self.answers.push((ask, Some(answer)));
        Ok(())
    }

    fn settle(&mut self, topics: usize, ask: &'a Ask) -> Result<(), String> {
        let told = |why: String| format!("line {}: {why}", ask.line + 1);
        self.send(ask).map_err(told)?;
        self.receive(&ask.who).map_err(told)?;
        self.answers.pop();
        let mut asker = Connection::open(&self.stage.address, WITHIN).map_err(|e| e.to_string())?;
        let mut last = String::new();
        let settled = wait_for("settle", WITHIN, Duration::from_millis(10), || {
            let found = self.beat(&mut asker, ask);
            let found = found.and_then(|()| owned_topics(self.stage, &mut asker, &self.group));
            last = format!("{found:?}");
            (found == Ok(topics)).then_some(())
        });
        settled.map_err(|late| told(format!("{late}, but {last}")))?;
        self.names.begin_anew(self.actors[&ask.who].generation);
        Ok(())
    }

    /// A heartbeat of who sent this one; it only learns the epoch from it.
    fn beat(&mut self, asker: &mut Connection, ask: &Ask) -> Result<(), String> {
        let fields = [
            ("group_id", "group"),
            ("member_id", "me"),
            ("member_epoch", "epoch"),
        ];
        let field = |(field, variable): (&str, &str)| {
            Ok((field.to_owned(), self.variable(&ask.who, variable)?))
        };
        let fields = Value::Struct(
            fields
                .map(field)
                .into_iter()
                .collect::<Result<_, String>>()?,
        );
        let told = self::ask(self.stage, asker, &ask.api, ask.version, &fields)?;
        if let (Some(Value::Int(epoch @ 1..)), Some(actor)) =
            (told.get("member_epoch"), self.actors.get_mut(&ask.who))
        {
            actor.generation = *epoch;
        }
        Ok(())
    }

    fn until(&mut self, state: &str, members: usize) -> Result<(), String> {
        let mut asker = Connection::open(&self.stage.address, WITHIN).map_err(|e| e.to_string())?;
        let mut last = String::new();
        let step = Duration::from_millis(10);
        let reached = wait_for("until", WITHIN, step, || {
            let found = describe_any(self.stage, &mut asker, &self.group);
            let (now, count) = found.unwrap_or_else(|why| (why, 0));
            last = format!("{now} {count}");
            (now == state && count == members).then_some(())
        });
        reached.map_err(|late| format!("{state} {members}: {late}, but {last}"))
    }
}

/// A group's state, and how many members it has.
pub fn describe(
    stage: &Stage,
    connection: &mut Connection,
    group: &str,
) -> Result<(String, usize), String> {
    let groups = Value::List(vec![Value::Text(group.as_bytes().to_vec())]);
    let fields = Value::Struct(vec![("groups".to_owned(), groups)]);
    let answer = ask(stage, connection, "DescribeGroups", 0, &fields)?;
    state_and_members(&answer)
}

/// The same of a group of either protocol: to this API one that is not classic is dead.
fn describe_any(
    stage: &Stage,
    connection: &mut Connection,
    group: &str,
) -> Result<(String, usize), String> {
    let classic = describe(stage, connection, group)?;
    if classic.0 != "Dead" {
        return Ok(classic);
    }
    let groups = Value::List(vec![Value::Text(group.as_bytes().to_vec())]);
    let fields = Value::Struct(vec![("group_ids".to_owned(), groups)]);
    let answer = ask(stage, connection, "ConsumerGroupDescribe", 0, &fields)?;
    Ok(state_and_members(&answer).unwrap_or(classic))
}

/// Of how many topics members own partitions, in a group that is stable.
fn owned_topics(stage: &Stage, connection: &mut Connection, group: &str) -> Result<usize, String> {
    let groups = Value::List(vec![Value::Text(group.as_bytes().to_vec())]);
    let fields = Value::Struct(vec![("group_ids".to_owned(), groups)]);
    let answer = ask(stage, connection, "ConsumerGroupDescribe", 0, &fields)?;
    let (state, _) = state_and_members(&answer)?;
    if state != "Stable" {
        return Err(state);
    }
    let list = |value: &Value, name: &str| match value.get(name) {
        Some(Value::List(items)) => items.clone(),
        _ => Vec::new(),
    };
    let groups = list(&answer, "groups").into_iter();
    let members = groups.flat_map(|group| list(&group, "members"));
    let assignments = members.filter_map(|member| member.get("assignment").cloned());
    let topics = assignments.flat_map(|assignment| list(&assignment, "topic_partitions"));
    let names = topics.filter_map(|topic| match topic.get("topic_name") {
        Some(Value::Text(name)) => Some(name.clone()),
        _ => None,
    });
    Ok(names.collect::<HashSet<_>>().len())
}

fn state_and_members(answer: &Value) -> Result<(String, usize), String> {
    let Some(Value::List(groups)) = answer.get("groups") else {
        return Err("no groups".to_owned());
    };
    let row = groups.first().ok_or("no group")?;
    match (
        row.get("error_code"),
        row.get("group_state"),
        row.get("members"),
    ) {
        (Some(Value::Int(0)), Some(Value::Text(state)), Some(Value::List(members))) => {
            Ok((String::from_utf8_lossy(state).into_owned(), members.len()))
        }
        _ => Err(format!("{row:?}")),
    }
}

/// One question outside of all sequences.
pub fn ask(
    stage: &Stage,
    connection: &mut Connection,
    name: &str,
    version: i16,
    fields: &Value,
) -> Result<Value, String> {
    let api = api(stage, name)?;
    let body = encode(api, version, fields)?;
    let bytes = connection.request(api.key, version, &body);
    decode(stage, name, version, &bytes.map_err(|e| e.to_string())?)
}

fn encode(api: &Api, version: i16, fields: &Value) -> Result<Vec<u8>, String> {
    let form = form(api, version);
    // The tags of the header.
    let mut body = if form.is_flexible {
        vec![0]
    } else {
        Vec::new()
    };
    codec::encode(form, &api.request, fields, &mut body)?;
    Ok(body)
}

fn decode(stage: &Stage, name: &str, version: i16, bytes: &[u8]) -> Result<Value, String> {
    let api = api(stage, name)?;
    if !api.versions.contains(&version) {
        return Err(format!(
            "{name} {version} is answered, and nobody knows how to read that"
        ));
    }
    let form = form(api, version);
    // The tags of the header.
    let body = if form.is_flexible {
        bytes.strip_prefix(&[0])
    } else {
        Some(bytes)
    };
    let body = body.ok_or("tags in the header of an answer")?;
    codec::decode(form, &api.response, body).map_err(|why| format!("{name} {version}: {why}"))
}

fn api<'a>(stage: &'a Stage, name: &str) -> Result<&'a Api, String> {
    stage
        .apis
        .get(name)
        .ok_or_else(|| format!("which API is {name}?"))
}

fn form(api: &Api, version: i16) -> Form {
    let is_flexible = version >= api.flexible;
    Form {
        version,
        is_flexible,
    }
}

fn is_closed(error: &io::Error) -> bool {
    let kind = error.kind();
    matches!(
        kind,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
    )
}
