//! The one place of these tests that sleeps: a bounded wait for what nobody announces, and delays that are the case.

use super::*;

/// Looks every millisecond until it holds, at most for [`LONG`]; whether it does.
pub(super) async fn until(mut holds: impl FnMut() -> bool) -> bool {
    let all = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, all).await.is_ok()
}

/// Shifts what follows in time: the order of things or the slowness of a peer is what is tested, and nothing is
/// waited for.
pub(super) async fn delay(by: Duration) {
    tokio::time::sleep(by).await;
}
