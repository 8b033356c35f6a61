//! What a broker says about itself (`/metrics`) and what the kernel says about it (`/proc`).
//! What cannot be known stays `None`, never 0.

use crate::error::{Doing, Error, Result};
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const SCRAPE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where to look at one broker.
#[derive(Clone, Debug, Default)]
pub struct BrokerProbe {
    /// Admin listener, `host:port`, whose `/metrics` is read.
    pub admin: Option<String>,
    /// Process, for CPU and memory. Brokers that share a process are counted once.
    pub pid: Option<u32>,
}

/// The counters of one broker's log, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounters {
    /// `walser_wal_fsyncs_total`
    pub fsyncs: Option<u64>,
    /// `walser_wal_rounds_total`
    pub rounds: Option<u64>,
    /// `walser_wal_bytes_written_total`
    pub bytes_written: Option<u64>,
}

/// One look at the whole cluster.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// One per broker that has an admin address.
    pub logs: Vec<LogCounters>,
    /// User and system time of all processes.
    pub cpu_seconds: Option<f64>,
    /// Resident memory of all processes.
    pub rss_bytes: Option<u64>,
}

impl Sample {
    /// Looks at every broker.
    ///
    /// # Errors
    /// When an address or a process that was named does not answer: a number that silently went
    /// missing would be read as a measurement.
    pub fn take(brokers: &[BrokerProbe]) -> Result<Self> {
        let admins = brokers.iter().filter_map(|broker| broker.admin.as_deref());
        let logs = admins.map(log_counters).collect::<Result<_>>()?;
        Ok(Self {
            logs,
            ..Self::of_processes(brokers)?
        })
    }

    /// Looks at the processes only: nobody is asked anything.
    ///
    /// # Errors
    /// When a process that was named is not there.
    pub fn of_processes(brokers: &[BrokerProbe]) -> Result<Self> {
        let mut pids: Vec<u32> = brokers.iter().filter_map(|broker| broker.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        if pids.is_empty() {
            return Ok(Self::default());
        }
        let cpu = pids.iter().copied().map(cpu_seconds).sum::<Result<f64>>()?;
        let rss = pids.iter().copied().map(rss_bytes).sum::<Result<u64>>()?;
        Ok(Self {
            logs: Vec::new(),
            cpu_seconds: Some(cpu),
            rss_bytes: Some(rss),
        })
    }

    /// How much a counter rose in each broker since `before`; `None` where one does not have it.
    #[must_use]
    pub fn rise(
        &self,
        before: &Self,
        counter: impl Fn(&LogCounters) -> Option<u64>,
    ) -> Option<Vec<u64>> {
        if self.logs.is_empty() || self.logs.len() != before.logs.len() {
            return None;
        }
        let pairs = self.logs.iter().zip(&before.logs);
        pairs
            .map(|(after, before)| counter(after)?.checked_sub(counter(before)?))
            .collect()
    }
}

/// Reads one broker's.
pub(crate) fn log_counters(admin: &str) -> Result<LogCounters> {
    let text = get(admin, "/metrics")?;
    Ok(LogCounters {
        fsyncs: counter(&text, "walser_wal_fsyncs_total"),
        rounds: counter(&text, "walser_wal_rounds_total"),
        bytes_written: counter(&text, "walser_wal_bytes_written_total"),
    })
}

/// The sum of a family over all its series and brokers.
///
/// # Errors
/// When a broker does not answer, or does not have the family.
pub(crate) fn total(brokers: &[BrokerProbe], family: &str) -> Result<u64> {
    let one = |admin: &str| {
        counter(&get(admin, "/metrics")?, family).ok_or_else(|| Error::Malformed {
            peer: admin.into(),
            what: format!("metrics without {family}"),
        })
    };
    let admins = brokers.iter().filter_map(|broker| broker.admin.as_deref());
    admins.map(one).sum()
}

/// What an admin listener answers.
pub(crate) fn get(admin: &str, path: &str) -> Result<String> {
    ask("GET", admin, path)
}

/// Has an admin listener do something.
pub(crate) fn post(admin: &str, path: &str) -> Result<String> {
    ask("POST", admin, path)
}

/// One request over HTTP/1.0: the answer ends where the connection does, and is never chunked.
fn ask(method: &str, admin: &str, path: &str) -> Result<String> {
    let fetch = || {
        let address = admin.to_socket_addrs()?.next();
        let address = address.ok_or_else(|| std::io::Error::other("no such address"))?;
        let mut socket = TcpStream::connect_timeout(&address, SCRAPE_TIMEOUT)?;
        socket.set_read_timeout(Some(SCRAPE_TIMEOUT))?;
        write!(socket, "{method} {path} HTTP/1.0\r\nHost: {admin}\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = fetch().doing(|| format!("{method} http://{admin}{path}"))?;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return Err(Error::Malformed {
            peer: admin.into(),
            what: "no HTTP header".into(),
        });
    };
    match head.split_whitespace().nth(1) {
        Some("200") => Ok(body.into()),
        _ => Err(Error::Cluster(format!(
            "{method} http://{admin}{path}: {} {body}",
            head.lines().next().unwrap_or_default()
        ))),
    }
}

/// Bytes that these brokers' processes have had read from devices, page faults included.
pub(crate) fn bytes_read(brokers: &[BrokerProbe]) -> Result<u64> {
    let one = |pid: u32| {
        let io = proc_file(pid, "io")?;
        let line = io
            .lines()
            .find_map(|line| line.strip_prefix("read_bytes: "));
        let bytes = line.and_then(|bytes| bytes.parse::<u64>().ok());
        bytes.ok_or_else(|| Error::Malformed {
            peer: format!("/proc/{pid}/io"),
            what: io.clone(),
        })
    };
    brokers
        .iter()
        .filter_map(|broker| broker.pid)
        .map(one)
        .sum()
}

