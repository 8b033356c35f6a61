//! `walser snapshot cut`: one point of the whole cluster to go back to.

use clap::Args;
use serde_json::json;
use tokio::time::Duration;

use super::super::admin;
use super::super::exit::{Exit, Failure, Result};
use super::super::output::{Format, Table, column};
use crate::snapshots::cut::CutMade;

/// Put all partitions into the store as of one moment, in which no record is without those that it may rest upon. `walser restore
/// --cut NUMBER` goes back to it. Producers wait some milliseconds meanwhile, 100 at most.
#[derive(Clone, Debug, Args)]
pub struct MakeCut {
    /// A broker's admin listener.
    #[arg(long, default_value = "127.0.0.1:9644", value_name = "HOST:PORT")]
    admin: String,
    /// How long to wait for the snapshots, in seconds.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    timeout: u64,
    /// What the answer looks like.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl MakeCut {
    /// Runs it.
    pub(super) async fn run(self) -> Result<()> {
        let wait = Duration::from_secs(self.timeout);
        let (status, body) = admin::request("POST", &self.admin, "/v1/cuts", wait).await?;
        if status != 200 {
            let message = body["message"].as_str().unwrap_or("no reason given");
            let why = format!("no cut was made: {message} ({status})");
            let failure = Failure::new(why);
            return Err(failure.next(match status {
                400 => "ops/runbooks/snapshot-store.md says how to turn it on",
                _ => "does a broker hang, or has a partition no leader? The controller's log says more",
            }));
        }
        let made: CutMade = serde_json::from_value(body)
            .map_err(|why| Failure::with(Exit::Unreachable, format!("{}: {why}", self.admin)))?;
        let mut table = Table::new(&[
            column("number"),
            column("partitions"),
            column("hold_ms"),
            column("took_ms"),
        ]);
        table.row(vec![
            json!(made.number),
            json!(made.partitions),
            json!(made.hold_ms),
            json!(made.took_ms),
        ]);
        table.print(self.format, "cuts")
    }
}
