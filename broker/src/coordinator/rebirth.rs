//! Groups of a cluster that is restored from its snapshot store. Nobody who was a member is one any longer, and whatever
//! generation or epoch a client may still hold is of the past.

use std::collections::BTreeMap;

use super::state::{Groups, StoredGroup};
use crate::metadata::TopicId;

/// So much higher are generations and epochs: more than the cluster that was can have counted since the snapshot.
const JUMP: i32 = 1 << 16;

/// What groups find in the restored cluster.
#[derive(Clone, Debug, Default)]
pub struct Rebirth {
    /// By topic and partition: which topic, and its first offset that is not there.
    pub ends: BTreeMap<(String, i32), (TopicId, i64)>,
    /// A version of the metadata in which all these topics are there.
    pub known_at: u64,
    /// Now, in wall-clock ms: from now on they are empty.
    pub now_ms: i64,
    /// Only some topics are restored: offsets of others are of nothing, and go.
    pub is_partial: bool,
}

/// A committed offset beyond the end of what was restored.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Clamped {
    /// Whose.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// What was committed.
    pub from: i64,
    /// What is committed now: the end.
    pub to: i64,
}

/// Committed offsets of a topic that was not restored.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Dropped {
    /// Whose.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// Of so many partitions.
    pub partitions: usize,
}

/// What groups have lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Offsets that were taken back.
    pub clamped: Vec<Clamped>,
    /// And those that went.
    pub dropped: Vec<Dropped>,
}

impl Groups {
    /// Begins the next life. Tells which offsets had to be taken back, or dropped.
    pub fn be_reborn(&mut self, rebirth: &Rebirth) -> Lost {
        let mut lost = Lost::default();
        for (name, group) in self.iter_mut() {
            group.forget_members(rebirth.now_ms);
            if rebirth.is_partial {
                group.drop_others(name, rebirth, &mut lost.dropped);
            }
            group.clamp(name, rebirth, &mut lost.clamped);
        }
        lost
    }
}

impl StoredGroup {
    fn forget_members(&mut self, now_ms: i64) {
        if let Some(membership) = &mut self.membership {
            membership.generation = membership.generation.saturating_add(JUMP);
            membership.protocol_name.clear();
            membership.leader.clear();
            membership.members.clear();
            membership.changed_ms = now_ms;
        }
        if let Some(state) = &mut self.consumer {
            state.epoch = state.epoch.saturating_add(JUMP);
            state.target_epoch = state.epoch;
            // The metadata is another one, whose versions begin anew.
            (state.topics_hash, state.topics_version) = (0, 0);
            state.members.clear();
            state.targets.clear();
            state.changed_ms = now_ms;
        }
    }

    fn drop_others(&mut self, name: &str, rebirth: &Rebirth, dropped: &mut Vec<Dropped>) {
        let is_restored = |topic: &String| {
            let first = (topic.clone(), i32::MIN);
            let next = rebirth.ends.range(first..).next();
            next.is_some_and(|((found, _), _)| found == topic)
        };
        self.offsets.retain(|topic, partitions| {
            let stays = is_restored(topic);
            if !stays {
                dropped.push(Dropped {
                    group: name.to_owned(),
                    topic: topic.clone(),
                    partitions: partitions.len(),
                });
            }
            stays
        });
    }

