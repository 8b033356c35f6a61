//! Bugs that other systems shipped, one of which can be switched on in tests (`WALSER_MUTANT=number`): the test that is
//! named for it must fail then. Without the feature `mutants` there is nothing of this in the program.

/// One bug each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Mutant {
    /// Rounds are acknowledged without a sync.
    SyncForgotten = 1,
    /// Header checksums bind neither life nor place.
    HeadersUnseeded = 2,
    /// A damaged last round is the end of the log, whatever the marks say.
    MarkIgnored = 3,
    /// Damage is the end of the log, whatever comes after it.
    LaterIgnored = 4,
    /// Payloads are not held against their checksum.
    PayloadUnchecked = 5,
    /// A failed sync is tried again.
    SyncRetried = 6,
    /// A log that has failed goes on.
    PoisonForgotten = 7,
    /// An older manifest is as good as the newest.
    StaleManifestAccepted = 8,
    /// A truncation does not reach the next checkpoint.
    TruncationNotCheckpointed = 9,
    /// What the cleaner copied is alive, whatever happened meanwhile.
    SwapUnchecked = 10,
    /// New files' names are not synced.
    NamesNotSynced = 11,
    /// A new base does not reach the next checkpoint.
    BaseNotCheckpointed = 12,
    /// A round counts if its header is whole.
    TornAccepted = 13,
    /// The old tail is written on after a crash.
    TailGoesOn = 14,
    /// What the page cache shows after a crash is taken for what the device holds.
    CacheBelieved = 15,
}

/// Whether this bug is switched on.
#[cfg(feature = "mutants")]
pub(crate) fn on(mutant: Mutant) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<u32>> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| {
        std::env::var("WALSER_MUTANT")
            .ok()
            .and_then(|number| number.parse().ok())
    });
    *chosen == Some(mutant as u32)
}

/// Never.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn on(_mutant: Mutant) -> bool {
    false
}
