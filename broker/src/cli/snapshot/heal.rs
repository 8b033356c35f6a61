//! `walser snapshot verify --heal`: the brokers are asked to make anew what is damaged.

use serde_json::{Value, json};
use snapshot::key::Key;
use snapshot::verify::Report;

use super::super::admin;
use super::super::exit::{Exit, Failure, Result};
use super::super::output::print;
use super::At;
use super::verify::Place;
use crate::snapshots::mend::{HEAL_MAX, Healed};

/// Asks the leaders of the partitions that have damage; and the controller for what is of the whole cluster.
pub(super) async fn run(at: &At, whole: bool, places: &[Place], report: &Report) -> Result<()> {
    for place in places {
        let of_place = report.findings.iter().filter(|found| {
            let source = found.source.as_ref();
            source.is_some_and(|source| {
                (source.topic_id.as_u128(), source.partition) == (place.topic_id, place.partition)
            })
        });
        let keys: Vec<&Key> = of_place.map(|found| &found.key).collect();
        if !keys.is_empty() {
            let path = format!("/v1/partitions/{}/{}/heal", place.topic, place.partition);
            ask(at, &path, &json!({ "keys": keys })).await?;
        }
    }
    match whole {
        true => ask(at, "/v1/snapshots/heal", &json!({})).await,
        false => Ok(()),
    }
}

/// NB: what it says goes beside the report, which is about what is there afterwards.
async fn ask(at: &At, path: &str, body: &Value) -> Result<()> {
    let (status, answer) = admin::post(&at.admin, path, body, HEAL_MAX).await?;
    if status != 200 {
        let message = answer["message"].as_str().unwrap_or("no reason given");
        let why = format!("nothing is healed: {message} ({status})");
        return Err(Failure::with(Exit::Unreachable, why)
            .next("a partition needs a leader, and its log says more"));
    }
    let strange =
        |why: serde_json::Error| Failure::with(Exit::Unreachable, format!("{}: {why}", at.admin));
    let objects = answer["objects"].clone();
    let objects: Vec<Healed> = serde_json::from_value(objects).map_err(strange)?;
    if at.format.data(&json!({})).is_some() {
        return Ok(());
    }
    for Healed { key, healed, what } in objects {
        let outcome = if healed { "healed" } else { "not healed" };
        print(&format!("{outcome}: {key}: {what}\n"))?;
    }
    Ok(())
}