/// A whole number, see [`figure`].
pub(crate) fn counter(text: &str, family: &str) -> Option<u64> {
    figure(text, family).map(|figure| figure as u64)
}

/// The sum of a family's series in the Prometheus text format, `None` when there is none.
pub(crate) fn figure(text: &str, family: &str) -> Option<f64> {
    let series = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(family)?;
        let value = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    let values: Vec<f64> = series.collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// A histogram's buckets: upper bounds, and how many observations each of them and all below hold.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Buckets(Vec<(f64, u64)>);

impl Buckets {
    /// Of a family of one series, in the Prometheus text format.
    pub(crate) fn of(text: &str, family: &str) -> Option<Self> {
        let prefix = format!("{family}_bucket{{le=\"");
        let each = text.lines().filter_map(|line| {
            let (bound, count) = line.strip_prefix(&prefix)?.split_once("\"} ")?;
            // `+Inf` is a number here.
            Some((bound.parse().ok()?, count.parse::<f64>().ok()? as u64))
        });
        let buckets: Vec<(f64, u64)> = each.collect();
        (!buckets.is_empty()).then_some(Self(buckets))
    }

    /// The upper bound of the highest observation since; `None` where there was none, or the counts began anew.
    pub(crate) fn slowest_since(&self, before: &Self) -> Option<f64> {
        let pairs = self.0.iter().zip(&before.0);
        let rises: Vec<(f64, u64)> = pairs
            .map(|(now, before)| Some((now.0, now.1.checked_sub(before.1)?)))
            .collect::<Option<_>>()?;
        let all = rises.last()?.1;
        let reached = rises.iter().find(|(_, rise)| *rise == all)?;
        (all > 0).then_some(reached.0)
    }
}

fn proc_file(pid: u32, name: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{name}");
    std::fs::read_to_string(&path).doing(|| format!("read {path}"))
}

fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = proc_file(pid, "stat")?;
    // The command's name stands in parentheses and may itself hold spaces and parentheses.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u64>);
    let ticks = ticks
        .sum::<std::result::Result<u64, _>>()
        .map_err(|e| Error::Malformed {
            peer: format!("/proc/{pid}/stat"),
            what: e.to_string(),
        })?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn rss_bytes(pid: u32) -> Result<u64> {
    let statm = proc_file(pid, "statm")?;
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    let pages = pages.ok_or_else(|| Error::Malformed {
        peer: format!("/proc/{pid}/statm"),
        what: statm.trim().into(),
    })?;
    Ok(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_sums_the_series_of_its_family_only() {
        let text = "# TYPE walser_wal_rounds_total counter\n\
                    walser_wal_rounds_total{kind=\"a}b\"} 3\n\
                    walser_wal_rounds_total{kind=\"c\"} 4 1700000000\n\
                    walser_wal_rounds_total_created 9\n\
                    walser_wal_fsyncs_total 1.2e3\n";
        assert_eq!(counter(text, "walser_wal_rounds_total"), Some(7));
        assert_eq!(counter(text, "walser_wal_fsyncs_total"), Some(1200));
        assert_eq!(counter(text, "walser_wal_bytes_written_total"), None);
    }

    #[test]
    fn the_slowest_observation_between_two_looks_is_within_its_bucket() {
        let text = |counts: [u64; 3]| {
            let line = |(bound, count)| format!("f_bucket{{le=\"{bound}\"}} {count}\n");
            let bounds = ["0.001", "0.5", "+Inf"];
            let lines: String = bounds.into_iter().zip(counts).map(line).collect();
            lines + "f_sum 3\nf_count 9\n"
        };
        let of = |counts| Buckets::of(&text(counts), "f").unwrap();
        assert_eq!(of([3, 4, 4]).slowest_since(&of([1, 1, 1])), Some(0.5));
        assert_eq!(of([3, 4, 4]).slowest_since(&of([1, 2, 2])), Some(0.001));
        assert_eq!(
            of([3, 4, 5]).slowest_since(&of([3, 4, 4])),
            Some(f64::INFINITY)
        );
        assert_eq!(of([3, 4, 4]).slowest_since(&of([3, 4, 4])), None);
        assert_eq!(
            of([0, 1, 1]).slowest_since(&of([3, 4, 4])),
            None,
            "a new life"
        );
        assert_eq!(Buckets::of("f_count 9\n", "f"), None);
    }

    #[test]
    fn own_process_has_memory_and_its_cpu_time_rises() {
        let me = std::process::id();
        assert!(rss_bytes(me).unwrap() > 100_000);
        let before = cpu_seconds(me).unwrap();
        let mut spins = 0u64;
        while cpu_seconds(me).unwrap() <= before && spins < 100_000_000 {
            spins += 1;
        }
        assert!(cpu_seconds(me).unwrap() > before);
    }

    #[test]
    fn a_process_that_does_not_exist_is_an_error_and_not_zero() {
        let nobody = BrokerProbe {
            admin: None,
            pid: Some(u32::MAX),
        };
        assert!(Sample::take(&[nobody]).is_err());
    }

    #[test]
    fn a_counter_that_one_broker_lacks_is_unknown() {
        let with = |fsyncs| LogCounters {
            fsyncs,
            ..LogCounters::default()
        };
        let sample = |logs| Sample {
            logs,
            ..Sample::default()
        };
        let before = sample(vec![with(Some(1)), with(Some(2))]);
        let after = sample(vec![with(Some(5)), with(Some(9))]);
        assert_eq!(after.rise(&before, |log| log.fsyncs), Some(vec![4, 7]));
        let blind = sample(vec![with(Some(5)), with(None)]);
        assert_eq!(blind.rise(&before, |log| log.fsyncs), None);
    }
}
