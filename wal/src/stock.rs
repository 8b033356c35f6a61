//! How many spares there are to be, and what a quiet log gives back: its surplus spares, what is dead in segments that
//! nothing else would take apart, the files of segments that nobody reads any longer.

use crate::jobs::Task;
use crate::log::Log;
use std::sync::Arc;
use std::time::Duration;

/// After a spare that could not be made, none is tried for so long: the error would come back at once, and the log
/// thread would do nothing else.
pub(crate) const SPARES_REST: Duration = Duration::from_secs(1);

/// How often it is looked whether readers have let go of dead segments, while nothing else happens.
const PINNED_INTERVAL: Duration = Duration::from_secs(1);

impl Log {
    /// Whether no segment was filled lately.
    pub(crate) fn is_quiet(&self) -> bool {
        self.disk.elapsed().saturating_sub(self.filled_at) >= self.config.quiet_after
    }

    /// After how long [`Log::next_job`] may have something to do though nothing was written and no job has ended
    /// meanwhile. None: never. Whoever drives the log waits no longer than this before he asks again.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        let now = self.disk.elapsed();
        let dead = self.shared.read().any_dead();
        let missing = self.missing_spares() > 0;
        let times = [
            Some(self.filled_at + self.config.quiet_after),
            dead.then(|| self.checkpoint_at + self.config.dead_interval),
            missing.then_some(self.spares_rest_until),
            self.spares.any_pinned().then(|| now + PINNED_INTERVAL),
        ];
        // What lies in the past has been asked for, or begins when the job under way has ended.
        let times = times.into_iter().flatten().filter(|at| *at > now);
        times.min().map(|at| at - now)
    }

    /// Spares to be made. The one that is being zeroed comes back; what has died comes with the next checkpoint.
    fn missing_spares(&self) -> usize {
        if self.spares.free() > 0 && self.shared.read().any_dead() {
            return 0;
        }
        let zeroing = usize::from(self.zeroing.is_some());
        let missing = self.spares.missing(self.config.spares);
        missing.saturating_sub(zeroing)
    }

    pub(crate) fn leisure_task(&mut self) -> Option<Task> {
        self.spares.unpin();
        if let Some(number) = self.spares.take_retired() {
            let disk = Arc::clone(&self.disk);
            return Some(Task::Remove { disk, number });
        }
        if let Some(task) = self.heal_task() {
            return Some(task);
        }
        // Before what makes more of them.
        if let Some(surplus) = self.spares.take_surplus(self.spares_at_most()) {
            return Some(Task::Remove {
                disk: Arc::clone(&self.disk),
                number: surplus.number,
            });
        }
        if let Some(task) = self.clean_task() {
            return Some(task);
        }
        let bytes = self.config.segment_bytes;
        let resting = self.disk.elapsed() < self.spares_rest_until;
        if !resting && self.missing_spares() > 0 {
            self.look_at_free_bytes();
            if self.may_create() {
                let number = self.spares.next_number;
                self.spares.next_number += 1;
                return Some(Task::Create {
                    disk: Arc::clone(&self.disk),
                    number,
                    bytes,
                });
            }
        }
        // The disk is for those who wait, and rounds that are large gain little by it.
        if self.writes_large_rounds() {
            return None;
        }
        if let Some((spare, from)) = self.zeroing.take() {
            return Some(Task::Zero { spare, from, bytes });
        }
        let spare = self.spares.take_unzeroed()?;
        Some(Task::Zero {
            spare,
            from: 0,
            bytes,
        })
    }

    /// Spares that are kept beyond the reserves. Under load there is more to come and go.
    fn spares_at_most(&self) -> usize {
        match self.is_quiet() {
            true => self.config.spares,
            false => 2 * self.config.spares + 4,
        }
    }
}
