//! The network between the brokers of a test: one proxy before each peer listener.
//!
//! A connection is told from another by the process that opened it: the socket's inode is looked
//! up among the open files of our own children, whose working folder names the node. So links
//! can be cut one by one although all come from 127.0.0.1.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::cluster::{Cluster, Flavor, Options};
use crate::proxy::{Counters, Ends, Proxy, Rule, Source};
use crate::wait::wait_for;

/// How long the kernel's tables may take to show who has opened a connection, and how often they are looked at.
const OPENER_WITHIN: Duration = Duration::from_secs(5);
const OPENER_STEP: Duration = Duration::from_millis(5);

/// One proxy per node.
pub struct Network {
    proxies: Vec<Proxy>,
}

impl Network {
    /// Starts a cluster whose brokers reach each other only through proxies.
    pub fn start(nodes: usize, extra: &[String]) -> (Network, Cluster) {
        let start = || Proxy::start(opener).expect("harness: no free port for a proxy");
        let proxies: Vec<Proxy> = (0..nodes).map(|_| start()).collect();
        let peer_via = proxies
            .iter()
            .map(|proxy| proxy.address().to_string())
            .collect();
        let options = Options {
            extra: extra.to_vec(),
            peer_via,
        };
        let network = Network { proxies };
        let mut cluster = Cluster::prepare(nodes, Flavor::chosen(), &options);
        for (proxy, node) in network.proxies.iter().zip(cluster.nodes()) {
            proxy.aim(SocketAddr::from(([127, 0, 0, 1], node.ports.peer)));
        }
        cluster.launch();
        (network, cluster)
    }

    /// Sets the rule of the link between two nodes, both ways.
    pub fn link(&self, one: i32, other: i32, rule: Rule) {
        self.proxies[other as usize - 1].rule(one, rule);
        self.proxies[one as usize - 1].rule(other, rule);
    }

    /// Sets the rule of every link.
    pub fn all(&self, rule: Rule) {
        let nodes = self.proxies.len() as i32;
        for one in 1..=nodes {
            (one + 1..=nodes).for_each(|other| self.link(one, other, rule));
        }
    }

    /// Cuts a node off from all others: nothing passes, and connections do not notice.
    pub fn isolate(&self, node: i32) {
        let others = (1..=self.proxies.len() as i32).filter(|other| *other != node);
        others.for_each(|other| {
            self.link(
                node,
                other,
                Rule {
                    stall: true,
                    ..Rule::default()
                },
            )
        });
    }

    /// Lets everything pass again.
    pub fn heal(&self) {
        self.all(Rule::default());
    }

    /// The sum of a counter over all proxies.
    pub fn count(&self, counter: fn(&Counters) -> &AtomicU64) -> u64 {
        let of = |proxy: &Proxy| counter(proxy.counters()).load(Ordering::Relaxed);
        self.proxies.iter().map(of).sum()
    }
}

/// The node whose process opened a connection; 0 when it is none of our children, or has gone. The kernel's tables are no
/// snapshots: while many connections come and go a row can be missing, so it is looked for again.
fn opener(ends: Ends) -> Source {
    let found = wait_for(
        "the opener of a connection",
        OPENER_WITHIN,
        OPENER_STEP,
        || {
            match inode_of(ends)?.as_str() {
                // Closed meanwhile: it is nobody's any more.
                "0" => Some(0),
                inode => owner(inode),
            }
        },
    );
    found.unwrap_or_else(|late| {
        eprintln!("harness: {ends:?} is taken for nobody: {late}");
        0
    })
}

/// The node that has a socket open. None of our children: 0.
fn owner(inode: &str) -> Option<Source> {
    let inode = format!("socket:[{inode}]");
    if owns("self", &inode) {
        return Some(0);
    }
    let threads = fs::read_dir("/proc/self/task").ok()?.flatten();
    let children = threads.filter_map(|one| fs::read_to_string(one.path().join("children")).ok());
    let children: Vec<String> = children
        .flat_map(|list| {
            list.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    let owner = children.iter().find(|pid| owns(pid, &inode))?;
    let folder = fs::read_link(format!("/proc/{owner}/cwd")).ok()?;
    folder
        .file_name()?
        .to_str()?
        .strip_prefix("node")?
        .parse()
        .ok()
}

fn owns(pid: &str, inode: &str) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    let links = open
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    links.into_iter().any(|link| link.as_os_str() == inode)
}

/// The inode of the IPv4 socket of this end of a connection; 0 when that is closed already.
fn inode_of(ends: Ends) -> Option<String> {
    let text = |address: SocketAddr| {
        let SocketAddr::V4(address) = address else {
            return None;
        };
        let ip = u32::from_ne_bytes(address.ip().octets());
        Some(format!("{ip:08X}:{:04X}", address.port()))
    };
    let (from, to) = (text(ends.from)?, text(ends.to)?);
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let mut rows = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let is_it = |row: &Vec<&str>| row.get(1..3) == Some(&[from.as_str(), to.as_str()][..]);
    let row = rows.find(is_it)?;
    row.get(9).map(|inode| (*inode).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_inode_of_an_own_socket_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ends = Ends {
            from: client.local_addr().unwrap(),
            to: listener.local_addr().unwrap(),
        };
        // Another connection from the same port, which is closed, has no say.
        let inode = inode_of(ends).unwrap();
        assert_ne!(inode, "0");
        assert!(owns("self", &format!("socket:[{inode}]")));
        assert!(!owns("self", "socket:[0]"));
    }
}
