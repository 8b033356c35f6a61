//! The log against a plain list.

use super::*;
use crate::types::{EntryKind, Membership};
use proptest::prelude::*;

/// (index, term) of everything ever kept, from the base on; payloads from `memory` on.
#[derive(Debug)]
struct Model {
    base: (u64, u64),
    terms: Vec<u64>,
    memory: u64,
}

impl Model {
    fn last(&self) -> u64 {
        self.base.0 + self.terms.len() as u64
    }

    fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        self.terms
            .get(index.checked_sub(self.base.0 + 1)? as usize)
            .copied()
    }

    fn last_at_most(&self, index: u64, term: u64) -> u64 {
        let from = index.min(self.last());
        let fits = |i: &u64| self.term_at(*i).is_some_and(|t| t <= term);
        (self.base.0..=from).rev().find(fits).unwrap_or(self.base.0)
    }
}

fn base(index: u64, term: u64) -> Base {
    let membership = Membership::default();
    Base {
        index: Index(index),
        term: Term(term),
        membership,
        state: Bytes::from_static(b"state"),
    }
}

fn compare(log: &Log, model: &Model) {
    assert_eq!(log.last_index().0, model.last());
    assert_eq!(log.first_in_memory().0, model.memory.max(model.base.0 + 1));
    assert_eq!(Some(log.last_term().0), model.term_at(model.last()));
    assert!(log.base().state.is_empty());
    for index in 0..=model.last() + 2 {
        let found = log.term_at(Index(index)).map(|term| term.0);
        assert_eq!(found, model.term_at(index), "term at {index} of {model:?}");
        for term in 0..=model.term_at(model.last()).unwrap() + 1 {
            let found = log.last_at_most(Index(index), Term(term)).0;
            assert_eq!(
                found,
                model.last_at_most(index, term),
                "{index} {term} {model:?}"
            );
        }
    }
    let tail: Vec<_> = log
        .tail(Index(0))
        .map(|entry| (entry.index.0, entry.term.0))
        .collect();
    let from = log.first_in_memory().0;
    let expected: Vec<_> = (from..=model.last())
        .map(|i| (i, model.term_at(i).unwrap()))
        .collect();
    assert_eq!(tail, expected);
}

fn apply(log: &mut Log, model: &mut Model, (verb, amount, jump): (u8, u64, u64)) {
    match verb {
        0..=3 => {
            for _ in 0..=amount {
                let term = model.term_at(model.last()).unwrap() + u64::from(jump == 0);
                let index = Index(model.last() + 1);
                let payload = Bytes::from(vec![0; jump as usize]);
                let kind = EntryKind::Records;
                log.append(Entry {
                    index,
                    term: Term(term),
                    kind,
                    payload,
                });
                model.terms.push(term);
            }
        }
        4 if !model.terms.is_empty() => {
            let from = model.last() - amount.min(model.terms.len() as u64 - 1);
            log.truncate(Index(from));
            model.terms.truncate((from - model.base.0 - 1) as usize);
            model.memory = model.memory.min(from);
        }
        5 if !model.terms.is_empty() => {
            let index = model.base.0 + 1 + amount.min(model.terms.len() as u64 - 1);
            let term = model.term_at(index).unwrap();
            log.trim(base(index, term));
            model.terms.drain(..(index - model.base.0) as usize);
            model.base = (index, term);
        }
        6 => {
            let index = model.last() + 1 + amount;
            let term = model.term_at(model.last()).unwrap() + jump;
            log.replace(base(index, term));
            *model = Model {
                base: (index, term),
                terms: Vec::new(),
                memory: index + 1,
            };
        }
        7 => {
            let upto = model.base.0 + amount;
            log.evict(Index(upto));
            model.memory = model.memory.max(upto.min(model.last()) + 1);
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn a_log_is_a_list(ops in prop::collection::vec((0u8..8, 0u64..6, 0u64..4), 0..60)) {
        let mut log = Log::new(base(0, 0), Index(0), Vec::new());
        let mut model = Model { base: (0, 0), terms: Vec::new(), memory: 1 };
        for op in ops {
            apply(&mut log, &mut model, op);
            compare(&log, &model);
        }
    }

    #[test]
    fn a_collection_is_bounded(
        sizes in prop::collection::vec(0usize..400, 1..20),
        max in 0u64..2000,
    ) {
        let mut log = Log::new(base(0, 0), Index(0), Vec::new());
        for (at, size) in sizes.iter().enumerate() {
            let (index, kind) = (Index(at as u64 + 1), EntryKind::Records);
            let payload = Bytes::from(vec![0; *size]);
            log.append(Entry { index, term: Term(1), kind, payload });
        }
        let (entries, bytes) = log.collect(Index(1), max);
        prop_assert!(!entries.is_empty());
        prop_assert_eq!(bytes, entries.iter().map(entry_bytes).sum::<u64>());
        prop_assert!(bytes <= max || entries.len() == 1);
        if let Some(next) = log.tail(Index(entries.len() as u64 + 1)).next() {
            prop_assert!(bytes + entry_bytes(next) > max, "as much as fits");
        }
    }
}
