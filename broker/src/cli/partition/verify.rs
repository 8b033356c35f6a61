//! `walser partition verify`.

use serde_json::json;

use super::super::admin;
use super::super::exit::{Exit, Failure, Result};
use super::super::output::{Format, Table, column, print};
use super::Name;
use crate::broker::comparing::COMPARE_MAX;
use crate::compare::Compared;

pub(super) async fn run(name: &Name, admin: &str, format: Format) -> Result<()> {
    let path = format!(
        "/v1/partitions/{}/{}/verify",
        name.topic(),
        name.partition()
    );
    let (status, body) = admin::request("POST", admin, &path, COMPARE_MAX).await?;
    if status != 200 {
        let message = body["message"].as_str().unwrap_or("no reason given");
        let exit = match status {
            404 => Exit::NotFound,
            _ => Exit::Unreachable,
        };
        let why = format!("{name} is not compared: {message} ({status})");
        return Err(Failure::with(exit, why));
    }
    let compared: Compared = serde_json::from_value(body)
        .map_err(|why| Failure::with(Exit::Unreachable, format!("{admin}: {why}")))?;
    let differences = table(&compared);
    let value = json!({
        "schema": 1,
        "partition": name.to_string(),
        "leader": compared.leader,
        "indexes": compared.indexes,
        "compared": compared.compared,
        "differences": differences.values(),
    });
    match format.data(&value) {
        Some(data) => print(&data)?,
        None => {
            if !compared.differences.is_empty() {
                differences.print(format, "differences")?;
            }
            let (first, last) = compared.indexes;
            let mut said = format!(
                "compared the log of broker {}, which leads, from index {first} to {last}\n",
                compared.leader
            );
            for (of, count) in &compared.compared {
                let what = if of == "store" {
                    "members of chunks"
                } else {
                    "entries"
                };
                said += &format!("with {of}: {count} {what}\n");
            }
            print(&said)?;
        }
    }
    if compared.differences.is_empty() {
        return Ok(());
    }
    let why = format!("{} differences", compared.differences.len());
    Err(Failure::with(Exit::Corruption, why)
        .next("what cannot be read is healed by itself; a replica that differs has to be replaced"))
}

fn table(compared: &Compared) -> Table {
    let mut table = Table::new(&[
        column("of"),
        column("offsets"),
        column("indexes"),
        column("what"),
    ]);
    for found in &compared.differences {
        table.row(vec![
            json!(found.of),
            json!(found.offsets.map(|(from, to)| format!("{from}..{to}"))),
            json!(found.indexes.map(|(from, to)| format!("{from}..={to}"))),
            json!(found.what),
        ]);
    }
    table
}
