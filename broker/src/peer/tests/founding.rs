//! Formation over real sockets with real data directories: the parts fit together.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use raft::types::Tick;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::Instant;

use super::*;
use crate::data_directory::DataDirectory;
use crate::formation::{BootstrapRecord, Effect, Event, Formation, Message, Setup};

struct Founder {
    formation: Formation,
    data: DataDirectory,
    network: Rc<Network>,
    formed: Rc<OnceCell<BootstrapRecord>>,
}

impl Founder {
    fn step(&mut self, now: Tick, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let mut effects = Vec::new();
            self.formation.step(now, event, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Send { to, message } => {
                        // Lost without a connection, as it may be.
                        let _ = self
                            .network
                            .send_frame(to, &Frame::Formation(message.encode()));
                    }
                    Effect::SyncRecord(record) => {
                        self.data.store_bootstrap(&record).unwrap();
                        events.push(Event::RecordSynced);
                    }
                    Effect::Formed(record) => {
                        self.network.set_cluster(record.cluster);
                        self.formed.set(record).unwrap();
                    }
                    Effect::Refused { .. } | Effect::Failed(_) => panic!("{effect:?}"),
                }
            }
        }
    }

    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<PeerEvent>) {
        let begin = Instant::now();
        let now = || Tick(begin.elapsed().as_millis() as u64);
        self.step(now(), Event::Tick);
        loop {
            let wakeup = self.formation.wakeup().unwrap_or(Tick(1_000_000));
            tokio::select! {
                event = inbox.recv() => match event.unwrap() {
                    PeerEvent::Up { node, .. } => self.step(now(), Event::PeerUp(node)),
                    PeerEvent::Frame { node, frame: Frame::Formation(bytes) } => {
                        let message = Message::decode(&bytes).unwrap();
                        self.step(now(), Event::Presented { node, message });
                    }
                    _ => {}
                },
                () = tokio::time::sleep_until(begin + Duration::from_millis(wakeup.0)) => {
                    self.step(now(), Event::Tick);
                }
            }
        }
    }
}

/// One process of a seed, as far as formation goes.
struct Process {
    formed: Rc<OnceCell<BootstrapRecord>>,
    id: NodeId,
    network: Rc<Network>,
    task: JoinHandle<()>,
}

impl Process {
    async fn start(id: i32, seeds: &[(NodeId, String)], path: &Path) -> Self {
        let mut config = config();
        config.node_id = id;
        let fresh = DirectoryId(uuid::Uuid::new_v4().as_u128());
        let data = DataDirectory::open(path, NodeId(id), fresh).unwrap();
        let directory = data.identity().directory;
        let held = data.bootstrap().cloned();
        let setup = Setup {
            seeds: seeds.iter().map(|(node, _)| *node).collect(),
            ..Setup::new(&config, directory, held)
        };
        let cluster = data.identity().cluster.map_or(0, |cluster| cluster.0);
        let boot = u64::from(uuid::Uuid::new_v4().as_fields().0);
        let hello = Hello {
            cluster,
            directory,
            boot,
            ..hello(id)
        };
        let address = &seeds.iter().find(|(node, _)| node.0 == id).unwrap().1;
        let listener = TcpListener::bind(address).await.unwrap();
        let (sender, inbox) = mpsc::unbounded_channel();
        let network = Network::start(hello, Rc::new(config), listener, move |event| {
            // The process may be ending.
            let _ = sender.send(event);
        });
        network.set_peers(seeds.to_vec());
        let formed: Rc<OnceCell<BootstrapRecord>> = Rc::default();
        let founder = Founder {
            formation: Formation::new(setup),
            data,
            network: Rc::clone(&network),
            formed: Rc::clone(&formed),
        };
        Self {
            formed,
            id: NodeId(id),
            network,
            task: spawn_local(founder.run(inbox)),
        }
    }

    async fn record(&self) -> BootstrapRecord {
        let formed = wait::until(|| {
            let formed = self.formed.get().is_some();
            assert!(formed || !self.task.is_finished(), "its task panicked");
            formed
        });
        assert!(formed.await, "not formed");
        self.formed.get().unwrap().clone()
    }

    async fn kill(self) {
        self.network.stop();
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn free_addresses(count: i32) -> Vec<(NodeId, String)> {
    let mut listeners = Vec::new();
    for id in 1..=count {
        listeners.push((NodeId(id), TcpListener::bind("127.0.0.1:0").await.unwrap()));
    }
    let address = |(node, listener): &(NodeId, TcpListener)| {
        (*node, listener.local_addr().unwrap().to_string())
    };
    listeners.iter().map(address).collect()
}

#[test]
fn seeds_found_one_cluster_whenever_they_start_and_whoever_is_killed() {
    run(async {
        for round in 0..6 {
            let root = tempfile::tempdir().unwrap();
            let path = |id: i32| -> PathBuf { root.path().join(id.to_string()) };
            let seeds = free_addresses(3).await;
            let order = [[1, 2, 3], [3, 2, 1], [2, 3, 1]][round % 3];
            let mut processes = Vec::new();
            for id in order {
                processes.push(Process::start(id, &seeds, &path(id)).await);
                wait::delay(Duration::from_millis(10 * round as u64)).await;
            }
            let victim = processes.remove(round % 3);
            wait::delay(Duration::from_millis(5 * round as u64)).await;
            victim.kill().await;
            let id = order[round % 3];
            processes.push(Process::start(id, &seeds, &path(id)).await);

            let record = processes[0].record().await;
            for process in &processes {
                assert_eq!(process.record().await, record);
            }
            assert_eq!(record.voters.len(), 3);
            // And they talk as members of it.
            let process = &processes[0];
            let connected = wait::until(|| {
                let mut others = seeds.iter().map(|(node, _)| *node);
                let reached = |node| process.network.send_frame(node, &batch(1)).is_ok();
                others.all(|node| node == process.id || reached(node))
            });
            assert!(connected.await, "not connected as members");
            for process in processes {
                process.kill().await;
            }
            let directory = DataDirectory::open(&path(2), NodeId(2), DirectoryId(1)).unwrap();
            assert_eq!(directory.bootstrap(), Some(&record));
            assert_eq!(directory.identity().cluster, Some(record.cluster));
        }
    });
}
