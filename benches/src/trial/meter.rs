//! Sums the brokers' counters up over lives that begin and end within a trial.

use super::TrialRow;
use crate::error::Result;
use crate::probe::{LogCounters, log_counters};
use crate::stage::Stage;
use std::collections::BTreeMap;

/// What all brokers did since it was made. What a killed broker did after it was last looked at is missing.
pub(super) struct Meter {
    last: BTreeMap<u16, LogCounters>,
    sum: LogCounters,
}

impl Meter {
    /// Begins with the brokers that run.
    pub(super) fn new(stage: &Stage) -> Result<Self> {
        let read = |id: u16| Ok((id, log_counters(stage.admin(id))?));
        let last = stage.ids().into_iter().map(read).collect::<Result<_>>()?;
        let zero = LogCounters {
            fsyncs: Some(0),
            rounds: Some(0),
            bytes_written: Some(0),
        };
        Ok(Self { last, sum: zero })
    }

    /// Looks at one that runs.
    pub(super) fn look(&mut self, stage: &Stage, id: u16) -> Result<()> {
        let now = log_counters(stage.admin(id))?;
        let before = self.last.insert(id, now).unwrap_or_default();
        let add = |sum: &mut Option<u64>, before: Option<u64>, now: Option<u64>| {
            let rise = now.map(|now| now.saturating_sub(before.unwrap_or(0)));
            *sum = sum.zip(rise).map(|(sum, rise)| sum + rise);
        };
        add(&mut self.sum.fsyncs, before.fsyncs, now.fsyncs);
        add(&mut self.sum.rounds, before.rounds, now.rounds);
        add(
            &mut self.sum.bytes_written,
            before.bytes_written,
            now.bytes_written,
        );
        Ok(())
    }

    /// Looks at one for the last time in this life: the next one counts from nought.
    pub(super) fn look_and_forget(&mut self, stage: &Stage, id: u16) -> Result<()> {
        self.look(stage, id)?;
        self.last.remove(&id);
        Ok(())
    }

    /// Looks at all, which run, and writes the sums down.
    pub(super) fn finish(mut self, stage: &Stage, row: &mut TrialRow) -> Result<()> {
        for id in stage.ids() {
            self.look(stage, id)?;
        }
        row.fsyncs = self.sum.fsyncs;
        row.rounds = self.sum.rounds;
        row.device_bytes = self.sum.bytes_written;
        Ok(())
    }
}
