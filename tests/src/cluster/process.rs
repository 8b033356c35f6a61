//! One child process, addressed by its own pid only.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::wait::{TimedOut, wait_for};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Exit {
        match status.code() {
            Some(code) => Exit::Code(code),
            None => Exit::Signal(status.signal().unwrap_or_default()),
        }
    }
}

/// A running child; killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a command with both outputs in `log`.
    pub fn spawn(mut command: Command, log: &Path) -> Process {
        let out = File::create(log).expect("harness: cannot create a log file");
        let err = out.try_clone().expect("harness: cannot share a log file");
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let program = command.get_program().to_owned();
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| panic!("harness: {program:?}: {error}"));
        Process { child }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn has_ended(&mut self) -> Option<Exit> {
        self.child.try_wait().ok().flatten().map(Exit::from)
    }

    /// Sends a signal. The child is not reaped yet, so the pid is still ours.
    #[allow(
        unsafe_code,
        reason = "kill(2) has no safe form in the standard library"
    )]
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("pids are positive i32");
        // SAFETY: kill takes two integers and touches no memory of ours.
        let sent = unsafe { libc::kill(pid, signal) };
        assert_eq!(sent, 0, "harness: signal {signal} to {pid}");
    }

    /// SIGKILL, and wait until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("harness: kill");
        self.child.wait().expect("harness: wait");
    }

    /// SIGTERM, and wait until it is gone; after `within` it is killed and late.
    pub fn terminate(mut self, within: Duration) -> Result<Exit, TimedOut> {
        self.signal(libc::SIGTERM);
        wait_for(
            "end after SIGTERM",
            within,
            Duration::from_millis(10),
            || self.has_ended(),
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A paused process dies of SIGKILL as well. Errors mean that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Below the ports that systems give to outgoing connections: one of those could come before the server that a port is
/// for.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// Ports that are free now, and that this process has not chosen before.
pub fn free_ports(count: usize) -> Vec<u16> {
    static TRIED: AtomicUsize = AtomicUsize::new(0);
    let first = std::process::id() as usize * 101;
    let next = || {
        let at = first + TRIED.fetch_add(1, Ordering::Relaxed);
        PORTS.start + (at % PORTS.len()) as u16
    };
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let free = std::iter::repeat_with(next).take(PORTS.len());
    let ports: Vec<u16> = free.filter(is_free).take(count).collect();
    assert_eq!(ports.len(), count, "harness: no free port");
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(folder: &Path) -> Process {
        let mut command = Command::new("sleep");
        command.arg("600");
        Process::spawn(command, &folder.join("log"))
    }

    /// The state letter in /proc/PID/stat.
    fn state(pid: u32) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    fn becomes(pid: u32, wanted: Option<char>) -> bool {
        let what = format!("state {wanted:?}");
        crate::wait::wait_until(&what, Duration::from_secs(10), || state(pid) == wanted).is_ok()
    }

    #[test]
    fn faults_on_processes_happen() {
        let folder = tempfile::tempdir().unwrap();
        let process = sleeper(folder.path());
        let pid = process.pid();
        assert!(becomes(pid, Some('S')));
        process.signal(libc::SIGSTOP);
        assert!(becomes(pid, Some('T')));
        process.signal(libc::SIGCONT);
        assert!(becomes(pid, Some('S')));
        process.kill();
        assert_eq!(state(pid), None, "killed and reaped");
    }

    #[test]
    fn termination_tells_how_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let ended = sleeper(folder.path()).terminate(Duration::from_secs(10));
        assert_eq!(ended, Ok(Exit::Signal(libc::SIGTERM)));
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done",
        ]);
        let log = folder.path().join("log");
        let process = Process::spawn(command, &log);
        let ready = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("ready"));
        crate::wait::wait_until("ready", Duration::from_secs(10), ready).unwrap();
        assert_eq!(
            process.terminate(Duration::from_secs(10)),
            Ok(Exit::Code(7))
        );
    }

    #[test]
    fn a_dropped_process_is_gone_even_when_paused() {
        let folder = tempfile::tempdir().unwrap();
        let process = sleeper(folder.path());
        let pid = process.pid();
        process.signal(libc::SIGSTOP);
        drop(process);
        assert_eq!(state(pid), None);
    }

    #[test]
    fn free_ports_are_distinct() {
        let mut ports = free_ports(30);
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 30);
    }
}
