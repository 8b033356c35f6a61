//! Random histories against the reference.

use crate::reference::*;
use proptest::prelude::*;
use raft::types::{EntryKind, GroupId, Index};
use wal::model::ModelDisk;
use wal::{Config, Log, Record};

#[derive(Clone, Debug)]
enum Step {
    Append {
        group: u64,
        count: u64,
        bytes: usize,
        kind: u8,
    },
    HardState {
        group: u64,
    },
    Truncate {
        group: u64,
        back: u64,
    },
    Trim {
        group: u64,
        keep: u64,
    },
    Install {
        group: u64,
        ahead: u64,
    },
    Derived {
        group: u64,
    },
    Remove {
        group: u64,
    },
    Jobs {
        most: usize,
    },
    Idle,
    Crash {
        seed: u64,
    },
    Reopen,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let group = 0..5_u64;
    prop_oneof![
        12 => (group.clone(), 1..5_u64, 24..4_000_usize, 0..4_u8)
            .prop_map(|(group, count, bytes, kind)| Step::Append { group, count, bytes, kind }),
        2 => group.clone().prop_map(|group| Step::HardState { group }),
        2 => (group.clone(), 1..6_u64).prop_map(|(group, back)| Step::Truncate { group, back }),
        3 => (group.clone(), 0..6_u64).prop_map(|(group, keep)| Step::Trim { group, keep }),
        1 => (group.clone(), 1..20_u64).prop_map(|(group, ahead)| Step::Install { group, ahead }),
        1 => group.clone().prop_map(|group| Step::Derived { group }),
        1 => group.prop_map(|group| Step::Remove { group }),
        6 => (1..6_usize).prop_map(|most| Step::Jobs { most }),
        1 => Just(Step::Idle),
        1 => any::<u64>().prop_map(|seed| Step::Crash { seed }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Close),
    ]
}

struct World {
    disk: std::sync::Arc<ModelDisk>,
    config: Config,
    log: Option<Log>,
    reference: Reference,
    term: u64,
    next_replica: u64,
}

impl World {
    fn new(config: Config) -> Self {
        let disk = ModelDisk::new(1);
        let (log, recovery) = open_with(&disk, config.clone()).unwrap();
        assert!(recovery.formatted);
        let reference = Reference::default();
        Self {
            disk,
            config,
            log: Some(log),
            reference,
            term: 1,
            next_replica: 1,
        }
    }

    fn write(&mut self, records: Vec<Record>) {
        self.reference.apply_all(&records);
        let log = self.log.as_mut().unwrap();
        log.write(records).unwrap();
        let reader = log.reader();
        assert_eq!(self.reference.difference_read(&reader), None);
    }

    /// The group's records, preceded by its base when it is not there.
    fn ensure(&mut self, group: u64) -> (raft::types::ReplicaId, u64, Vec<Record>) {
        if let Some(found) = self.reference.groups.get(&group) {
            return (found.replica, found.last(), Vec::new());
        }
        let replica = raft::types::ReplicaId(self.next_replica);
        self.next_replica += 1;
        let base = Record::Base {
            group: GroupId(group),
            replica,
            base: base_at(0, 0),
        };
        (replica, 0, vec![base])
    }

