"""Fresh clusters of three on loopback. Every process is a child of this one, and is ended by its id."""

import ctypes
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.request

NODES = 3
READY_SECONDS = 90
STOP_SECONDS = 10
PR_SET_PDEATHSIG = 1
# What Kafka's own start script gives a broker.
KAFKA_JVM = ["-server", "-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
             "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent",
             "-Djava.awt.headless=true"]
LIBC = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """A cell could not be measured."""


def free_ports(count):
    """Ports that were free just now; all are held until the last is known."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def until(what, holds, alive=lambda: True):
    """No event tells that a server is ready: it has to be asked."""
    deadline = time.monotonic() + READY_SECONDS
    while not holds():
        if not alive() or time.monotonic() > deadline:
            raise Failed(what)
        time.sleep(0.1)


class Cluster:
    """Context of a running cluster: its addresses, its processes."""
    # What a program of the load is told.
    syncs = True

    def __init__(self, tools, folder, extra=()):
        self.tools, self.folder, self.extra = tools, pathlib.Path(folder), list(extra)
        self.processes = []
        self.ports = free_ports(3 * NODES)

    def __enter__(self):
        self.remove()
        try:
            for node in range(NODES):
                place = self.folder / f"node-{node + 1}"
                place.mkdir(parents=True)
                self.configure(node, place)
            for node in range(NODES):
                self.spawn(node)
            until("the servers do not come up", self.is_ready, self.is_alive)
        except BaseException as error:
            tails = self.tails()
            self.__exit__()
            if isinstance(error, Failed):
                raise Failed(f"{error}\n{tails}") from error
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for process in self.processes:
            try:
                process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []
        self.remove()

    def remove(self):
        """Twice, should something have been written meanwhile."""
        for _ in range(2):
            shutil.rmtree(self.folder, ignore_errors=True)

    def spawn(self, node):
        place = self.folder / f"node-{node + 1}"
        with open(place / "log", "wb") as log:
            self.processes.append(subprocess.Popen(
                self.command(place), cwd=place, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=die_with_parent))

    def is_alive(self):
        return all(process.poll() is None for process in self.processes)

    def tails(self):
        logs = sorted(self.folder.glob("node-*/log"))
        return "\n".join(log.read_text(errors="replace")[-1500:] for log in logs)

    def address(self, node, of=0):
        return f"127.0.0.1:{self.ports[NODES * of + node]}"

    @property
    def bootstrap(self):
        return ",".join(self.address(node) for node in range(NODES))

    @property
    def pids(self):
        return [process.pid for process in self.processes]


class Walser(Cluster):
    """As `walser bench` starts it: small files, so that they turn; everything else by default."""
    def configure(self, node, place):
        seeds = ", ".join(f'"{other + 1}@{self.address(other, 1)}"' for other in range(NODES))
        lines = [f"node.id = {node + 1}", f'data.dir = "{place}/data"', f"cluster.seeds = [{seeds}]",
                 f'listener.kafka = "{self.address(node)}"',
                 f'listener.peer = "{self.address(node, 1)}"',
                 f'listener.admin = "{self.address(node, 2)}"',
                 'segment.size = "16MiB"', 'spares.size = "128MiB"', 'entry.max = "4MiB"']
        named = {line.split("=")[0].strip() for line in self.extra}
        lines = [line for line in lines if line.split("=")[0].strip() not in named] + self.extra
        (place / "walser.toml").write_text("\n".join(lines) + "\n")

    def command(self, place):
        return [self.tools.walser, "serve", "--config", place / "walser.toml"]

    def is_ready(self):
        def one(node):
            try:
                return urllib.request.urlopen(f"http://{self.address(node, 2)}/readyz",
                                              timeout=2).status == 200
            except (OSError, urllib.error.URLError):
                return False
        return all(map(one, range(NODES)))

    @property
    def probes(self):
        return [f"{self.address(node, 2)},{pid}" for node, pid in enumerate(self.pids)]


class Kafka(Cluster):
    """In KRaft mode, every node broker and controller. By default it never syncs what it acknowledges."""
    syncs = False

    def configure(self, node, place):
        voters = ",".join(f"{other + 1}@{self.address(other, 1)}" for other in range(NODES))
        lines = ["process.roles=broker,controller", f"node.id={node + 1}",
                 f"controller.quorum.voters={voters}",
                 f"listeners=PLAINTEXT://{self.address(node)},CONTROLLER://{self.address(node, 1)}",
                 f"advertised.listeners=PLAINTEXT://{self.address(node)}",
                 "controller.listener.names=CONTROLLER",
                 "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
                 f"log.dirs={place}/data", "min.insync.replicas=2", *self.extra]
        (place / "server.properties").write_text("\n".join(lines) + "\n")
        made = subprocess.run(
            ["java", "-cp", f"{self.tools.jars}/*", "kafka.tools.StorageTool", "format", "-t",
             "AAAAAAAAQACAAAAAAAAAAA", "-c", place / "server.properties"],
            cwd=place, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if made.returncode:
            raise Failed(made.stdout)

    def command(self, place):
        return ["java", *KAFKA_JVM, "-cp", f"{self.tools.jars}/*", "kafka.Kafka",
                place / "server.properties"]

    def is_ready(self):
        """Whether every broker knows all."""
        return all(known_brokers(self.ports[node]) == NODES for node in range(NODES))

    @property
    def probes(self):
        return [f"-,{pid}" for pid in self.pids]


class FlushingKafka(Kafka):
    """The same with `log.flush.interval.messages=1`."""
    syncs = True

    def __init__(self, tools, folder, extra=()):
        super().__init__(tools, folder, [*extra, "log.flush.interval.messages=1"])


class Nats(Cluster):
    """JetStream. By default it syncs every two minutes."""
    syncs = False
    how = ""

    def configure(self, node, place):
        routes = ", ".join(f'"nats://{self.address(other, 1)}"' for other in range(NODES))
        (place / "nats.conf").write_text(f"""
server_name: n{node + 1}
listen: {self.address(node)}
jetstream {{ store_dir: "{place}/data"
  {self.how}
}}
cluster {{ name: c, listen: {self.address(node, 1)}, routes: [{routes}] }}
""")

    def command(self, place):
        return [self.tools.nats_server, "-c", place / "nats.conf"]

    def is_ready(self):
        """Whether all listen. The client waits for the cluster to be formed."""
        def one(node):
            try:
                socket.create_connection(("127.0.0.1", self.ports[node]), 2).close()
                return True
            except OSError:
                return False
        return all(map(one, range(NODES)))

    @property
    def named(self):
        return ",".join(f"n{node + 1}={self.address(node)}" for node in range(NODES))


class SyncingNats(Nats):
    """It syncs before it acknowledges."""
    syncs = True
    how = "sync_interval: always"


def known_brokers(port):
    """How many brokers this one names: Metadata, version 1, of no topic. 0 when it does not answer."""
    request = struct.pack(">hhih5si", 3, 1, 7, 5, b"peers", 0)
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as connection:
            connection.settimeout(2)
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = connection.makefile("rb").read(12)
    except OSError:
        return 0
    return struct.unpack(">iii", answer)[2] if len(answer) == 12 else 0


def in_a_hurry():
    """For an open loop's client: not late because a broker has the core. Where that is forbidden its lag shows it."""
    die_with_parent()
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        pass
