"""report.md: what was measured, on what, and what the goals say of it. And plot.svg."""

import json

from beside import plot
from beside.goals import GOALS, median, ratios
from beside.grid import CELLS, SYSTEMS

NAMES = {
    "walser": "Walser", "kafka": "Kafka", "kafka-flush": "Kafka, flush a message",
    "nats-sync": "NATS, sync always", "nats": "NATS",
}


def write(out):
    files = sorted((out / "cells").glob("*.json"))
    every = [json.loads(file.read_text()) for file in files]
    found = {(one["cell"], one["system"], one["round"]): one for one in every}
    text = "# Walser beside its peers\n\n"
    text += "\n".join(head(every)) + "\n" if every else "Nothing was measured.\n"
    text += "\n## Figures\n\n" + "\n".join(figures(found)) + "\n"
    text += "\n## Goals\n\n" + "\n".join(goals(found)) + "\n"
    text += "\n## Void\n\n" + "\n".join(voids(every) or ["No row."]) + "\n"
    text += "\n## Commands\n\n" + "\n".join(commands(found)) + "\n"
    (out / "report.md").write_text(text)
    (out / "plot.svg").write_text(plot.draw(found, NAMES))
    return text


def head(every):
    loads = [one["load_average"] for one in every]
    same = lambda key: sorted({json.dumps(one[key], ensure_ascii=False) for one in every})
    lines = [f"- {min(one['when'] for one in every)} to {max(one['when'] for one in every)} (UTC). "
             f"Load average before the cells {min(loads):.1f} to {max(loads):.1f}."]
    for facts in same("machine"):
        lines.append("- Machine: " + "; ".join(f"{k} {v}" for k, v in json.loads(facts).items()))
    for versions in same("versions"):
        lines.append("- " + "; ".join(f"{k} {v}" for k, v in json.loads(versions).items()))
    for config in same("walser_config"):
        lines += [f"- Walser with {line}" for line in json.loads(config)]
    if any(one["quick"] for one in every):
        lines.append("- **Short cells, JVMs hardly warm: for a look, not for a comparison.**")
    return lines + [
        "- Three servers and the client on one machine, over loopback; three replicas, acks=all; a fresh "
        "cluster for every row, the rows of a cell one directly after the other.",
        "- Walser syncs before each acknowledgement, and so do `flush a message` and `sync always`. "
        "The others acknowledge what only memories hold.",
        "- One record a request but for Java and librdkafka, which batch. NATS is driven by its own "
        "client, one stream for each partition; the others by one client in raw frames.",
        "- Fsyncs are counted by Walser alone. Cores are the servers'; of real clients over the whole run.",
        "- Read back: found of acknowledged. `load` fetches and compares each record; for NATS and "
        "the real clients it is the count in the log.",
    ]


def number(value, digits):
    return "-" if value is None else f"{value:,.{digits}f}"


def spread(values, digits):
    """The median, and from where to where when there are several."""
    values = [value for value in values if value is not None]
    if len(values) < 2:
        return number(values[0] if values else None, digits)
    return f"{number(median(values), digits)} ({number(min(values), digits)}-{number(max(values), digits)})"


def figures(found):
    yield ("| cell | system | offered/s | acks/s | MB/s | p50 ms | p99 | p99.9 | CPU s | CPU s/GB | "
           "fsync/s a broker | read back | acks/s: Walser's / its |")
    yield "|---" * 13 + "|"
    for cell in CELLS:
        for system in cell.systems:
            rows = [one["row"] for key, one in sorted(found.items())
                    if key[:2] == (cell.name, system)]
            if rows:
                yield line(found, cell, system, rows)


def line(found, cell, system, rows):
    get = lambda pick: [pick(row) for row in rows]
    latency = lambda name: spread(get(lambda row: row["latency_ms"].get(name)), 2)
    # Of a real client the processors' time is of all of its run, and the window is not.
    windowed = not cell.client
    seconds = lambda row: row["cpu_cores"] * row["window_ms"] / 1e3 if windowed else None
    gigabytes = lambda row: (row["cpu_cores"] / (row["bytes_per_second"] / 1e9)
                             if windowed and row["bytes_per_second"] else None)
    back = [row["read_back"] for row in rows if row.get("read_back")]
    fsyncs = get(lambda row: (row.get("log") or {}).get("fsyncs_per_second"))
    void = " (VOID)" if any(row["void"] for row in rows) else ""
    ratio = "" if system == "walser" else spread(ratios(found, cell.name, "acks/s", system), 2)
    columns = [
        cell.name, NAMES[system] + void, spread(get(lambda row: row.get("offered_per_second")), 0),
        spread(get(lambda row: row["acks_per_second"]), 0),
        spread(get(lambda row: row["bytes_per_second"] / 1e6), 1),
        latency("p50"), latency("p99"), latency("p999"),
        spread(get(seconds), 2), spread(get(gigabytes), 1), spread(fsyncs, 0),
        f"{sum(one['found'] for one in back)}/{sum(one['acked'] for one in back)}" if back else "-",
        ratio,
    ]
    return "| " + " | ".join(columns) + " |"


def goals(found):
    yield "| cell | figure | Walser's over that of | must | then | is | |"
    yield "|---" * 7 + "|"
    for goal in GOALS:
        measured = ratios(found, goal.cell, goal.figure, goal.peer)
        sign = ">=" if goal.is_floor else "<="
        verdict = goal.verdict(median(measured)) if measured else "not measured"
        yield (f"| {goal.cell} | {goal.figure} | {NAMES[goal.peer]} | {sign} {goal.must:g} | "
               f"{sign} {goal.then:g} | {spread(measured, 2)} | {verdict} |")


def voids(every):
    return [f"- {one['cell']}, {NAMES[one['system']]}, round {one['round']}: {why}"
            for one in every for why in one["row"]["void"]]


def commands(found):
    yield "The cells themselves:"
    yield ""
    yield "| cell | what |"
    yield "|---|---|"
    for cell in CELLS:
        yield f"| {cell.name} | {cell.what} |"
    yield ""
    for system in SYSTEMS:
        for cell in CELLS:
            one = found.get((cell.name, system, 1))
            if one:
                yield "    " + " ".join(one["command"])
