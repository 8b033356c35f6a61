//! What only a group's coordinator knows, and Kafka's protocol has no word for: lag in seconds, what began a rebalance.
//! Asked of an admin listener.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde::de::DeserializeOwned;

use crate::cli::Target;
use crate::cli::admin;
use crate::cli::client::Cluster;
use crate::http::{GroupView, GroupsView, LastRebalance};

/// So long an admin listener may take at most.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Where to ask.
#[derive(Clone, Debug, Args)]
pub struct Admin {
    /// Any broker's admin listener, for what Kafka's protocol does not tell: lag in seconds, what began a rebalance.
    #[arg(long, default_value = "127.0.0.1:9644", value_name = "HOST:PORT")]
    admin: String,
}

impl Admin {
    /// A group; None with a word on stderr where nobody tells.
    pub async fn group(
        &self,
        cluster: &mut Cluster,
        target: &Target,
        name: &str,
    ) -> Option<GroupView> {
        let path = format!("/v1/groups/{}", escaped(name));
        let view = self.ask::<GroupView>(target, &path).await;
        let view = self.checked(cluster, view, |view| &view.cluster_id).await;
        noted(view, "lag in seconds and what began the last rebalance")
    }

    /// All groups; None with a word on stderr where nobody tells.
    pub async fn groups(&self, cluster: &mut Cluster, target: &Target) -> Option<GroupsView> {
        let view = self.ask::<GroupsView>(target, "/v1/groups").await;
        let view = self.checked(cluster, view, |view| &view.cluster_id).await;
        noted(view, "lag")
    }

    async fn ask<T: DeserializeOwned>(&self, target: &Target, path: &str) -> Result<T, String> {
        let wait = target.wait().min(WAIT_MAX);
        let answer = admin::request("GET", &self.admin, path, wait).await;
        let (status, body) = answer.map_err(|failure| failure.message)?;
        if status != 200 {
            let message = body["message"].as_str().unwrap_or("no reason is given");
            return Err(format!("{} answers {status}: {message}", self.admin));
        }
        serde_json::from_value(body)
            .map_err(|why| format!("{} answers something else: {why}", self.admin))
    }

    /// NB: the default address can be another cluster's.
    async fn checked<T>(
        &self,
        cluster: &mut Cluster,
        view: Result<T, String>,
        id: impl Fn(&T) -> &String,
    ) -> Result<T, String> {
        let view = view?;
        let metadata = cluster.metadata(Some(&[])).await;
        let own = metadata.map_err(|failure| failure.message)?.cluster_id;
        if own.as_deref() == Some(id(&view).as_str()) {
            return Ok(view);
        }
        Err(format!("{} is of another cluster", self.admin))
    }
}

fn noted<T>(view: Result<T, String>, what: &str) -> Option<T> {
    match view {
        Ok(view) => Some(view),
        Err(why) => {
            eprintln!("walser: {what} is not known: {why}; --admin says whom to ask");
            None
        }
    }
}

/// As a part of a path.
fn escaped(name: &str) -> String {
    let mut path = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            write!(path, "%{byte:02X}").expect("a string takes everything");
        }
    }
    path
}

/// What is known of the last rebalance, in words.
pub fn rebalance(view: &GroupView) -> Option<String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now_ms = now.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0));
    rebalance_at(view, now_ms)
}

/// None for a group that never had one.
pub fn rebalance_at(view: &GroupView, now_ms: i64) -> Option<String> {
    let ago = |at_ms: i64| format!("{} s ago", (now_ms - at_ms).max(0) / 1000);
    if let Some(last) = &view.last_rebalance {
        return Some(format!(
            "its last rebalance began {} because {}",
            ago(last.at_ms),
            because(last)
        ));
    }
    Some(format!(
        "its last rebalance ended {}; what began it is not known, because node {} coordinates the group only since {}",
        ago(view.changed_ms?),
        view.coordinator,
        ago(view.coordinator_since_ms)
    ))
}

fn because(last: &LastRebalance) -> String {
    let did = match last.reason.as_str() {
        "joined" => "joined",
        "left" => "left",
        "session_expired" => "was silent for longer than its session timeout",
        "subscription_changed" => "changed its subscription",
        "leader_rejoined" => "joined again as the leader",
        "static_member_returned" => "came back as a static member with other protocols",
        "sync_timed_out" => "did not join again, or ask for its assignment, in time",
        "assignment_not_stored" => "brought an assignment that could not be stored",
        "topics_changed" => "was the first to be heard after the topics had changed",
        "revocation_timed_out" => "did not give up partitions in time",
        "upgraded" => "came as the first member of the consumer protocol",
        "downgraded" => "remained, and nobody of the consumer protocol did",
        other => other,
    };
    let mut text = format!(
        "{} {did} (client {} at {})",
        last.member, last.client_id, last.client_host
    );
    if !last.words.is_empty() {
        // The client's own words may hold anything.
        write!(text, ", saying {:?}", last.words).expect("a string takes everything");
    }
    if last.late_members > 0 {
        write!(
            text,
            "; {} members did not come back in time",
            last.late_members
        )
        .expect("a string takes everything");
    }
    text
}

#[cfg(test)]
mod tests;
