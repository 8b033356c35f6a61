//! `walser config`: what is configured, by whom, and what it means.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::exit::{Exit, Failure, Result};
use super::output::{Format, Table, column, print, wide};
use crate::config::{self, Sources};

/// Explain configuration keys.
#[derive(Debug, Args)]
pub struct Config {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// A key's value, which source won, and what the key means. Without a key: all of them.
    Explain {
        /// The key, for example `retention.ms`.
        key: Option<String>,
        /// The configuration file.
        #[arg(long, env = "WALSER_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// What the answer looks like.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Whether a broker would start with this configuration.
    Validate {
        /// The configuration file.
        #[arg(long, env = "WALSER_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

impl Config {
    /// Runs it.
    pub fn run(self) -> Result<()> {
        match self.verb {
            Verb::Explain {
                key,
                config,
                format,
            } => explain(key.as_deref(), config, format),
            Verb::Validate { config } => {
                config::Config::load(&Sources::of_process(config, Vec::new())).map_err(refused)?;
                print("valid\n")
            }
        }
    }
}

/// A configuration that makes no sense.
pub fn refused(error: config::Error) -> Failure {
    Failure::with(Exit::Usage, error.to_string())
        .next("`walser config explain` shows all keys, and where their values come from")
}

fn explain(key: Option<&str>, file: Option<PathBuf>, format: Format) -> Result<()> {
    let sources = Sources::of_process(file, Vec::new());
    let loaded = config::Config::default()
        .overlay(&sources)
        .map_err(refused)?;
    let columns = [
        column("key"),
        column("value"),
        column("source"),
        wide("default"),
        wide("unit"),
        wide("environment"),
        wide("flag"),
        wide("doc"),
    ];
    let mut table = Table::new(&columns);
    let names: Vec<&str> = match key {
        Some(key) => vec![key],
        None => config::keys().map(|key| key.name).collect(),
    };
    for name in &names {
        let e = loaded.explain(name).map_err(refused)?;
        if key.is_some() && format == Format::Text {
            let text = format!(
                "{} = {}\n  from {}; default {}; {}\n  {} or {}\n  {}\n",
                e.key, e.value, e.source, e.default, e.unit, e.environment, e.flag, e.doc
            );
            return print(&text);
        }
        table.row(vec![
            json!(e.key),
            json!(e.value),
            json!(e.source),
            json!(e.default),
            json!(e.unit),
            json!(e.environment),
            json!(e.flag),
            json!(e.doc),
        ]);
    }
    table.print(format, "keys")
}
