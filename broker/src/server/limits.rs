//! What a client may take: connections, memory, time.

use std::time::Duration;

/// Limits of the client listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections over all addresses. More are closed at once.
    pub connections_max: usize,
    /// Connections of one IPv4 address or IPv6 /64. Loopback has no limit.
    pub connections_per_ip_max: usize,
    /// New connections per second of one address. Loopback has no limit.
    pub connection_rate_per_ip_max: usize,
    /// Largest request, in bytes. Memory grows with what was received, not with what was announced.
    pub request_bytes_max: usize,
    /// Largest first request of a connection whose first bytes do not name an API and version that we serve.
    pub first_frame_bytes_max: usize,
    /// Requests of all connections that are received or being answered, in bytes. Beyond it no socket is read.
    pub memory_bytes_max: usize,
    /// Answers of one connection that wait to be sent, in bytes. Beyond it that connection is not read.
    pub response_bytes_max: usize,
    /// Requests of one connection that are not answered. Beyond it that connection is not read.
    pub open_requests_max: usize,
    /// A connection without a request for so long is closed.
    pub idle_max: Duration,
    /// A begun request, or an answer being sent, must move within this.
    pub stall_max: Duration,
    /// The first request must have begun within this.
    pub first_frame_max: Duration,
}

/// Clients keep a few requests under way; one that sends on without looking at answers waits here.
const OPEN_REQUESTS_MAX: usize = 256;

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_ip_max: 1_024,
            connection_rate_per_ip_max: 200,
            request_bytes_max: 100 << 20,
            first_frame_bytes_max: 16 << 10,
            memory_bytes_max: 512 << 20,
            response_bytes_max: 64 << 20,
            open_requests_max: OPEN_REQUESTS_MAX,
            idle_max: Duration::from_secs(600),
            stall_max: Duration::from_secs(30),
            first_frame_max: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// Says what is wrong with these limits, if anything is.
    pub fn validate(&self) -> Result<(), String> {
        if self.connections_max == 0 || self.connections_per_ip_max == 0 {
            return Err("connection limits must be at least 1".to_owned());
        }
        if self.request_bytes_max < 1 << 20 {
            return Err("the largest request must be at least 1 MiB".to_owned());
        }
        if self.open_requests_max == 0 {
            return Err("a connection must be allowed one open request".to_owned());
        }
        if self.memory_bytes_max < 1 << 20 || self.response_bytes_max < 1 << 16 {
            return Err("request memory must be at least 1 MiB, response memory 64 KiB".to_owned());
        }
        Ok(())
    }
}

impl From<&crate::config::NodeConfig> for Limits {
    fn from(node: &crate::config::NodeConfig) -> Self {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let count = |number: u32| size(u64::from(number));
        Self {
            connections_max: count(node.connections_max),
            connections_per_ip_max: count(node.connections_per_ip_max),
            connection_rate_per_ip_max: count(node.connections_rate_per_ip),
            request_bytes_max: count(node.request_max_bytes),
            first_frame_bytes_max: count(node.preauth_frame_max_bytes),
            memory_bytes_max: size(node.request_memory_bytes),
            response_bytes_max: size(node.connection_response_max_bytes),
            open_requests_max: OPEN_REQUESTS_MAX,
            idle_max: Duration::from_millis(node.connection_idle_max_ms),
            stall_max: Duration::from_millis(node.connection_stall_max_ms),
            first_frame_max: Duration::from_millis(node.preauth_lifetime_max_ms),
        }
    }
}
