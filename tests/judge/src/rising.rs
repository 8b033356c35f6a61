//! The highest of some values as of any time.

/// Values with the time from which each counts.
#[derive(Debug)]
pub(crate) struct Rising<T> {
    /// By time; each value higher than the one before.
    steps: Vec<(u64, T)>,
}

impl<T> Default for Rising<T> {
    fn default() -> Self {
        Self { steps: Vec::new() }
    }
}

impl<T: Copy + Ord> Rising<T> {
    /// A value counts from now on. Times do not go back.
    pub(crate) fn raise(&mut self, at: u64, value: T) {
        if self.steps.last().is_none_or(|(_, last)| *last < value) {
            self.steps.push((at, value));
        }
    }

    /// The highest that counted before a time.
    pub(crate) fn before(&self, at: u64) -> Option<T> {
        let count = self.steps.partition_point(|(from, _)| *from < at);
        let (_, value) = self.steps.get(count.checked_sub(1)?)?;
        Some(*value)
    }
}
