//! Figures of consumer groups and of what they read, for operators. Nothing of it is kept up: it is looked up when
//! somebody asks.

use protocol::record_batch::BatchHeader;
use raft::types::{GroupId, Index, ReplicaId};

use super::Shard;
use super::group::Group;
use crate::coordinator::core::Coordinator;
use crate::coordinator::figures::GroupFigures;
use crate::coordinator::state::{Groups, StoredGroup};
use crate::coordinator::{OFFSETS_TOPIC, log_of};

/// A partition's committed part at its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// First offset still there.
    pub log_start: i64,
    /// First offset not committed.
    pub high_watermark: i64,
    /// Its replica here.
    pub replica: ReplicaId,
    /// Its last committed index.
    pub until: Index,
}

/// A group that is coordinated here.
#[derive(Clone, Debug)]
pub struct Coordinated {
    /// What it is.
    pub figures: GroupFigures,
    /// What it has committed: topic, partition, offset. None where that would have been too much.
    pub offsets: Option<Vec<(String, i32, i64)>>,
}

/// The groups that are coordinated here.
#[derive(Clone, Debug, Default)]
pub struct AllCoordinated {
    /// By partition and name: always the same ones, if not all.
    pub groups: Vec<Coordinated>,
    /// So many more.
    pub groups_left_out: usize,
    /// Committed offsets that are not told, also those of groups that are left out.
    pub offsets_left_out: usize,
}

impl Shard {
    /// The groups that are coordinated here, so many of them with so many offsets at most. Of a group either all
    /// offsets are told or none.
    #[must_use]
    pub fn coordinated(&self, groups_max: usize, offsets_max: usize) -> AllCoordinated {
        let mut all = AllCoordinated::default();
        let mut told = 0;
        for id in self.offsets_partitions() {
            let Some((coordinator, groups)) = self.coordinator(*id) else {
                continue;
            };
            for name in coordinator.names(groups) {
                let count = groups.get(name).map_or(0, StoredGroup::offsets_count);
                let fits = all.groups.len() < groups_max && told + count <= offsets_max;
                if fits {
                    told += count;
                } else {
                    all.offsets_left_out += count;
                }
                if all.groups.len() == groups_max {
                    all.groups_left_out += 1;
                } else if let Some(figures) = coordinator.figures(groups, name) {
                    let offsets = fits.then(|| self.offsets_of(groups, name));
                    all.groups.push(Coordinated { figures, offsets });
                }
            }
        }
        all
    }

    /// A group that is coordinated here.
    #[must_use]
    pub fn coordinated_group(&self, name: &str) -> Option<Coordinated> {
        let log = log_of(self.image_or_empty(), name)?;
        let (coordinator, groups) = self.coordinator(log)?;
        Some(Coordinated {
            figures: coordinator.figures(groups, name)?,
            offsets: Some(self.offsets_of(groups, name)),
        })
    }

    /// Whether this broker coordinates the groups of this partition.
    #[must_use]
    pub fn coordinates(&self, id: GroupId) -> bool {
        self.coordinator(id).is_some()
    }

    /// The committed part of a partition that is led here; None elsewhere, and while the leader is not established.
    #[must_use]
    pub fn committed_part(&self, id: GroupId) -> Option<Committed> {
        let group = self.established(id)?;
        let state = group.partition()?;
        Some(Committed {
            log_start: state.log_start(),
            high_watermark: state.high_watermark(),
            replica: group.me.replica,
            until: state.applied(),
        })
    }

    /// The highest timestamp of the batch that holds an offset, where it is in memory; -1 for a batch without times.
    #[must_use]
    pub fn time_in_memory(&self, id: GroupId, offset: i64) -> Option<i64> {
        let group = self.established(id)?;
        let index = group.partition()?.index_in_memory(offset)?;
        let entry = group.node.tail(index).next()?;
        let header = BatchHeader::parse(&entry.payload).ok()?;
        Some(header.max_timestamp)
    }

    fn offsets_partitions(&self) -> &[GroupId] {
        let topic = self.image_or_empty().topic_named(OFFSETS_TOPIC);
        topic.map_or(&[], |topic| &topic.partitions)
    }

    fn established(&self, id: GroupId) -> Option<&Group> {
        let group = self.groups.get(&id)?;
        group.node.is_leader_established().then_some(group)
    }

    fn coordinator(&self, id: GroupId) -> Option<(&Coordinator, &Groups)> {
        let group = self.established(id)?;
        Some((group.coordinator.as_deref()?, group.partition()?.groups()))
    }

    /// What a group has committed, of topics that are there.
    fn offsets_of(&self, groups: &Groups, name: &str) -> Vec<(String, i32, i64)> {
        let stored = groups.get(name).into_iter();
        let mut offsets = Vec::new();
        for (topic, partitions) in stored.flat_map(|stored| &stored.offsets) {
            let partitions = partitions.iter();
            let there = partitions.filter(|(_, at)| !at.is_gone(self.image_or_empty()));
            offsets.extend(there.map(|(partition, at)| (topic.clone(), *partition, at.offset)));
        }
        offsets
    }
}
