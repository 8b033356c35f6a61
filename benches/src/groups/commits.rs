//! Commits of offsets, by consumers that are no members: how many, how soon, and across the death of a coordinator.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use protocol::error_code::ErrorCode;
use protocol::messages::OffsetCommitRequest;
use protocol::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use rustix::process::{Pid, Signal, kill_process};

use super::{Bench, GroupRow, PATIENCE, RETRY, find_coordinator};
use crate::error::{Doing, Error, Result};
use crate::kafka::{Client, error_name};
use crate::probe::Sample;
use crate::report::{latencies, note};

const COMMIT_VERSION: i16 = 7;
const WARM: Duration = Duration::from_secs(1);

impl Bench<'_> {
    /// So many connections, each with a group of its own and one commit on the way.
    pub(super) fn commits(&self, connections: usize) -> Result<GroupRow> {
        let ready = Barrier::new(connections + 1);
        let one = |number: usize| -> Result<Histogram<u64>> {
            let group = self.group(&format!("commit{connections}"), number);
            let opened = find_coordinator(self.cluster, &group).and_then(|at| Client::connect(&at));
            ready.wait();
            let mut client = opened?;
            let (began, measured) = (Instant::now(), self.options.measured);
            let mut took = latencies();
            let mut offset = 0;
            while began.elapsed() < WARM + measured {
                let asked = Instant::now();
                offset += 1;
                match self.commit(&mut client, &group, offset)? {
                    0 => {}
                    code => return Err(refused(&group, code)),
                }
                let is_within = asked - began >= WARM && began.elapsed() <= WARM + measured;
                if is_within {
                    note(&mut took, asked.elapsed());
                }
            }
            Ok(took)
        };
        let (all, rise) = std::thread::scope(|scope| {
            let one = &one;
            let threads: Vec<_> = (0..connections)
                .map(|number| scope.spawn(move || one(number)))
                .collect();
            ready.wait();
            let before = Sample::take(&self.options.brokers);
            let mut all = latencies();
            for thread in threads {
                let took = thread.join().expect("a committer does not panic")?;
                all.add(took).expect("the same bounds");
            }
            let after = Sample::take(&self.options.brokers)?;
            let fsyncs = after.rise(&before?, |log| log.fsyncs);
            Ok::<_, Error>((all, fsyncs))
        })?;
        let seconds = (WARM + self.options.measured).as_secs_f64();
        let fsyncs = rise.map(|each| each.iter().sum::<u64>() as f64 / seconds);
        let name = format!("commit-x{connections}");
        let rate = all.len() as f64 / self.options.measured.as_secs_f64();
        Ok(GroupRow::of_rate(name, &all, rate, fsyncs))
    }

    /// The coordinator is killed under commits: from the last answer before to the first one after.
    pub(super) fn failover(&self) -> Result<GroupRow> {
        let group = self.group("failover", 0);
        let coordinator = find_coordinator(self.cluster, &group)?;
        let process = self.options.processes.get(&coordinator).ok_or_else(|| {
            Error::Usage(format!(
                "no process is named for the coordinator {coordinator}"
            ))
        })?;
        let pid = i32::try_from(*process).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Error::Usage(format!("{process} is no process")))?;
        let mut client = Client::connect(&coordinator)?;
        let began = Instant::now();
        let mut offset = 0;
        while began.elapsed() < WARM {
            offset += 1;
            match self.commit(&mut client, &group, offset)? {
                0 => {}
                code => return Err(refused(&group, code)),
            }
        }
        let last = Instant::now();
        kill_process(pid, Signal::KILL).doing(|| format!("kill {process}"))?;
        while last.elapsed() < PATIENCE {
            let answered = find_coordinator(self.cluster, &group)
                .and_then(|at| Client::connect(&at))
                .and_then(|mut client| self.commit(&mut client, &group, offset + 1));
            // Whatever it was: the coordinator is still being found, or loads.
            if let Ok(0) = answered {
                let took = [last.elapsed()];
                return Ok(GroupRow::of_times("coordinator-killed".into(), &took));
            }
            std::thread::sleep(RETRY);
        }
        Err(Error::Cluster(format!(
            "no commit within {PATIENCE:?} after the kill"
        )))
    }

    /// What the broker answers for one offset.
    fn commit(&self, client: &mut Client, group: &str, offset: i64) -> Result<i16> {
        let request = OffsetCommitRequest {
            group_id: group.into(),
            topics: vec![OffsetCommitRequestTopic {
                name: self.topic.name.as_str().into(),
                partitions: vec![OffsetCommitRequestPartition {
                    partition_index: 0,
                    committed_offset: offset,
                    ..OffsetCommitRequestPartition::default()
                }],
                ..OffsetCommitRequestTopic::default()
            }],
            ..OffsetCommitRequest::default()
        };
        let answer = client.call(&request, COMMIT_VERSION)?;
        let mut codes = answer.topics.iter().flat_map(|t| &t.partitions);
        let code = codes.next().map(|partition| partition.error_code);
        Ok(code.unwrap_or(ErrorCode::UnknownServerError.code()))
    }
}

fn refused(group: &str, code: i16) -> Error {
    Error::Cluster(format!("commit of {group}: {}", error_name(code)))
}
