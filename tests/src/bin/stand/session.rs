//! A client's check asks for faults while its group reads: a conversation in lines.
//!
//! | asked | done | answered |
//! |---|---|---|
//! | `group G` | a topic G of six partitions, into which records flow from now on | `ready` |
//! | `faults` | once the group was stable and rebalances, its coordinator is killed with SIGKILL and, when there is another, started again; then that one is stopped in order and started again | `over COUNT`: records in each partition |
//! | `judge` | waits until G is stable with three members and has committed all | `fine: ...` |
//! | `more` | ten more records in each partition | `more COUNT` |
//!
//! The client joins two members before it asks for faults, and the third one after: that is the rebalance. All that
//! was asked is answered by `wrong: ...` when it could not be done, or when a committed offset ever went back.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use tests::cluster::{Cluster, Exit, Flavor};
use tests::wait::{TimedOut, wait_for, wait_until};
use tests::wire::groups::{self, Described};
use tests::wire::{Connection, requests};

use crate::feed::{self, Feed, PARTITIONS};
use crate::watch::{Seen, Watch};

const REQUEST: Duration = Duration::from_secs(5);
/// More than the 45 s for which a member of the consumer protocol is one that left while nobody heard it.
const WITHIN: Duration = Duration::from_secs(100);
/// A rebalance lasts from one heartbeat to the next: it is not missed.
const STEP: Duration = Duration::from_millis(5);
/// The states of a group while its members change: of the classic protocol, and of the consumer protocol.
const REBALANCES: [&str; 4] = [
    "PreparingRebalance",
    "CompletingRebalance",
    "Assigning",
    "Reconciling",
];
/// So many members share the topic when the client asks for faults.
const SHARING: usize = 2;
/// A client that asks for nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(300);

/// Serves one client until it closes.
pub fn serve(cluster: &mut Cluster, stream: TcpStream) {
    let mut session = Session {
        cluster,
        group: String::new(),
        feed: None,
        running: None,
        watch: None,
        happened: Vec::new(),
    };
    if let Err(error) = session.converse(&stream) {
        eprintln!("{}: the conversation ended: {error}", session.group);
    }
    if let Some(running) = session.running.take() {
        drop(running.stop());
    }
    if let Some(watch) = session.watch.take() {
        watch.stop();
    }
}

struct Session<'a> {
    cluster: &'a mut Cluster,
    group: String,
    feed: Option<Feed>,
    running: Option<feed::Running>,
    watch: Option<Watch>,
    happened: Vec<String>,
}

