//! Answers as text. What differs from run to run has a name instead: `$a` is the first id that was given to `a`, `$a.2`
//! its second. Epochs of the consumer protocol are counted from the first that a sequence was told, which is 1: with
//! which one a group begins is the broker's choice.

use std::collections::HashMap;

use super::names;
use super::text::Ask;
use super::value::{Value, quoted};

/// What has a name.
#[derive(Debug)]
pub struct Names {
    group: String,
    port: i64,
    /// Ids by name.
    ids: HashMap<String, String>,
    /// The epoch that was told first.
    first_epoch: Option<i64>,
    /// Those of the file and of all files.
    variables: HashMap<String, Value>,
}

impl Names {
    /// Nobody has an id yet.
    pub fn new(group: &str, variables: HashMap<String, Value>, address: &str) -> Names {
        let port = address
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        Names {
            group: group.to_owned(),
            variables,
            port: port.expect("an address has a port"),
            ids: HashMap::new(),
            first_epoch: None,
        }
    }

    /// An id was given out.
    pub fn give(&mut self, who: &str, id: &str) {
        if self.ids.values().any(|known| known == id) {
            return;
        }
        let mut name = who.to_owned();
        let mut count = 1;
        while self.ids.contains_key(&name) {
            count += 1;
            name = format!("{who}.{count}");
        }
        self.ids.insert(name, id.to_owned());
    }

    /// The id of that name.
    pub fn id(&self, name: &str) -> Option<&str> {
        self.ids.get(name).map(String::as_str)
    }

    /// An epoch was told.
    pub fn begin(&mut self, epoch: i64) {
        if epoch > 0 {
            self.first_epoch.get_or_insert(epoch);
        }
    }

    /// The epochs that were told so far do not count.
    pub fn begin_anew(&mut self, epoch: i64) {
        self.first_epoch = Some(epoch);
    }

    /// What `$name` stands for, if not for an id.
    pub fn variable(&self, name: &str) -> Option<&Value> {
        self.variables.get(name)
    }

    /// One line.
    pub fn render(&self, ask: &Ask, answer: &Value) -> String {
        self.value(ask, "", answer)
    }

    fn value(&self, ask: &Ask, field: &str, value: &Value) -> String {
        match value {
            Value::Null => "null".to_owned(),
            Value::Bool(set) => set.to_string(),
            Value::Int(code) if field == "error_code" => names::of(*code),
            Value::Int(port) if field == "port" && *port == self.port => "$port".to_owned(),
            Value::Int(epoch @ 1..) if is_epoch(field) => {
                (epoch - self.first_epoch.unwrap_or(1) + 1).to_string()
            }
            Value::Int(number) => number.to_string(),
            Value::Variable(name) => format!("${name}"),
            // Each broker has words of its own for humans.
            Value::Text(_) if field == "error_message" => "text".to_owned(),
            Value::Text(text) => self.text(text),
            Value::List(items) => {
                let items = items.iter().filter(|item| self.is_own(ask, field, item));
                let mut items: Vec<String> =
                    items.map(|item| self.value(ask, field, item)).collect();
                if has_no_order(ask, field) {
                    items.sort();
                }
                format!("[{}]", items.join(", "))
            }
            Value::Struct(fields) => {
                let told = |(name, value): &&(String, Value)| {
                    name != "throttle_time_ms" || *value != Value::Int(0)
                };
                let fields = fields.iter().filter(told);
                let fields =
                    fields.map(|(name, value)| format!("{name}: {}", self.value(ask, name, value)));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn text(&self, text: &[u8]) -> String {
        if text == self.group.as_bytes() {
            return "$group".to_owned();
        }
        let id = self.ids.iter().find(|(_, id)| id.as_bytes() == text);
        let is_text = |value: &Value| matches!(value, Value::Text(own) if own == text);
        let variable = self.variables.iter().find(|(_, value)| is_text(value));
        match id.map(|(name, _)| name).or(variable.map(|(name, _)| name)) {
            Some(name) => format!("${name}"),
            None => quoted(text).replace(&self.group, "${group}"),
        }
    }

    /// Lists of groups also have those of other sequences.
    fn is_own(&self, ask: &Ask, field: &str, item: &Value) -> bool {
        if ask.api != "ListGroups" || field != "groups" {
            return true;
        }
        match item.get("group_id") {
            Some(Value::Text(group)) => {
                let rest = group.strip_prefix(self.group.as_bytes());
                rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'~')
            }
            _ => false,
        }
    }
}

fn is_epoch(field: &str) -> bool {
    ["member_epoch", "group_epoch", "assignment_epoch"].contains(&field)
}

/// Of these Kafka promises no order: a hash decides, or what is refused comes first. Ours is the request's.
fn has_no_order(ask: &Ask, field: &str) -> bool {
    match (ask.api.as_str(), field) {
        ("OffsetCommit" | "OffsetDelete", "topics" | "partitions") => true,
        ("DeleteGroups", "results") => true,
        ("JoinGroup" | "DescribeGroups", "members") | ("ListGroups", "groups") => true,
        ("ConsumerGroupDescribe", "members" | "subscribed_topic_names") => true,
        ("ConsumerGroupHeartbeat" | "ConsumerGroupDescribe", "topic_partitions") => true,
        ("OffsetFetch", "topics" | "partitions") => asks_for_all(&ask.fields),
        _ => false,
    }
}

fn asks_for_all(fields: &Value) -> bool {
    match fields {
        Value::Struct(fields) => fields.iter().any(|(name, value)| match value {
            Value::Null => name == "topics",
            other => asks_for_all(other),
        }),
        Value::List(items) => items.iter().any(asks_for_all),
        _ => false,
    }
}
