//! Files of sequences: read, and written back with other answers.
//!
//! ```text
//! let all = "everything"
//! default Heartbeat {group_id: $group}
//!
//! sequence a_heartbeat_of_nobody
//! a Heartbeat 4 {member_id: "nobody"}
//!   -> {error_code: UNKNOWN_MEMBER_ID}
//! a& JoinGroup 3
//!   -> {...}
//! until PreparingRebalance 1
//! wait a
//! b FindCoordinator 0 {key: ""}
//!   -> {...}
//!   differs: {...}
//!   because: what the reason is
//! ```
//!
//! A step is who sends (each has a connection of its own), the API, its version and its fields. With `&` the answer is
//! not waited for; `wait` does so later, or the end of the sequence. `until` asks until the group is in that state and
//! has so many members. `settle 1 a ConsumerGroupHeartbeat 1 {...}` is followed by heartbeats until the group is stable
//! and its members own partitions of so many topics; these answers are not compared, as Kafka finds out in the
//! background what patterns stand for. `->` is what Kafka answered, `differs:` what Walser answers instead.
//!
//! `$me` is the id that the one who sends was given, `$generation` or `$epoch` its last one, `$before` and `$after` are
//! those beside that, `$a` is the id of `a`, `$things.id` that of the topic.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::value::Value;

/// One file.
#[derive(Debug)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    lines: Vec<String>,
    /// In their order.
    pub sequences: Vec<Sequence>,
}

/// What is played in one go, with groups of its own.
#[derive(Debug)]
pub struct Sequence {
    /// The file's name and its own; also that of its group.
    pub name: String,
    /// What all sequences of the file may use.
    pub variables: HashMap<String, Value>,
    /// One after the other.
    pub steps: Vec<Step>,
}

/// One line.
#[derive(Debug)]
pub enum Step {
    /// A request.
    Ask(Box<Ask>),
    /// Waits for the answer to an earlier one.
    Wait(String),
    /// Waits until the group is in this state, with so many members.
    Until(String, usize),
    /// Sends it and heartbeats until the group is stable and its members are to own partitions of so many topics.
    Settle(usize, Box<Ask>),
}

/// A request and its answer.
#[derive(Debug)]
pub struct Ask {
    /// From 0.
    pub line: usize,
    /// Who sends it.
    pub who: String,
    /// Whether the answer is waited for at once.
    pub waits: bool,
    /// Which.
    pub api: String,
    /// Of the API.
    pub version: i16,
    /// Those that all requests of this API have in this file, unless the version lacks them or they are said anew.
    pub defaults: Value,
    /// Fields.
    pub fields: Value,
    /// As Kafka answered; none before it was recorded.
    pub recorded: Option<String>,
    /// As Walser answers, if it means to differ, and why.
    pub differs: Option<(String, String)>,
}

impl Ask {
    /// As Walser has to answer.
    pub fn expected(&self) -> Option<&str> {
        let differs = self.differs.as_ref().map(|(answer, _)| answer.as_str());
        differs.or(self.recorded.as_deref())
    }
}

impl File {
    /// Reads one; what is wrong in it ends the run.
    pub fn read(path: &Path) -> File {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let lines = text.lines().map(str::to_owned).collect::<Vec<_>>();
        let sequences = Parser::default().parse(&stem, &lines);
        let sequences = sequences.unwrap_or_else(|(at, why)| {
            panic!("{}:{}: {why}", path.display(), at + 1);
        });
        File {
            path: path.to_owned(),
            lines,
            sequences,
        }
    }

    /// The text with other recorded answers, by the line of their request.
    pub fn with_answers(&self, answers: &HashMap<usize, String>) -> String {
        let mut out = String::new();
        for (at, line) in self.lines.iter().enumerate() {
            if line.trim_start().starts_with("-> ") {
                continue;
            }
            out += line;
            out.push('\n');
            if let Some(answer) = answers.get(&at) {
                out += &format!("  -> {answer}\n");
            }
        }
        out
    }
}