impl Session<'_> {
    fn converse(&mut self, mut stream: &TcpStream) -> std::io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(SILENCE))?;
        for line in BufReader::new(stream).lines() {
            let answer = self.answer(line?.trim());
            let answer = answer.unwrap_or_else(|why| format!("wrong: {}", why.replace('\n', " ")));
            eprintln!("{}: {answer}", self.group);
            stream.write_all(format!("{answer}\n").as_bytes())?;
        }
        Ok(())
    }

    fn answer(&mut self, line: &str) -> Result<String, String> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("group", name) if !name.is_empty() => self.begin(name),
            ("faults", "") => self.faults(),
            ("judge", "") => self.judge(),
            ("more", "") => self.more(),
            _ => Err(format!("not understood: {line}")),
        }
    }

    fn brokers(&self) -> Vec<String> {
        self.cluster.nodes().iter().map(|n| n.kafka()).collect()
    }

    fn begin(&mut self, name: &str) -> Result<String, String> {
        if !self.group.is_empty() {
            return Err("one conversation, one group".to_owned());
        }
        name.clone_into(&mut self.group);
        self.cluster.create_topic(name, PARTITIONS, &[]);
        let feed = Feed::new(self.brokers(), name);
        self.running = Some(feed::Running::start(feed));
        self.watch = Some(Watch::start(self.brokers(), name));
        Ok("ready".to_owned())
    }

    fn faults(&mut self) -> Result<String, String> {
        let (killed, state) = self.kill_in_rebalance()?;
        let text = |late: TimedOut| late.to_string();
        wait_until("another coordinator", WITHIN, || {
            let now = self.cluster.coordinator(&self.group);
            now.is_some_and(|node| node != killed)
        })
        .map_err(text)?;
        self.cluster.restart(killed);
        self.happened(format!("node {killed} killed in {state}"));
        self.wait_stable("three members after the kill")?;

        let restarted = self.cluster.coordinator(&self.group);
        let restarted = restarted.ok_or("no coordinator after the kill")?;
        let stopped = self.cluster.terminate(restarted, WITHIN).map_err(text)?;
        // Java's way to end on SIGTERM.
        let in_order = match self.cluster.flavor() {
            Flavor::Walser => Exit::Code(0),
            Flavor::Kafka => Exit::Code(143),
        };
        if stopped != in_order {
            return Err(format!(
                "node {restarted} was stopped in order: {stopped:?}"
            ));
        }
        self.cluster.restart(restarted);
        self.happened(format!("node {restarted} stopped in order"));
        self.wait_stable("three members after the restart")?;

        let running = self.running.take().ok_or("nothing flows")?;
        let feed = running.stop()?;
        let count = feed.count();
        self.feed = Some(feed);
        Ok(format!("over {count}"))
    }

    fn happened(&mut self, what: String) {
        eprintln!("{}: {what}, and started again", self.group);
        self.happened.push(what);
    }

    /// Kills the coordinator once the group, which was stable, is not: the node, and the group's state.
    fn kill_in_rebalance(&mut self) -> Result<(i32, String), String> {
        // The client has seen its two members share the topic, and the third may come at any moment: what was last
        // seen here may be older than both.
        let mut sharing = self.watch.as_ref().and_then(Watch::stable) >= Some(SHARING);
        let seen = wait_for("a rebalance", WITHIN, STEP, || {
            let (node, now) = self.describe()?;
            let is_joined = now.members > SHARING;
            match now.state.as_str() {
                "Stable" if is_joined => {
                    return Some(Err("the rebalance was over before it was seen".to_owned()));
                }
                "Stable" => sharing = now.members == SHARING,
                state if REBALANCES.contains(&state) && (sharing || is_joined) => {
                    return Some(Ok((node, now.state)));
                }
                _ => {}
            }
            None
        });
        let (node, state) = seen.map_err(|late| late.to_string())??;
        self.cluster.kill(node);
        Ok((node, state))
    }

    /// What the group's coordinator says of it.
    fn describe(&self) -> Option<(i32, Described)> {
        let node = self.cluster.coordinator(&self.group)?;
        let address = self.cluster.node(node).kafka();
        let mut coordinator = Connection::open(&address, REQUEST).ok()?;
        let described = groups::describe(&mut coordinator, &self.group).ok()?;
        (described.error == 0).then_some((node, described))
    }

    fn wait_stable(&self, what: &str) -> Result<(), String> {
        let mut last = None;
        let stable = wait_until(what, WITHIN, || {
            last = self.describe();
            let is = |now: &Described| now.state == "Stable" && now.members == 3;
            last.as_ref().is_some_and(|(_, now)| is(now))
        });
        stable.map_err(|late| format!("{late}: {last:?}"))
    }

    fn judge(&mut self) -> Result<String, String> {
        self.wait_stable("three members at the end")?;
        let mut last = Vec::new();
        let all = wait_until("everything committed", WITHIN, || {
            last = self.offsets();
            last.len() == PARTITIONS as usize && last.iter().all(|(end, at)| end == at)
        });
        all.map_err(|late| format!("{late}: ends and commits {last:?}"))?;
        let seen = self.watch.take().ok_or("nothing was watched")?.stop();
        let Seen { looks, wrong, .. } = seen;
        if !wrong.is_empty() {
            return Err(format!("commits went back: {}", wrong.join(", ")));
        }
        if self.happened.len() < 2 || looks < 100 {
            return Err(format!("{looks} looks at commits, {:?}", self.happened));
        }
        let happened = self.happened.join(", ");
        Ok(format!("fine: {happened}; {looks} looks at commits"))
    }

    /// The end of each partition, and the group's commit.
    fn offsets(&self) -> Vec<(i64, i64)> {
        let one = |partition: &requests::Partition| {
            let leader = self.cluster.node(partition.leader).kafka();
            let mut leader = Connection::open(&leader, REQUEST).ok()?;
            let end = requests::list_offset(&mut leader, &self.group, partition.id, -1).ok()?;
            let node = self.cluster.coordinator(&self.group)?;
            let mut node = Connection::open(&self.cluster.node(node).kafka(), REQUEST).ok()?;
            let at = groups::committed(&mut node, &self.group, &self.group, partition.id).ok()?;
            (end.0 == 0 && at.0 == 0).then_some((end.1, at.1))
        };
        let metadata = self.cluster.metadata(&[&self.group], &[]);
        let partitions = metadata.map(|all| all.partitions(&self.group));
        let led = partitions.unwrap_or_default().into_iter();
        led.filter(|p| p.leader > 0)
            .filter_map(|p| one(&p))
            .collect()
    }

    fn more(&mut self) -> Result<String, String> {
        let feed = self.feed.as_mut().ok_or("no faults yet")?;
        feed.round(10)?;
        Ok(format!("more {}", feed.count()))
    }
}
