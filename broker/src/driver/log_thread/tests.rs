use std::sync::mpsc::{Receiver, channel};

use bytes::Bytes;
use raft::types::{Base, Entry, EntryKind, GroupId, Index, ReplicaId, Term};
use wal::model::ModelDisk;
use wal::{Disk, Identity, JobDone};

use super::queue::Outlook;
use super::*;

const PAYLOAD: usize = 4 << 10;

fn log(disk: Arc<dyn Disk>) -> Log {
    let opened = Log::open(disk, wal::Config::tiny(), Identity::default());
    let mut log = opened.expect("a new log").0;
    let base = Record::Base {
        group: GroupId(1),
        replica: ReplicaId(1),
        base: Base::default(),
    };
    log.write(vec![base]).expect("a group");
    log
}

fn entry(index: u64) -> Vec<Record> {
    let entry = Entry {
        index: Index(index),
        term: Term(1),
        kind: EntryKind::Records,
        payload: Bytes::from(vec![7; PAYLOAD]),
    };
    vec![Record::Entries {
        group: GroupId(1),
        replica: ReplicaId(1),
        entries: vec![entry],
    }]
}

/// A worker whose jobs nobody runs but the test.
fn worker(log: Log) -> (Worker, Receiver<Job>, Receiver<Job>) {
    let (urgent, urgent_jobs) = channel();
    let (leisurely, leisurely_jobs) = channel();
    let worker = Worker {
        log,
        urgent,
        leisurely,
        shared: Arc::default(),
        held: Held::default(),
        through: AppendId::default(),
        told_full: false,
        donors: Vec::new(),
        slowest: Slowest::new(Instant::now()),
    };
    (worker, urgent_jobs, leisurely_jobs)
}

#[test]
fn finished_jobs_are_taken_in_while_appends_keep_coming() {
    let (mut worker, urgent, leisurely) = worker(log(ModelDisk::new(1)));
    let mut settled = 0;
    for index in 1..=64 {
        // Two clients that take turns: one of them always has something in the queue.
        worker.start_jobs().expect("the queues are open");
        let jobs = urgent.try_iter().chain(leisurely.try_iter());
        let done: Vec<JobDone> = jobs.map(Job::run).collect();
        settled += done.len();
        let mut queue = locked(&worker.shared.queue);
        queue.jobs_done.extend(done);
        let append = AppendId::default();
        queue.appends.push_back((append, entry(index)));
        drop(queue);
        let turn = locked(&worker.shared.queue).turn();
        let Turn { jobs, work, .. } = turn.expect("something to do");
        assert!(locked(&worker.shared.queue).jobs_done.is_empty());
        assert!(matches!(work, Work::Append(..)), "appends do not wait");
        worker.finish(jobs).expect("a job's result");
        worker.work(work).expect("a round");
    }
    assert!(settled > 8, "{settled} jobs in 256 KiB of segments of 64");
}

#[test]
fn a_disk_that_is_found_full_by_the_write_itself_ends_nothing() {
    let disk = ModelDisk::new(2);
    let (mut worker, ..) = worker(log(disk.clone()));
    let mut index = 0;
    for _ in 0..40 {
        index += 1;
        let written = worker.write(AppendId::default(), entry(index));
        assert!(!written.expect("room").disk_full);
    }
    // Somebody else takes what is left; the log has not looked since its last segment was made.
    disk.set_capacity(worker.log.stats().used_bytes);
    let done = loop {
        index += 1;
        let believed = worker.log.room().entries;
        let done = worker.write(AppendId::default(), entry(index));
        let done = done.expect("a full disk is no failure");
        if done.disk_full && !done.held.is_empty() {
            assert!(believed, "the write was the first to find out");
            break done;
        }
        assert!(index < 200, "the disk never became full");
    };
    assert_eq!(done.held, [GroupId(1)]);
    assert!(worker.retry().expect("still full").is_none());
    disk.set_capacity(u64::MAX);
    let done = worker.retry().expect("room").expect("a round");
    assert!(done.held.is_empty());
    let reader = worker.log.reader();
    let (_, last) = reader
        .bounds(GroupId(1), ReplicaId(1))
        .expect("the group is there");
    assert_eq!(last, Index(index), "what waited was written");
}

/// What shortens a partition stands behind its records: it does not wait for the room that it brings.
#[test]
fn a_command_goes_into_the_reserve_with_what_waits_before_it() {
    let disk = ModelDisk::new(4);
    let (mut worker, ..) = worker(log(disk.clone()));
    disk.set_capacity(worker.log.stats().used_bytes + (1 << 20));
    let mut index = 0;
    let done = loop {
        index += 1;
        let done = worker.write(AppendId::default(), entry(index));
        let done = done.expect("a full disk is no failure");
        if !done.held.is_empty() {
            break done;
        }
        assert!(index < 2000, "the disk never became full");
    };
    assert_eq!(done.held, [GroupId(1)]);
    assert_eq!(last_index(&worker.log.reader()), index - 1);
    let command = Entry {
        index: Index(index + 1),
        term: Term(1),
        kind: EntryKind::Command,
        payload: Bytes::from_static(b"a snapshot"),
    };
    let command = Record::Entries {
        group: GroupId(1),
        replica: ReplicaId(1),
        entries: vec![command],
    };
    let done = worker.write(AppendId(index), vec![command]);
    let done = done.expect("the reserve is there");
    assert!(done.held.is_empty() && done.disk_full, "{done:?}");
    assert_eq!(
        (done.through, last_index(&worker.log.reader())),
        (AppendId(index), index + 1)
    );
}

