//! Which cuts nobody keeps any more.

use super::{Collected, Collector, Error, Policy};
use crate::cut::{self, Standing};
use crate::store::{Listed, Store};

/// Collects cuts: of the whole ones the newest stay. An open one stays while it is young: somebody may be making it.
///
/// # Errors
/// See [`Error`]. What was removed until then is removed.
pub async fn cuts(store: &dyn Store, policy: &Policy, now_ms: i64) -> Result<Collected, Error> {
    let mut collector = Collector::new(store, policy, now_ms);
    collector.is_the_last_life().await?;
    let mut open: Vec<Listed> = Vec::new();
    let mut whole: Vec<Listed> = Vec::new();
    for (_, standing, listed) in cut::list(store).await? {
        match standing {
            Standing::Open => open.push(listed),
            Standing::Whole => whole.push(listed),
        }
    }
    whole.truncate(whole.len().saturating_sub(policy.keep_cuts));
    let open = collector.old_ones(open);
    collector.remove(&whole).await?;
    collector.remove(&open).await?;
    Ok(collector.collected)
}