    fn clamp(&mut self, name: &str, rebirth: &Rebirth, clamped: &mut Vec<Clamped>) {
        for (topic, partitions) in &mut self.offsets {
            for (partition, offset) in partitions {
                let Some(known) = &mut offset.topic else {
                    continue;
                };
                known.known_at = rebirth.known_at;
                let end = rebirth.ends.get(&(topic.clone(), *partition));
                let Some((_, end)) =
                    end.filter(|(id, end)| *id == known.id && *end < offset.offset)
                else {
                    continue;
                };
                clamped.push(Clamped {
                    group: name.to_owned(),
                    topic: topic.clone(),
                    partition: *partition,
                    from: offset.offset,
                    to: *end,
                });
                offset.offset = *end;
                // Of a record that is not there any more.
                offset.leader_epoch = -1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::consumer;
    use crate::coordinator::consumer::partitions::Partitions;
    use crate::coordinator::state::{KnownTopic, Member, Membership, StoredOffset};

    const TOPIC: TopicId = TopicId(7);

    fn offset(offset: i64, id: TopicId) -> StoredOffset {
        let known_at = 900;
        StoredOffset {
            offset,
            leader_epoch: 3,
            topic: Some(KnownTopic { id, known_at }),
            ..StoredOffset::default()
        }
    }

    fn group(offsets: Vec<(i32, StoredOffset)>) -> StoredGroup {
        StoredGroup {
            offsets: BTreeMap::from([("t".to_owned(), offsets.into_iter().collect())]),
            ..StoredGroup::default()
        }
    }

    fn rebirth() -> Rebirth {
        let end = |partition, end| (("t".to_owned(), partition), (TOPIC, end));
        Rebirth {
            ends: BTreeMap::from([end(0, 100), end(1, 100)]),
            known_at: 4,
            now_ms: 77,
            is_partial: false,
        }
    }

    #[test]
    fn offsets_beyond_the_end_are_taken_back_and_told() {
        let other = offset(500, TopicId(8));
        let mut groups = Groups::default();
        let offsets = vec![(0, offset(100, TOPIC)), (1, offset(101, TOPIC)), (2, other)];
        groups.put("g", group(offsets));
        let Lost { clamped, dropped } = groups.be_reborn(&rebirth());
        let told = Clamped {
            group: "g".to_owned(),
            topic: "t".to_owned(),
            partition: 1,
            from: 101,
            to: 100,
        };
        assert_eq!((clamped, dropped), (vec![told], vec![]));
        let offsets = &groups.get("g").expect("it is there").offsets["t"];
        let is = |at: i32| (offsets[&at].offset, offsets[&at].leader_epoch);
        assert_eq!((is(0), is(1), is(2)), ((100, 3), (100, -1), (500, 3)));
        let known = offsets[&0].topic.expect("it was known");
        assert_eq!(known.known_at, 4, "of the metadata that is");
    }

    #[test]
    fn where_not_all_topics_come_offsets_of_the_others_go_and_are_told() {
        let other = StoredGroup {
            offsets: BTreeMap::from([
                ("t".to_owned(), BTreeMap::from([(0, offset(9, TOPIC))])),
                ("s".to_owned(), BTreeMap::from([(0, offset(9, TOPIC))])),
                ("u".to_owned(), [0, 1].map(|p| (p, offset(9, TOPIC))).into()),
            ]),
            ..StoredGroup::default()
        };
        for is_partial in [false, true] {
            let mut groups = Groups::default();
            groups.put("g", other.clone());
            let rebirth = Rebirth {
                is_partial,
                ..rebirth()
            };
            let lost = groups.be_reborn(&rebirth);
            let dropped = |topic: &str, partitions| Dropped {
                group: "g".to_owned(),
                topic: topic.to_owned(),
                partitions,
            };
            let expected = [dropped("s", 1), dropped("u", 2)];
            let expected = if is_partial { &expected[..] } else { &[] };
            assert_eq!((&lost.dropped[..], lost.clamped.len()), (expected, 0));
            let left = groups.get("g").expect("it is there").offsets.len();
            assert_eq!(left, 3 - expected.len());
        }
    }

    #[test]
    fn nobody_is_a_member_and_generations_are_of_the_past() {
        let mut groups = Groups::default();
        let membership = Membership {
            generation: 5,
            protocol_type: "consumer".to_owned(),
            protocol_name: "range".to_owned(),
            leader: "m".to_owned(),
            members: BTreeMap::from([("m".to_owned(), Member::default())]),
            changed_ms: 1,
        };
        let classic = StoredGroup {
            membership: Some(membership),
            ..StoredGroup::default()
        };
        groups.put("classic", classic);
        let state = consumer::state::State {
            epoch: 9,
            target_epoch: 8,
            topics_hash: 1,
            topics_version: 1000,
            members: BTreeMap::from([("m".to_owned(), consumer::state::Member::default())]),
            targets: BTreeMap::from([("m".to_owned(), Partitions::default())]),
            changed_ms: 1,
        };
        let consumers = StoredGroup {
            consumer: Some(state),
            ..StoredGroup::default()
        };
        groups.put("consumers", consumers);
        assert_eq!(groups.be_reborn(&rebirth()), Lost::default());
        let classic = groups.get("classic").and_then(|g| g.membership.clone());
        let expected = Membership {
            generation: 5 + JUMP,
            protocol_type: "consumer".to_owned(),
            changed_ms: 77,
            ..Membership::default()
        };
        assert_eq!(classic, Some(expected));
        let consumers = groups.get("consumers").and_then(|g| g.consumer.clone());
        let expected = consumer::state::State {
            epoch: 9 + JUMP,
            target_epoch: 9 + JUMP,
            changed_ms: 77,
            ..consumer::state::State::default()
        };
        assert_eq!(consumers, Some(expected));
    }
}