/// What a log gives back when it is quiet it gives back without a write: the thread looks again by itself.
#[test]
fn a_log_that_nobody_writes_to_is_looked_at_when_it_is_due() {
    let config = wal::Config {
        quiet_after: Duration::from_millis(20),
        ..wal::Config::tiny()
    };
    let opened = Log::open(ModelDisk::new(3), config, Identity::default());
    let (worker, ..) = worker(opened.expect("a new log").0);
    assert!(worker.log.due().is_some(), "it is not quiet yet");
    let (sender, turns) = channel();
    let wait = move || worker.shared.wait(worker.outlook(), &mut true);
    std::thread::spawn(move || sender.send(wait()));
    let turn = turns.recv_timeout(Duration::from_secs(30));
    assert!(matches!(turn, Ok(Work::Nothing)), "it waits for a write");
}

fn last_index(reader: &wal::Reader) -> u64 {
    let bounds = reader.bounds(GroupId(1), ReplicaId(1));
    bounds.expect("the group is there").1.0
}

/// A short round is written where it is brought, and only when nothing is before it.
#[test]
fn a_short_round_overtakes_nothing() {
    let (sender, events) = channel();
    let log = log(ModelDisk::new(5));
    let reader = log.reader();
    let thread = LogThread::start(log, move |event| drop(sender.send(event)));
    let thread = thread.expect("threads");
    let done = thread.append_short(AppendId(1), entry(1), false);
    let Some(LogEvent::Done(done)) = done else {
        panic!("an idle log takes it at once: {done:?}");
    };
    assert_eq!((done.through, last_index(&reader)), (AppendId(1), 1));
    events.try_recv().expect_err("nobody else tells of it");

    // While another is being written, everything queues.
    let busy = locked(&thread.worker);
    for index in 2..=3 {
        let done = thread.append_short(AppendId(index), entry(index), false);
        assert!(done.is_none(), "{done:?}");
    }
    assert_eq!(last_index(&reader), 1);
    drop(busy);
    let through = |event| match event {
        LogEvent::Done(done) => done.through,
        LogEvent::Failed(why) => panic!("{why}"),
    };
    while through(heard(&events)) != AppendId(3) {}
    assert_eq!(last_index(&reader), 3);
    thread.close();
    let done = thread.append_short(AppendId(4), entry(4), false);
    assert!(done.is_none(), "the log is closed");
}

#[test]
fn a_round_that_may_take_long_is_for_the_log_thread() {
    let (mut worker, ..) = worker(log(ModelDisk::new(6)));
    let here = |worker: &mut Worker, index| {
        let done = worker.write_here(AppendId::default(), entry(index), false);
        let is_failed = matches!(done, Ok(LogEvent::Failed(_)));
        assert!(!is_failed, "{done:?}");
        done.is_ok()
    };
    assert!(here(&mut worker, 1));
    worker.slowest.note(Instant::now(), 0.01);
    let before_others = worker.write_here(AppendId::default(), entry(2), true);
    let given_back = before_others.expect_err("others may be quicker than this disk");
    assert_eq!(given_back, entry(2));
    assert!(here(&mut worker, 2));
    worker.slowest.note(Instant::now(), 0.1);
    assert!(!here(&mut worker, 3), "the disk was slow");
    worker.slowest = Slowest::new(Instant::now());
    worker.told_full = true;
    assert!(!here(&mut worker, 3), "the disk is full");
    worker.told_full = false;
    // The next segment may have to be made first.
    let fitting = (3..100).find(|index| !here(&mut worker, *index));
    let index = fitting.expect("64 KiB are full at some time");
    let written = worker.write(AppendId::default(), entry(index));
    assert!(!written.expect("a round").disk_full);
    assert!(here(&mut worker, index + 1), "there is a new segment");

    let many = |count| vec![entry(1); count].concat();
    assert!(worker::is_short(&many(8)));
    assert!(!worker::is_short(&many(9)), "too many entries");
    let large = Record::Derived {
        group: GroupId(1),
        replica: ReplicaId(1),
        index: Index(1),
        state: Bytes::from(vec![0; 65 << 10]),
    };
    assert!(!worker::is_short(&[large]), "too many bytes");
}

#[test]
fn a_slow_round_is_forgotten_after_a_while() {
    let limit = Duration::from_millis(2);
    let began = Instant::now();
    let at = |ms| began + Duration::from_millis(ms);
    let mut slowest = Slowest::new(began);
    slowest.note(at(900), 0.003);
    assert!(!slowest.is_within(at(901), limit));
    slowest.note(at(1_000), 0.001);
    assert!(!slowest.is_within(at(1_900), limit), "it is a second old");
    assert!(slowest.is_within(at(2_000), limit));
    slowest.note(at(2_900), 0.003);
    assert!(slowest.is_within(at(5_000), limit), "nobody wrote since");
}