#[derive(Default)]
struct Parser {
    defaults: HashMap<String, Value>,
    variables: HashMap<String, Value>,
    sequences: Vec<Sequence>,
}

impl Parser {
    fn parse(mut self, stem: &str, lines: &[String]) -> Result<Vec<Sequence>, (usize, String)> {
        for (at, line) in lines.iter().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                self.line(stem, at, line).map_err(|why| (at, why))?;
            }
        }
        for sequence in &mut self.sequences {
            sequence.variables = self.variables.clone();
        }
        Ok(self.sequences)
    }

    fn line(&mut self, stem: &str, at: usize, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "let" => {
                let (name, value) = rest.split_once('=').ok_or("let what be what?")?;
                self.variables
                    .insert(name.trim().to_owned(), Value::parse(value)?);
            }
            "default" => {
                let (api, fields) = rest.split_once(' ').ok_or("default of what?")?;
                self.defaults.insert(api.to_owned(), Value::parse(fields)?);
            }
            "sequence" => {
                let name = format!("{stem}.{rest}");
                if self.sequences.iter().any(|other| other.name == name) {
                    return Err(format!("{name} is there already"));
                }
                let (variables, steps) = (HashMap::new(), Vec::new());
                self.sequences.push(Sequence {
                    name,
                    variables,
                    steps,
                });
            }
            "->" => self.last_ask()?.recorded = Some(rest.to_owned()),
            "differs:" => self.last_ask()?.differs = Some((rest.to_owned(), String::new())),
            "because:" => match &mut self.last_ask()?.differs {
                Some((_, why)) => rest.clone_into(why),
                None => return Err("nothing differs".to_owned()),
            },
            "wait" => self.steps()?.push(Step::Wait(rest.to_owned())),
            "until" => {
                let (state, members) = rest
                    .split_once(' ')
                    .ok_or("until which state, and how many members?")?;
                let members = members.parse().map_err(|_| "how many members?")?;
                self.steps()?.push(Step::Until(state.to_owned(), members));
            }
            "settle" => {
                let mut words = rest.splitn(3, ' ');
                let topics = words.next().and_then(|word| word.parse().ok());
                let who = words.next().ok_or("who settles?")?;
                let ask = self.ask(at, who, words.next().unwrap_or_default())?;
                let topics = topics.ok_or("settles with how many topics?")?;
                self.steps()?.push(Step::Settle(topics, Box::new(ask)));
            }
            who => {
                let ask = self.ask(at, who, rest)?;
                self.steps()?.push(Step::Ask(Box::new(ask)));
            }
        }
        Ok(())
    }

    fn ask(&self, line: usize, who: &str, rest: &str) -> Result<Ask, String> {
        let mut words = rest.splitn(3, ' ');
        let api = words.next().unwrap_or_default();
        let version = words.next().and_then(|word| word.parse().ok());
        let fields = words.next().unwrap_or("{}");
        let nothing = Value::Struct(Vec::new());
        Ok(Ask {
            line,
            who: who.trim_end_matches('&').to_owned(),
            waits: !who.ends_with('&'),
            api: api.to_owned(),
            version: version.ok_or("which version?")?,
            defaults: self.defaults.get(api).cloned().unwrap_or(nothing),
            fields: Value::parse(fields)?,
            recorded: None,
            differs: None,
        })
    }

    fn steps(&mut self) -> Result<&mut Vec<Step>, String> {
        let sequence = self.sequences.last_mut();
        Ok(&mut sequence.ok_or("a step of no sequence")?.steps)
    }

    fn last_ask(&mut self) -> Result<&mut Ask, String> {
        match self.steps()?.last_mut() {
            Some(Step::Ask(ask)) => Ok(ask),
            _ => Err("an answer to nothing".to_owned()),
        }
    }
}