    fn reopen(&mut self) {
        self.log = None;
        let (log, recovery) = open_with(&self.disk, self.config.clone()).unwrap();
        assert!(recovery.damages.is_empty(), "{:?}", recovery.damages);
        assert_eq!(self.reference.difference(&recovery, &log.reader()), None);
        self.log = Some(log);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Append {
                group,
                count,
                bytes,
                kind,
            } => {
                let (replica, last, mut records) = self.ensure(group);
                self.term += u64::from(count == 4);
                let kind = EntryKind::from_u8(kind).unwrap();
                let entries = (last + 1..=last + count)
                    .map(|index| entry(group, index, self.term, kind, bytes))
                    .collect();
                records.push(Record::Entries {
                    group: GroupId(group),
                    replica,
                    entries,
                });
                self.write(records);
            }
            Step::HardState { group } => {
                let (replica, _, mut records) = self.ensure(group);
                self.term += 1;
                let Record::HardState { state, .. } = hard_state(group, self.term, 3) else {
                    unreachable!()
                };
                records.push(Record::HardState {
                    group: GroupId(group),
                    replica,
                    state,
                });
                self.write(records);
            }
            Step::Truncate { group, back } => {
                let Some(found) = self.reference.groups.get(&group) else {
                    return;
                };
                let from = (found.last() + 1)
                    .saturating_sub(back)
                    .max(found.base.index.0 + 1);
                let (group, replica) = (GroupId(group), found.replica);
                self.write(vec![Record::Truncate {
                    group,
                    replica,
                    from: Index(from),
                }]);
            }
            Step::Trim { group, keep } => {
                let Some(found) = self.reference.groups.get(&group) else {
                    return;
                };
                let index = found.last().saturating_sub(keep);
                let Some(last) = found.entries.get(&index) else {
                    return;
                };
                let base = base_at(index, last.term.0);
                let replica = found.replica;
                self.write(vec![Record::Base {
                    group: GroupId(group),
                    replica,
                    base,
                }]);
            }
            Step::Install { group, ahead } => {
                let (replica, last, mut records) = self.ensure(group);
                let base = base_at(last + ahead, self.term);
                records.push(Record::Base {
                    group: GroupId(group),
                    replica,
                    base,
                });
                self.write(records);
            }
            Step::Derived { group } => {
                let (replica, last, mut records) = self.ensure(group);
                let state = format!("derived {last}").into();
                let (group, index) = (GroupId(group), Index(last));
                records.push(Record::Derived {
                    group,
                    replica,
                    index,
                    state,
                });
                self.write(records);
            }
            Step::Remove { group } => {
                let Some(found) = self.reference.groups.get(&group) else {
                    return;
                };
                let replica = found.replica;
                self.write(vec![Record::Remove {
                    group: GroupId(group),
                    replica,
                }]);
            }
            Step::Jobs { most } => run_some_jobs(self.log.as_mut().unwrap(), most).unwrap(),
            Step::Idle => {
                self.log.as_mut().unwrap().zero_ahead();
                self.log.as_mut().unwrap().idle().unwrap();
            }
            Step::Crash { seed } => {
                self.log = None;
                self.disk.crash(seed);
                self.reopen();
            }
            Step::Reopen => self.reopen(),
            Step::Close => {
                self.log.take().unwrap().close().unwrap();
                self.reopen();
            }
        }
        let reader = self.log.as_ref().unwrap().reader();
        assert_eq!(
            self.reference.difference_read(&reader),
            None,
            "after {step:?}"
        );
    }
}

fn cases() -> ProptestConfig {
    let cases = if slow() { 2_000 } else { 48 };
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    /// Every history reads as the reference, before and after every crash and restart; space is used again.
    #[test]
    fn history_equals_reference(steps in prop::collection::vec(step(), 1..120), tail in any::<bool>()) {
        let tail_bytes = if tail { 64 << 10 } else { 0 };
        let mut world = World::new(Config { tail_bytes, ..Config::tiny() });
        for step in &steps {
            world.step(step);
        }
        world.step(&Step::Crash { seed: 9 });
        world.step(&Step::Close);
    }

    /// The same with a cleaner that finds everything worth rewriting.
    #[test]
    fn history_equals_reference_while_cleaning(steps in prop::collection::vec(step(), 1..120)) {
        let config = Config { clean_slack_bytes: 0, unsorted_bytes_max: 64 << 10, ..Config::tiny() };
        let mut world = World::new(config);
        for step in &steps {
            world.step(step);
            run_some_jobs(world.log.as_mut().unwrap(), 3).unwrap();
        }
        world.step(&Step::Crash { seed: 9 });
    }
}
