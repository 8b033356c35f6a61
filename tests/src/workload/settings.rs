//! How the real client (librdkafka) is set up for tests: impatient, durable, in order.

use rdkafka::ClientConfig;

fn common(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("socket.timeout.ms", "5000")
        .set("socket.nagle.disable", "true")
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "300")
        .set("topic.metadata.refresh.interval.ms", "2000")
        .set("topic.metadata.refresh.fast.interval.ms", "50")
        .set("topic.metadata.propagation.max.ms", "5000")
        .set("log_level", "0");
    config
}

/// An idempotent producer with acks=all. It goes on retrying for two minutes, so that no fault of
/// a test outlasts it.
pub fn producer(bootstrap: &str) -> ClientConfig {
    let mut config = common(bootstrap);
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "2")
        .set("retry.backoff.ms", "30")
        .set("retry.backoff.max.ms", "200")
        .set("request.timeout.ms", "3000")
        .set("message.timeout.ms", "120000");
    config
}

/// A consumer that is assigned its partitions with explicit offsets. An offset out of range is an
/// error, never a silent jump.
pub fn consumer(bootstrap: &str) -> ClientConfig {
    let mut config = common(bootstrap);
    config
        .set("group.id", "walser-tests")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("fetch.wait.max.ms", "50")
        .set("fetch.error.backoff.ms", "30");
    config
}