/// The end of what others wrote is marked as well.
#[test]
fn a_log_is_idle_when_nobody_has_written_for_a_while() {
    let shared = Shared::default();
    let outlook = Outlook {
        has_room: true,
        due: None,
    };
    let mut idle = true;
    locked(&shared.queue).written_elsewhere = true;
    assert!(matches!(shared.wait(outlook, &mut idle), Work::Nothing));
    assert!(!idle, "somebody has written");
    assert!(matches!(shared.wait(outlook, &mut idle), Work::Idle));
}

fn heard(events: &Receiver<LogEvent>) -> LogEvent {
    let wait = Duration::from_secs(30);
    events.recv_timeout(wait).expect("the thread tells")
}

#[test]
fn a_panic_of_the_log_thread_is_told() {
    let (sender, events) = channel();
    let tell = move |event| {
        let bug = matches!(event, LogEvent::Done(_));
        sender.send(event).expect("the test listens");
        assert!(!bug, "a bug that this test has put here");
    };
    let thread = LogThread::start(log(ModelDisk::new(3)), tell).expect("a thread");
    thread.append(AppendId::default(), entry(1));
    assert!(matches!(heard(&events), LogEvent::Done(_)));
    assert!(matches!(heard(&events), LogEvent::Failed(_)));
}

/// A disk on which making a second file of the log is a bug.
struct Trap(Arc<ModelDisk>, Mutex<bool>);

impl Disk for Trap {
    fn list(&self) -> std::io::Result<Vec<String>> {
        self.0.list()
    }
    fn create(&self, name: &str, bytes: u64) -> std::io::Result<Arc<dyn wal::File>> {
        assert!(!*locked(&self.1), "a bug that this test has put here");
        self.0.create(name, bytes)
    }
    fn open(&self, name: &str) -> std::io::Result<Arc<dyn wal::File>> {
        self.0.open(name)
    }
    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, name: &str) -> std::io::Result<()> {
        self.0.remove(name)
    }
    fn sync_directory(&self) -> std::io::Result<()> {
        self.0.sync_directory()
    }
    fn free_bytes(&self) -> std::io::Result<u64> {
        self.0.free_bytes()
    }
    fn direct(&self) -> bool {
        self.0.direct()
    }
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
    fn rest(&self, time: Duration) {
        self.0.rest(time);
    }
    fn random(&self) -> u64 {
        self.0.random()
    }
}

#[test]
fn a_panic_of_a_job_thread_is_told() {
    let trap = Arc::new(Trap(ModelDisk::new(4), Mutex::new(false)));
    let log = log(trap.clone());
    *locked(&trap.1) = true;
    let (sender, events) = channel();
    let thread = LogThread::start(log, move |event| drop(sender.send(event))).expect("a thread");
    // The first round asks for a spare segment.
    thread.append(AppendId::default(), entry(1));
    let failed = |event| matches!(event, LogEvent::Failed(wal::Error::Poisoned { .. }));
    assert!((0..10).any(|_| failed(heard(&events))));
}

/// Copies of what a disk did not keep are written though nobody appends anything, and who gave them hears the end of it,
/// also of those that are no copies.
#[test]
fn copies_of_damaged_entries_are_written_by_an_idle_log() {
    let disk = ModelDisk::new(2);
    let mut first = log(disk.clone());
    let entries = entry(1);
    first.write(entries.clone()).expect("written");
    first.close().expect("closed");
    let payload = vec![7; PAYLOAD];
    let names = disk.list().expect("names");
    let find = |name: &String| {
        let bytes = disk.bytes(name)?;
        let at = bytes
            .windows(PAYLOAD)
            .position(|window| window == payload)?;
        Some((name.clone(), at))
    };
    let (name, at) = names.iter().find_map(find).expect("it is there");
    disk.flip_bit(&name, (at + 100) * 8);
    let opened = Log::open(disk, wal::Config::tiny(), Identity::default());
    let (log, _) = opened.expect("it opens");
    let reader = log.reader();
    let (group, replica, index) = (GroupId(1), ReplicaId(1), Index(1));
    let read = || reader.entries(group, replica, index, index, 1);
    read().expect_err("it is damaged");
    let lacking = reader.survey();
    assert_eq!((lacking.len(), lacking[0].first), (1, index));
    let thread = LogThread::start(log, |event| {
        assert!(matches!(event, LogEvent::Done(_)), "{event:?}");
    });
    let thread = thread.expect("threads");
    let Record::Entries { entries, .. } = &entries[0] else {
        unreachable!("these are entries");
    };
    let other = Entry {
        term: Term(9),
        ..entries[0].clone()
    };
    for (given, healed) in [(vec![other], false), (entries.clone(), true)] {
        let answer = thread.donate(group, replica, given);
        answer.blocking_recv().expect_err("it ends without a word");
        assert_eq!(read().is_ok(), healed);
    }
    assert_eq!(&read().expect("healed"), entries);
    assert_eq!(thread.stats().entries_healed, 1);
    thread.close();
}
