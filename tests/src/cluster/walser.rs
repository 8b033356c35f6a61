//! How our own broker is configured, started and asked whether it is ready.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::{Node, Options};

pub(super) fn configure(nodes: &[Node], options: &Options) {
    let peer = |at: usize| match options.peer_via.get(at) {
        Some(via) => via.clone(),
        None => format!("127.0.0.1:{}", nodes[at].ports.peer),
    };
    let seeds = |at: usize, node: &Node| format!("\"{}@{}\"", node.id, peer(at));
    let seeds: Vec<String> = nodes
        .iter()
        .enumerate()
        .map(|(at, node)| seeds(at, node))
        .collect();
    for (at, node) in nodes.iter().enumerate() {
        let mut lines = vec![
            format!("node.id = {}", node.id),
            format!("data.dir = \"{}\"", node.data().display()),
            format!("cluster.seeds = [{}]", seeds.join(", ")),
            format!("listener.kafka = \"{}\"", node.kafka()),
            format!("listener.peer = \"127.0.0.1:{}\"", node.ports.peer),
            format!("listener.admin = \"{}\"", node.admin()),
            // As `dev`: small files, so that a test of many clusters fits on a disk.
            "segment.size = \"16MiB\"".to_owned(),
            "entry.max = \"4MiB\"".to_owned(),
            "spares.size = \"32MiB\"".to_owned(),
            "tail.cache.size = \"32MiB\"".to_owned(),
            "unsorted.max = \"64MiB\"".to_owned(),
        ];
        if options.peer_via.get(at).is_some() {
            lines.push(format!("advertised.peer = \"{}\"", peer(at)));
        }
        for extra in &options.extra {
            let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
            lines.retain(|line| key(line) != key(extra));
            lines.push(extra.clone());
        }
        let file = config_file(node);
        std::fs::write(file, lines.join("\n") + "\n").expect("harness: cannot write a config");
    }
}

fn config_file(node: &Node) -> PathBuf {
    node.folder.join("walser.toml")
}

pub(super) fn command(node: &Node) -> Command {
    let mut command = Command::new(binary());
    // The broker takes its configuration from such variables too; these are the harness's own.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WALSER_") {
            command.env_remove(name);
        }
    }
    command
        .arg("serve")
        .arg("--config")
        .arg(config_file(node))
        .current_dir(&node.folder);
    command
}

/// `WALSER_BIN`. Or, in a test, `walser-tested`, which cargo has built with it. Or, for a program of this package, `walser`
/// beside it, built first when a cargo runs the program. A stale broker would prove nothing.
pub fn binary() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    match std::env::var_os("WALSER_BIN") {
        Some(path) => PathBuf::from(path),
        None => BUILT.get_or_init(build).clone(),
    }
}

fn build() -> PathBuf {
    let own = std::env::current_exe().expect("harness: no path of the running test");
    let folder = own.ancestors().find(|folder| is_profile(folder));
    let folder = folder.unwrap_or_else(|| panic!("harness: {} is in no build", own.display()));
    let is_test = own.parent() != Some(folder);
    if is_test {
        let path = folder.join("walser-tested");
        assert!(
            path.exists(),
            "harness: cargo has not built {}",
            path.display()
        );
        return path;
    }
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "-p", "broker", "--bin", "walser"]);
        if !cfg!(debug_assertions) {
            command.arg("--release");
        }
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        let built = command.status().expect("harness: cargo");
        assert!(built.success(), "harness: the broker does not build");
    }
    let path = folder.join("walser");
    assert!(
        path.exists(),
        "no broker to test: cargo build -p broker, or set WALSER_BIN"
    );
    path
}

/// The folder of a build profile holds `deps`.
fn is_profile(folder: &Path) -> bool {
    folder.join("deps").is_dir()
}

pub(super) fn is_ready(node: &Node) -> bool {
    get(&node.admin(), "/readyz").is_some_and(|(status, _)| status == 200)
}

/// For how long the partitions that a broker leads have lacked something in the store, all together, in ms. None when it
/// does not say.
pub fn unstored_ms(admin: &str) -> Option<u64> {
    let (_, status) = get(admin, "/status")?;
    let status: serde_json::Value = serde_json::from_str(&status).ok()?;
    let groups = status["groups"].as_array()?.iter();
    groups.map(|group| group["snapshot_lag_ms"].as_u64()).sum()
}

/// A plain HTTP GET: status and body.
pub fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
