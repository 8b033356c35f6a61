//! Host and port, and a seed: the node id and peer address of a founding member.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use raft::types::NodeId;

/// A host name or IP address, and a port. Not resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name, an IPv4 address, or an IPv6 address without its brackets.
    pub host: String,
    /// 0 lets the system choose (listeners only).
    pub port: u16,
}

impl Address {
    /// Puts the two together.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }

    /// Reached from this machine only. A name other than `localhost` counts as reachable from elsewhere.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(ip)) => ip.to_canonical().is_loopback(),
            Ok(ip) => ip.is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }

    /// All addresses of the machine: nothing that a client could connect to.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_unspecified())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(format!("'{text}' must be host:port"));
        };
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if let Some(ip) = bracketed
            && ip.parse::<std::net::Ipv6Addr>().is_err()
        {
            return Err(format!("'{text}' has no IPv6 address in its brackets"));
        }
        let host = bracketed.unwrap_or(host);
        if bracketed.is_none() && host.contains(':') {
            return Err(format!(
                "'{text}': write an IPv6 address in brackets, as [::1]:9092"
            ));
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(legal) {
            return Err(format!("'{text}' has no valid host"));
        }
        let digits = !port.is_empty() && port.chars().all(|c| c.is_ascii_digit());
        match port.parse::<u16>() {
            Ok(port) if digits => Ok(Self::new(host, port)),
            _ => Err(format!("'{text}' has no valid port (0 to 65535)")),
        }
    }
}

/// A founding member of the cluster: `id@host:port`, its peer address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seed {
    /// Its node id, at least 1.
    pub node: NodeId,
    /// Where its peer listener is.
    pub address: Address,
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.node, self.address)
    }
}

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((node, address)) = text.trim().split_once('@') else {
            return Err(format!("'{text}' must be id@host:port, as 1@10.0.0.1:9193"));
        };
        let node: i32 = node
            .trim()
            .parse()
            .map_err(|_| format!("'{text}': the node id is not a number"))?;
        if node < 1 {
            return Err(format!("'{text}': a node id is at least 1"));
        }
        let address: Address = address.parse()?;
        if address.port == 0 {
            return Err(format!("'{text}': a seed needs its real port"));
        }
        Ok(Self {
            node: NodeId(node),
            address,
        })
    }
}
