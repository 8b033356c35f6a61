"""The cells, in which order they are measured, and one file for each that is done."""

import dataclasses
import datetime
import json
import os
import time

from beside import clients, systems
from beside.install import say
from beside.machine import facts

# In this order within each cell, one directly after the other.
SYSTEMS = {
    "walser": systems.Walser,
    "kafka": systems.Kafka,
    "kafka-flush": systems.FlushingKafka,
    "nats-sync": systems.SyncingNats,
    "nats": systems.Nats,
}
KAFKA_SPEAKERS = ("walser", "kafka", "kafka-flush")
# About how long a cluster takes to come up and to go.
START_SECONDS = {"walser": 3, "kafka": 16, "kafka-flush": 16, "nats-sync": 6, "nats": 6}
# About how long the records of a real client take, and the programs around it.
THROUGH_SECONDS_QUICK, THROUGH_SECONDS = 12, 30


@dataclasses.dataclass(frozen=True)
class Cell:
    """One measurement of each of its systems."""
    name: str
    what: str
    partitions: int
    size: int = 1024
    connections: int = 1
    inflight: int = 1
    # The cell of `load`.
    load: str = ""
    # Open loop: half of the least that one of these reached in the cell OF_RATE.
    half_of: tuple = ()
    # A real client, and its keys.
    client: str = ""
    keys: tuple = ()
    systems: tuple = tuple(SYSTEMS)


OF_RATE = "1k-12x5-48p"
TUNED = ("batch.size=262144", "linger.ms=5")
CELLS = [
    Cell("1k-x1", "1 KiB x 1 in flight", 1, load="1k-x1"),
    Cell("1k-x64", "1 KiB x 64 in flight", 1, inflight=64, load="1k-x64"),
    Cell("64k-x16", "64 KiB x 16 in flight", 1, size=65536, inflight=16, load="64k-x16"),
    Cell("1k-64x1-48p", "64 connections x 1, 48 partitions", 48, connections=64,
         load="1k-64x1-48p"),
    Cell(OF_RATE, "12 connections x 5, 48 partitions", 48, connections=12, inflight=5,
         load=OF_RATE),
    Cell("open-slowest", "open loop at half of the slowest's most", 48, connections=12,
         load="1k-open-48p", half_of=tuple(SYSTEMS)),
    Cell("open-kafka", "open loop at half of Kafka's most", 48, connections=12,
         load="1k-open-48p", half_of=("kafka",), systems=("walser", "kafka", "nats-sync", "nats")),
    Cell("java", "Java, its default batches", 12, client="java", systems=KAFKA_SPEAKERS),
    Cell("java-tuned", "Java, 256 KiB and 5 ms", 12, client="java", keys=TUNED,
         systems=KAFKA_SPEAKERS),
    Cell("rdkafka", "librdkafka, its default batches", 12, client="rdkafka",
         systems=KAFKA_SPEAKERS),
    Cell("rdkafka-tuned", "librdkafka, 256 KiB and 5 ms", 12, client="rdkafka",
         keys=TUNED, systems=KAFKA_SPEAKERS),
]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much of each. The warm-up is a JVM's more than anyone's."""
    warm: int
    measured: int
    warm_records: int
    records: int
    through_seconds: int


QUICK = Sizes(3, 3, 20_000, 60_000, THROUGH_SECONDS_QUICK)
FULL = Sizes(20, 12, 100_000, 400_000, THROUGH_SECONDS)


def place(out, cell, system, number):
    return out / "cells" / f"{cell}.{system}.{number}.json"


def read(out, cell, system, number):
    try:
        return json.loads(place(out, cell, system, number).read_text())
    except FileNotFoundError:
        return None


def estimate(cell, system, sizes):
    work = sizes.through_seconds if cell.client else sizes.warm + sizes.measured + 2
    return START_SECONDS[system] + work


def measure(out, tools, arguments, began):
    """Measures what is not there yet: what could not be, with its reason."""
    sizes = QUICK if arguments.quick else FULL
    chosen = lambda names, name: not names or name in names.split(",")
    due = [(number, cell, system) for number in range(1, arguments.rounds + 1) for cell in CELLS
           for system in cell.systems
           if chosen(arguments.cells, cell.name) and chosen(arguments.systems, system)
           and not place(out, cell.name, system, number).exists()]
    left = sum(estimate(cell, system, sizes) for _, cell, system in due)
    say(f"{len(due)} cells to measure, about {left / 60:.0f} minutes")
    missed = []
    for at, (number, cell, system) in enumerate(due, 1):
        name = f"{cell.name} {system}, round {number}"
        mine = estimate(cell, system, sizes)
        over = time.monotonic() - began + mine - (arguments.budget or float("inf")) * 60
        if over > 0:
            missed.append(f"{name}: no time is left in the budget")
            continue
        say(f"{at} of {len(due)}: {name}; about {left / 60:.0f} minutes left")
        left -= mine
        try:
            found = one(out, tools, arguments, sizes, number, cell, system)
        except systems.Failed as failed:
            missed.append(f"{name}: {failed}")
            say(missed[-1])
            continue
        file = place(out, cell.name, system, number)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(found, indent=1) + "\n")
        partial.rename(file)
        row = found["row"]
        say(f"  {row['acks_per_second']:,.0f} acks/s, p50 {row['latency_ms']['p50']:.2f}, "
            f"p99 {row['latency_ms']['p99']:.2f} ms {row['void'] or ''}")
    return missed


def one(out, tools, arguments, sizes, number, cell, system):
    rate = offered(out, cell, number)
    load_before = os.getloadavg()[0]
    extra = arguments.walser_config if system == "walser" else []
    with SYSTEMS[system](tools, out / "data", extra) as cluster:
        if cell.client:
            row, command = clients.through(cell, cluster, sizes)
        else:
            row, command = clients.offer(cell, cluster, sizes, rate)
    return {
        "schema": "walser.peers.cell/1",
        "cell": cell.name, "system": system, "round": number, "syncs": SYSTEMS[system].syncs,
        "quick": arguments.quick, "warm_seconds": sizes.warm,
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "load_average": load_before, "machine": facts(out), "versions": tools.versions,
        "walser_config": list(arguments.walser_config),
        "command": [str(word).replace(str(out), "OUT") for word in command], "row": row,
    }


def offered(out, cell, number):
    """Requests a second that all systems of the cell are offered: of the same round."""
    if not cell.half_of:
        return None
    rows = {system: read(out, OF_RATE, system, number) for system in cell.half_of}
    lacking = [system for system, found in rows.items() if found is None]
    if lacking:
        raise systems.Failed(f"its rate is half of what {', '.join(lacking)} did in {OF_RATE}")
    least = min(found["row"]["acks_per_second"] for found in rows.values())
    return max(round(least / 2), 1)
