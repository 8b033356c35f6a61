//! Latency and throughput of a cluster, each figure beside the floor: what the same machine and
//! disk can do at all when an acknowledgement means "synced on a majority".
//!
//! [`run`] measures [`Cell`]s against any broker that speaks Kafka and returns a [`Report`];
//! [`floor_suite`] measures the floor alone, [`run_groups`] consumer groups, [`run_suite`] everything that a throwaway
//! cluster is needed for, which it starts, fills, stops and kills: its [`Trial`]s.
//!
//! - An error is never counted as an acknowledgement, and a row that saw one is void.
//! - Throughput counts acknowledgements that arrived within the window; latency counts every
//!   request of the window, however late its answer came.
//! - Open loop latency counts from the intended instant; a row whose generator was late is void.
//! - The floor runs before and after each cell, because machines are shared and noisy.
//! - What was acknowledged is read back, record by record.
//! - What could not be measured is absent, never 0.
//!
//! It asserts no time and keeps no history. Start reading at `suite` and `measure`; the loop that sends is
//! `generator::drive`.

// Counts and durations become ratios and bytes of frames here, with far fewer than 52 bits.
#![allow(clippy::cast_precision_loss)]

mod cell;
mod error;
mod floor;
mod generator;
mod groups;
mod kafka;
mod machine;
mod measure;
mod probe;
mod report;
mod saturation;
mod stage;
mod steady;
mod suite;
mod trial;

pub use cell::{Cell, Offered, suite};
pub use error::{Error, Result};
pub use floor::{FloorRow, floor_json_lines, floor_suite, floor_table};
pub use groups::{GroupOptions, GroupReport, GroupRow, run_groups};
pub use kafka::ReadBack;
pub use machine::Machine;
pub use measure::{Options, run};
pub use probe::BrokerProbe;
pub use report::{FloorFigures, Floors, Log, Millis, Report, Row};
pub use saturation::Saturation;
pub use stage::{StageOptions, free_ports};
pub use suite::{SuiteOptions, SuiteReport, run_suite};
pub use trial::{Sizes, StoreFigures, Trial, TrialRow};
