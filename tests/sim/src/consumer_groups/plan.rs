//! Which consumer groups a run has.

use crate::random::Random;

/// Runs with groups whose members share partitions themselves, by the last digit of the seed. (The seeds that once failed
/// for other reasons have no groups, and stay what they were.)
const CLASSIC: [u64; 2] = [3, 8];
/// Runs with groups to which the coordinator gives partitions. Some of the others have one too.
const GIVEN: u64 = 0;

/// All groups of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Partitions of the internal topic; 0 where there are no groups.
    pub partitions: i32,
    /// The groups.
    pub groups: Vec<GroupPlan>,
    /// Session timeout of members to which the coordinator gives partitions.
    pub session_ms: u64,
    /// A coordinator that hears nothing comes every so many ms on average; 0 for never.
    pub deaf_every_ms: u64,
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
    /// The coordinator gives them to each member by itself: the consumer protocol.
    Given,
    /// There is one client that is no member, and only commits.
    Alone,
}

impl Plan {
    /// The groups of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let has_classic = CLASSIC.contains(&(seed % 10));
        let is_given = seed % 10 == GIVEN;
        if !has_classic && !is_given {
            return Self::default();
        }
        let mut random = Random::new(seed ^ 0x6709);
        let disturbed = random.chance(850);
        let mut plan = Self {
            partitions: i32::try_from(random.between(2, 3)).expect("small"),
            groups: Vec::new(),
            session_ms: 0,
            deaf_every_ms: 0,
            disturbed_per_mille: 0,
        };
        let count = random.between(2, 4);
        if has_classic {
            plan.groups
                .extend((0..count).map(|_| GroupPlan::of(&mut random)));
        }
        if disturbed {
            plan.disturbed_per_mille = random.between(2, 25);
        }
        plan.session_ms = random.between(250, 1500);
        let given = match is_given {
            true => random.between(2, 3),
            false => u64::from(random.chance(300)),
        };
        let session_ms = plan.session_ms;
        plan.groups
            .extend((0..given).map(|_| GroupPlan::given(session_ms, &mut random)));
        if random.chance(600) {
            plan.deaf_every_ms = random.between(400, 2000);
        }
        plan
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

    fn given(session_ms: u64, random: &mut Random) -> Self {
        let members = random.between(1, 4);
        let has_statics = random.chance(400);
        Self {
            sharing: Sharing::Given,
            members,
            statics: if has_statics {
                random.between(1, members)
            } else {
                0
            },
            may_skip_assignment: false,
            session_ms,
            rebalance_ms: random.between(250, 1500),
        }
    }
}
