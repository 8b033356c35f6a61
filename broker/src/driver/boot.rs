//! From a configuration to a running broker, and back to a clean stop.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use protocol::peer::{self, Endpoint, Hello};
use raft::types::{DirectoryId, Entry, GroupId, Index, NodeId, Tick};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::catch_up::CatchUp;
use super::clock::{Clock, ClockTrust};
use super::founding::{Events, form};
use super::inbox::{LogInbox, PeerInbox};
use super::log_thread::LogThread;
use super::run_loop::{Driver, Ended, Front};
use super::settings;
use crate::broker::{Broker, DiskReads};
use crate::config::{Address, Config};
use crate::controller::{Answer, ControllerRequest};
use crate::data_directory::{self, DataDirectory};
use crate::formation::{self, BootstrapRecord};
use crate::metadata::{Image, Registration};
use crate::metrics::histogram::{Histogram, LATENCY_SECONDS};
use crate::metrics::messages::Messages;
use crate::peer::{Network, PeerEvent};
use crate::shard::{Halt, RestoreError, Restored, Shard};
use crate::snapshots::Snapshots;

/// Why a broker did not start, or stopped other than by request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory is not usable.
    #[error(transparent)]
    Directory(#[from] data_directory::Error),
    /// A listener could not be opened.
    #[error("cannot listen on {address} ({key}): {source}")]
    Listen {
        /// The configuration key.
        key: &'static str,
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The cluster did not form.
    #[error(transparent)]
    Formation(#[from] formation::Failure),
    /// The snapshot store could not be opened.
    #[error("snapshot.store: {0}")]
    Store(#[from] snapshot::store::Error),
    /// The log could not be opened, or failed.
    #[error(transparent)]
    Log(#[from] wal::Error),
    /// A group could not be brought back.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The shard halted.
    #[error(transparent)]
    Halted(#[from] Halt),
    /// The system refused something else.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

impl Error {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Formation(_) => formation::Failure::EXIT_CODE,
            Self::Log(wal::Error::Corrupt(_)) | Self::Restore(_) => 11,
            _ => 1,
        }
    }
}

/// The sockets of a broker, bound.
pub struct Listeners {
    /// For Kafka clients.
    pub kafka: TcpListener,
    /// For HTTP.
    pub admin: TcpListener,
}

/// Makes what a broker serves besides its peers, once the log is open.
pub type Attach = Box<dyn FnOnce(&Rc<Broker>, Listeners) -> Rc<dyn Front>>;

/// Runs a broker until `stop` resolves. Must be called within a `LocalSet` of a current-thread runtime.
///
/// # Errors
/// See [`Error`]. Nothing that was acknowledged is lost by any of them.
pub async fn run(
    config: Config,
    attach: Attach,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let mut stop = std::pin::pin!(stop);
    let mut config = config;
    let peer = listen("listener.peer", &config.node.listener_peer).await?;
    let kafka = listen("listener.kafka", &config.node.listener_kafka).await?;
    let admin = listen("listener.admin", &config.node.listener_admin).await?;
    settle_ports(&mut config, &peer, &kafka, &admin)?;
    let fresh = DirectoryId(uuid::Uuid::new_v4().as_u128());
    let node = NodeId(config.node.node_id);
    let mut directory = DataDirectory::open(&config.node.data_dir, node, fresh)?;
    let boot = u64::try_from(uuid::Uuid::new_v4().as_u128() >> 65).expect("63 bits");

    let clock = Clock::default();
    let peers = Rc::new(PeerInbox::default());
    let work = Rc::new(Notify::new());
    let network = start_network(&config, &directory, boot, peer, &peers, &work);
    // Connections that come up during the formation: the shard is told when it exists.
    let connected = RefCell::new(BTreeMap::new());
    let events = Events {
        inbox: &peers,
        work: &work,
        connected: &connected,
    };
    let formed = form(&config, &mut directory, &network, events, clock);
    let formation = tokio::select! {
        formed = formed => formed?,
        () = &mut stop => return Ok(()),
    };
    let record = formation
        .record()
        .expect("a formed cluster has a record")
        .clone();

    let snapshots = Snapshots::open(&config, record.cluster.0).await?;
    let opening = Instant::now();
    let (log, log_events, shard) = open_log(&config, &mut directory, &record, boot, clock)?;
    let broker = Rc::new(Broker {
        node,
        reader: log.0,
        log: log.1,
        shard: RefCell::new(shard),
        network: network.clone(),
        tickets: RefCell::default(),
        waiters: RefCell::default(),
        clock,
        work,
        producer_ids: Cell::new((0, 0)),
        reporting: RefCell::default(),
        disk_reads: DiskReads::default(),
        catch_up: CatchUp::new(config.node.replica_catch_up_rate_bytes),
        snapshots: snapshots.clone(),
        comparing: tokio::sync::Mutex::default(),
        record_times: std::cell::RefCell::default(),
        clock_trust: ClockTrust::default(),
        registered: Cell::new(false),
        stopping: Cell::new(false),
        seeds: config
            .node
            .cluster_seeds
            .iter()
            .map(|s| (s.node, s.address.to_string()))
            .collect(),
        policy: settings::policy(&config),
        commit_seconds: Rc::new(Histogram::new(LATENCY_SECONDS)),
        command_seconds: Rc::new(Histogram::new(LATENCY_SECONDS)),
        messages: Messages::new(Duration::from_millis(config.node.election().timeout_max_ms)),
        recovery_seconds: opening.elapsed().as_secs_f64(),
        config: Rc::new(config),
    });
    let front = attach(&broker, Listeners { kafka, admin });
    let driver = Driver {
        broker: broker.clone(),
        peers,
        log_events,
        formation: RefCell::new(formation),
        front,
        halted: RefCell::default(),
    };
    for (peer, directory) in connected.into_inner() {
        let mut shard = broker.shard.borrow_mut();
        shard.peer_up(clock.now(), peer, directory);
    }
    let registration = registration(&broker.config, directory.identity().directory, boot);
    let registering = tokio::task::spawn_local(register(broker.clone(), record, registration));
    let storing = snapshots.map(|snapshots| {
        let mut tasks = vec![
            tokio::task::spawn_local(broker.clone().keep_space()),
            tokio::task::spawn_local(snapshots.clone().keep_claimed()),
        ];
        if snapshots.is_own() {
            let swept = broker.clone().keep_own_copies_swept();
            tasks.push(tokio::task::spawn_local(swept));
            return tasks;
        }
        let metadata = broker.clone().keep_cluster_stored(snapshots.clone());
        let mending = broker.clone().keep_mended(snapshots);
        tasks.extend([
            tokio::task::spawn_local(metadata),
            tokio::task::spawn_local(broker.clone().keep_cutting()),
            tokio::task::spawn_local(mending),
        ]);
        tasks
    });
    let controlling = tokio::task::spawn_local(super::control::tick_controller(broker.clone()));
    let healing = tokio::task::spawn_local(broker.clone().heal_damage());
    let ended = driver.run(stop).await;
    registering.abort();
    controlling.abort();
    healing.abort();
    for task in storing.into_iter().flatten() {
        task.abort();
    }
    finish(driver, ended).await
}

async fn listen(key: &'static str, address: &Address) -> Result<TcpListener, Error> {
    let text = address.to_string();
    let bound = TcpListener::bind(&text).await;
    bound.map_err(|source| Error::Listen {
        key,
        address: text,
        source,
    })
}

/// Writes the ports that the system chose into the configuration.
fn settle_ports(
    config: &mut Config,
    peer: &TcpListener,
    kafka: &TcpListener,
    admin: &TcpListener,
) -> std::io::Result<()> {
    let node = &mut config.node;
    let settle = |address: &mut Address, bound: SocketAddr| address.port = bound.port();
    settle(&mut node.listener_peer, peer.local_addr()?);
    settle(&mut node.listener_kafka, kafka.local_addr()?);
    settle(&mut node.listener_admin, admin.local_addr()?);
    Ok(())
}

fn endpoint(address: &Address) -> Endpoint {
    Endpoint {
        host: address.host.clone(),
        port: address.port,
    }
}

fn start_network(
    config: &Config,
    directory: &DataDirectory,
    boot: u64,
    listener: TcpListener,
    inbox: &Rc<PeerInbox>,
    work: &Rc<Notify>,
) -> Rc<Network> {
    let identity = directory.identity();
    let hello = Hello {
        versions: peer::VERSIONS,
        cluster: identity.cluster.map_or(0, |cluster| cluster.0),
        node: identity.node,
        directory: identity.directory,
        fingerprint: config.cluster.fingerprint(),
        boot,
        kafka: endpoint(config.node.kafka_address()),
        peer: endpoint(config.node.peer_address()),
    };
    let (inbox, work) = (inbox.clone(), work.clone());
    let events = move |event: PeerEvent| {
        inbox.push(event);
        work.notify_one();
    };
    let network = Network::start(hello, Rc::new(config.node.clone()), listener, events);
    let seeds = config.node.cluster_seeds.iter();
    network.set_peers(
        seeds
            .map(|seed| (seed.node, seed.address.to_string()))
            .collect(),
    );
    network
}

type OpenLog = (std::sync::Arc<wal::Reader>, LogThread);

/// Opens the log and brings its groups back.
fn open_log(
    config: &Config,
    directory: &mut DataDirectory,
    record: &BootstrapRecord,
    boot: u64,
    clock: Clock,
) -> Result<(OpenLog, LogInbox, Shard), Error> {
    let identity = directory.identity().clone();
    let path = directory.log_path();
    std::fs::create_dir_all(&path)?;
    let disk = wal::RealDisk::open(&path)?;
    let log_identity = wal::Identity {
        cluster: record.cluster.0,
        node: identity.node,
        directory: identity.directory,
    };
    let (log, recovery) = wal::Log::open(disk, settings::log(config), log_identity)?;
    if recovery.formatted && identity.log_made {
        let damage = wal::Damage {
            file: path.display().to_string(),
            position: 0,
            why: "the log that was here is gone".to_owned(),
        };
        return Err(Error::Log(wal::Error::Corrupt(damage)));
    }
    directory.note_log_made()?;
    report(&recovery);
    let mut shard = Shard::new(settings::shard(config, &identity, boot), clock.now());
    let reader = log.reader();
    restore(&mut shard, recovery, &reader, record, clock.now())?;
    let events = LogInbox::new();
    let inbox = events.clone();
    let thread = LogThread::start(log, move |event| inbox.push(event))?;
    Ok(((reader, thread), events, shard))
}

fn report(recovery: &wal::Recovery) {
    if let Some(torn) = &recovery.torn {
        tracing::warn!(target: "wal", ?torn, "discarded a round that was never synced");
    }
    for damage in &recovery.damages {
        tracing::error!(target: "wal", %damage, "damage found");
    }
    tracing::info!(
        target: "wal",
        groups = recovery.groups.len(),
        unclean = recovery.unclean,
        rounds = recovery.rounds_replayed,
        bytes = recovery.bytes_read,
        "the log is open"
    );
}

fn restore(
    shard: &mut Shard,
    recovery: wal::Recovery,
    reader: &wal::Reader,
    record: &BootstrapRecord,
    now: Tick,
) -> Result<(), Error> {
    if recovery.suspect {
        // Rounds are lost of which nobody knows what was in them: no group here is known not to have been made.
        return Err(RestoreError::Damaged.into());
    }
    let mut metadata = false;
    shard.recall_dropped(recovery.removed);
    for group in recovery.groups {
        if let Some(faulty) = group.faulty {
            tracing::error!(
                target: "wal",
                group = group.group.0,
                ?faulty,
                "a damaged replica is not opened: move the partition away and back to replace it"
            );
            if group.group == GroupId::METADATA {
                return Err(RestoreError::Damaged.into());
            }
            shard.keep_closed(group.group, group.replica);
            continue;
        }
        metadata |= group.group == GroupId::METADATA;
        let (id, replica) = (group.group, group.replica);
        let decode = |e: &Entry| raft::types::Membership::decode(&e.payload).map(|m| (e.index, m));
        let memberships: Option<Vec<_>> = group.membership_entries.iter().map(decode).collect();
        let memberships = memberships
            .ok_or_else(|| RestoreError::Log(id, "a membership cannot be read".to_owned()))?;
        let restored = Restored {
            group: id,
            replica,
            base: group.base,
            hard_state: group.hard_state,
            last_index: group.last_index,
            terms: group.terms,
            memberships,
            derived: group.derived,
        };
        let read = |from: Index, until: Index| {
            let entries = reader.entries(id, replica, from, until, RESTORE_READ_BYTES);
            entries.map_err(|why| why.to_string())
        };
        match shard.restore(now, restored, read) {
            Err(RestoreError::Log(_, why)) if id != GroupId::METADATA => {
                tracing::error!(
                    target: "wal",
                    group = id.0,
                    why,
                    "a damaged replica is not opened: move the partition away and back to replace it"
                );
                shard.give_up(id, replica);
            }
            done => done?,
        }
    }
    if !metadata && let Some(replica) = record.replica(shard.node(), shard.directory()) {
        let image = Image::bootstrap(record.cluster.0, record.membership().voters);
        shard.bootstrap(now, replica, &image);
    }
    shard.start(now);
    Ok(())
}

/// Bytes of entries read at once while groups are brought back.
const RESTORE_READ_BYTES: u64 = 4 << 20;

fn registration(config: &Config, directory: DirectoryId, boot: u64) -> Registration {
    let kafka = config.node.kafka_address();
    Registration {
        node: NodeId(config.node.node_id),
        directory,
        host: kafka.host.clone(),
        port: kafka.port,
        peer: config.node.peer_address().to_string(),
        rack: None,
        boot,
    }
}

/// How long one attempt to register may take, and the wait before the next.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(5);
const REGISTER_PAUSE: Duration = Duration::from_millis(100);

/// Makes this broker known to the cluster, and opens its replica of the metadata group if it has none.
async fn register(broker: Rc<Broker>, record: BootstrapRecord, registration: Registration) {
    let request = ControllerRequest::RegisterBroker(registration);
    loop {
        match broker.controller_once(&request, REGISTER_TIMEOUT).await {
            Ok(response) => match response.items.into_iter().next() {
                Some(Ok(Answer::Registered { metadata, .. })) => {
                    if broker.shard.borrow().replica(GroupId::METADATA).is_none() {
                        let image = Image::bootstrap(record.cluster.0, record.membership().voters);
                        broker
                            .shard
                            .borrow_mut()
                            .bootstrap(broker.now(), metadata, &image);
                        broker.work.notify_one();
                    }
                    broker.registered.set(true);
                    return;
                }
                other => tracing::error!(target: "controller", ?other, "registration refused"),
            },
            Err(why) => tracing::debug!(target: "controller", ?why, "not registered yet"),
        }
        let moved = broker.progress(&[GroupId::METADATA]);
        let _ = tokio::time::timeout(REGISTER_PAUSE, moved).await;
    }
}

/// A clean stop: leadership handed over, what was received answered, states saved, the log closed.
async fn finish(driver: Driver, ended: Ended) -> Result<(), Error> {
    let broker = driver.broker.clone();
    if matches!(ended, Ended::Stopped) {
        let limit = Duration::from_millis(broker.config.node.shutdown_max_ms);
        let deadline = Instant::now() + limit;
        broker.stopping.set(true);
        // Clients that are connected are told who leads now, as long as that changes.
        driver.front.stop_accepting();
        hand_over(&driver, limit / 2).await?;
        let rest = deadline.saturating_duration_since(Instant::now());
        go_on_until(&driver, driver.front.drain(rest)).await?;
        broker.shard.borrow_mut().save_all_derived();
        if let Some(Ended::LogFailed(why)) = driver.tick() {
            return Err(why.into());
        }
    }
    broker.network.stop();
    match ended {
        Ended::Stopped => {
            broker.log.close();
            match driver.log_events.take().into_iter().find_map(failure) {
                Some(why) => Err(why.into()),
                None => Ok(()),
            }
        }
        Ended::LogFailed(why) => Err(why.into()),
        Ended::Halted(halt) => Err(halt.into()),
    }
}

fn failure(event: super::log_thread::LogEvent) -> Option<wal::Error> {
    match event {
        super::log_thread::LogEvent::Failed(why) => Some(why),
        super::log_thread::LogEvent::Done(_) => None,
    }
}

/// Hands leadership over until nothing that somebody else could lead is led here, or time is up.
async fn hand_over(driver: &Driver, limit: Duration) -> Result<(), Error> {
    let broker = &driver.broker;
    let handed_over = async {
        loop {
            // What could not be handed over, because the heir was not ready in time, is tried again.
            if broker.shard.borrow_mut().resign_all(broker.now()) == 0 {
                return;
            }
            broker.work.notify_one();
            let moved = broker.progress(&broker.shard.borrow().led_elsewhere_possible());
            let _ = tokio::time::timeout(RESIGN_AGAIN, moved).await;
        }
    };
    let began = Instant::now();
    let stop = async {
        let done = tokio::time::timeout(limit, handed_over).await.is_ok();
        let left = broker.shard.borrow().led_elsewhere_possible().len();
        let seconds = began.elapsed().as_secs_f64();
        if done {
            tracing::info!(target: "raft", seconds, "leadership is handed over");
        } else {
            tracing::warn!(target: "raft", seconds, left, "some leadership was not handed over in time");
        }
    };
    go_on_until(driver, stop).await
}

/// How long a group's leadership may stay before its handing over is asked for again.
const RESIGN_AGAIN: Duration = Duration::from_millis(200);

/// Runs the loop until this resolves.
async fn go_on_until(driver: &Driver, stop: impl Future<Output = ()>) -> Result<(), Error> {
    match driver.run(stop).await {
        Ended::Stopped => Ok(()),
        Ended::LogFailed(why) => Err(why.into()),
        Ended::Halted(halt) => Err(halt.into()),
    }
}

/// The nodes that a list of peers names, with the seeds that it does not name (yet).
pub(crate) fn with_seeds(
    peers: Vec<(NodeId, String)>,
    seeds: &[(NodeId, String)],
) -> Vec<(NodeId, String)> {
    let mut all: BTreeMap<NodeId, String> = seeds.iter().cloned().collect();
    all.extend(peers);
    all.into_iter().collect()
}
