//! Snapshot sets: gzip chunks of the log and the manifests over them, in a folder or in S3.
//!
//! This crate holds only its documented place in the workspace for now. A partition snapshot will contain the
//! records verbatim, topic id, configs, leader-epoch table, producer states, aborted-transaction index and
//! membership; see ARCHITECTURE.md. Until it exists, a follower that is too far behind installs the leader's base
//! record with derived state and then reads the leader's log from its log start.
