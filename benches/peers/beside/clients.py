"""What offers the load, and the row that comes of it: always with the names of `load`'s rows."""

import json
import re
import subprocess
import time

from beside.machine import processor_seconds
from beside.systems import Failed, Nats, die_with_parent, in_a_hurry

# Exit codes of `load` with which it has a row: measured, records did not come back, void.
LOAD_HAS_ROW = (0, 12, 13)
LONGEST_SECONDS = 900
TOPIC = "peers"
RECORD_BYTES = 1024
# The line of what was sent after the warm-up.
PERF = re.compile(
    r"(\d+) steady state records sent, ([\d.]+) records/sec .*?, [\d.]+ ms avg latency, [\d.]+ ms max latency, "
    r"(\d+) ms 50th, \d+ ms 95th, (\d+) ms 99th, (\d+) ms 99\.9th\.")


def execute(command, codes=(0,), before=die_with_parent):
    """What it prints. It is ended with this program, and when it takes too long."""
    command = [str(word) for word in command]
    try:
        done = subprocess.run(command, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=LONGEST_SECONDS, preexec_fn=before,
                              check=False)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{command[0]} took more than {LONGEST_SECONDS} s") from late
    if done.returncode not in codes:
        raise Failed(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def offer(cell, cluster, sizes, rate):
    """The row of one load, and the command that made it."""
    if isinstance(cluster, Nats):
        command = nats(cell, cluster, sizes, rate)
        before = in_a_hurry if rate else die_with_parent
        return json.loads(execute(command, before=before)), command
    command = load(cell, cluster, sizes, rate)
    return json.loads(execute(command, LOAD_HAS_ROW).splitlines()[-1]), command


def load(cell, cluster, sizes, rate):
    command = [cluster.tools.load, cluster.bootstrap, "--json", "--cell", cell.load,
               "--warm", sizes.warm, "--seconds", sizes.measured]
    command += [word for probe in cluster.probes for word in ("--broker", probe)]
    command += [] if cluster.syncs else ["--no-fsync"]
    return command + (["--rate", rate] if rate else [])


def nats(cell, cluster, sizes, rate):
    command = [cluster.tools.nats_client, "-servers", cluster.named,
               "-pids", ",".join(map(str, cluster.pids)), "-size", cell.size,
               "-partitions", cell.partitions, "-connections", cell.connections,
               "-inflight", cell.inflight, "-warm", f"{sizes.warm}s",
               "-measured", f"{sizes.measured}s"]
    return command + (["-rate", rate] if rate else [])


def through(cell, cluster, sizes):
    """The same of a real client, which batches as its keys say."""
    create = [cluster.tools.walser, "topic", "create", TOPIC, "-p", cell.partitions, "-r", 3,
              "-b", cluster.bootstrap]
    execute(create)
    pids, before, began = cluster.pids, processor_seconds(cluster.pids), time.monotonic()
    row, command, sent = {"java": java, "rdkafka": rdkafka}[cell.client](cell, cluster, sizes)
    seconds = time.monotonic() - began
    row["cpu_cores"] = (processor_seconds(pids) - before) / seconds
    found = stored(cluster)
    row["read_back"] = {"acked": sent, "found": found}
    if found != sent:
        row["void"].append(f"{found} records are in the topic, {sent} were acknowledged")
    return row, command


def java(cell, cluster, sizes):
    """kafka-producer-perf-test. It ends after so many records, not after a time."""
    keys = ["acks=all", *cell.keys]
    command = ["java", "-Xmx512m", "-cp", f"{cluster.tools.jars}/*",
               "org.apache.kafka.tools.ProducerPerformance",
               "--bootstrap-server", cluster.bootstrap, "--topic", TOPIC,
               "--num-records", sizes.records, "--warmup-records", sizes.warm_records,
               "--record-size", RECORD_BYTES, "--throughput", -1,
               *[word for key in keys for word in ("--command-property", key)]]
    said = execute(command)
    line = PERF.search(said)
    if not line:
        raise Failed(f"no figures in:\n{said[-2000:]}")
    _, rate, p50, p99, p999 = line.groups()
    void = [said[-500:]] if "Exception" in said else []
    row = {"acks_per_second": float(rate), "bytes_per_second": float(rate) * RECORD_BYTES,
           "latency_ms": {"p50": float(p50), "p99": float(p99), "p999": float(p999)}, "void": void}
    return row, command, sizes.records


def rdkafka(cell, cluster, sizes):
    keys = ["acks=all", *cell.keys]
    command = [cluster.tools.rdkafka, cluster.bootstrap, TOPIC, RECORD_BYTES, sizes.warm,
               sizes.measured, *keys]
    row = json.loads(execute(command))
    return row, command, row["delivered"]


def stored(cluster):
    """How many records the topic has, by the ends of its partitions."""
    said = execute(["java", "-Xmx256m", "-cp", f"{cluster.tools.jars}/*",
                    "org.apache.kafka.tools.GetOffsetShell",
                    "--bootstrap-server", cluster.bootstrap, "--topic", TOPIC])
    return sum(int(line.rsplit(":", 1)[1]) for line in said.splitlines() if line.count(":") == 2)
