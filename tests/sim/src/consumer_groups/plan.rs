//! Which consumer groups a run has.

use crate::random::Random;

/// Runs with groups, by the last digit of the seed: two in ten. (The seeds that once failed for other reasons have none,
/// and stay what they were.)
const WITH_GROUPS: [u64; 2] = [3, 8];

/// All groups of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Partitions of the internal topic; 0 where there are no groups.
    pub partitions: i32,
    /// The groups.
    pub groups: Vec<GroupPlan>,
    /// How often a member is paused, dies or leaves, in a thousand of its steps.
    pub disturbed_per_mille: u64,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPlan {
    /// How its members share partitions.
    pub sharing: Sharing,
    /// Members, 1 to 4.
    pub members: u64,
    /// The first so many of them are static.
    pub statics: u64,
    /// Whether its members know that they need not assign anew.
    pub may_skip_assignment: bool,
    /// Session timeout.
    pub session_ms: u64,
    /// Rebalance timeout.
    pub rebalance_ms: u64,
}

/// How the members of a group share partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Everybody gives up everything when the group rebalances.
    Eager,
    /// A member keeps what it has until it is told otherwise.
    Cooperative,
    /// There is one client that is no member, and only commits.
    Alone,
}

impl Plan {
    /// The groups of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        if !WITH_GROUPS.contains(&(seed % 10)) {
            return Self::default();
        }
        let mut random = Random::new(seed ^ 0x6709);
        let disturbed = random.chance(850);
        Self {
            partitions: i32::try_from(random.between(2, 3)).expect("small"),
            groups: (0..random.between(2, 4))
                .map(|_| GroupPlan::of(&mut random))
                .collect(),
            disturbed_per_mille: if disturbed { random.between(2, 25) } else { 0 },
        }
    }
}

impl GroupPlan {
    fn of(random: &mut Random) -> Self {
        let sharing = match random.below(10) {
            0 => Sharing::Alone,
            1..=3 => Sharing::Cooperative,
            _ => Sharing::Eager,
        };
        let members = match sharing {
            Sharing::Alone => 1,
            _ => random.between(1, 4),
        };
        let has_statics = random.chance(400);
        Self {
            sharing,
            members,
            statics: if has_statics {
                random.between(1, members)
            } else {
                0
            },
            may_skip_assignment: random.chance(500),
            session_ms: random.between(250, 1500),
            rebalance_ms: random.between(250, 1500),
        }
    }
}
