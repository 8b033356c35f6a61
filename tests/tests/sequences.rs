//! Consumer groups answer as Apache Kafka does, request by request: what is recorded in `tests/sequences` is played.

use std::time::Instant;

use tests::cluster::Cluster;
use tests::sequences::{self, judge};

#[test]
fn groups_answer_as_kafka_was_recorded_to() {
    let files = sequences::files();
    let cluster = Cluster::start(1, &sequences::options());
    let started = Instant::now();
    let played = sequences::play_all(&cluster, &files);
    let seconds = started.elapsed().as_secs_f64();
    println!("{} sequences in {seconds:.1} s", played.len());
    let findings = judge::findings(cluster.flavor(), &played);
    if !findings.is_empty() {
        let count = findings.len();
        cluster.fail(&format!("{count} findings\n{}", findings.join("\n")));
    }
}
