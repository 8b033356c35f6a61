"""Everything that is measured, and what measures it, is here afterwards, in the pinned versions."""

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
NATS = ROOT / "benches/peers/nats"
CRATES = ("broker", "benches", "rdkafka-produce")
PROGRAMS = ("walser", "load", "rdkafka-produce")
# The first Go that fetches the one that a module asks for.
GO_AT_LEAST = (1, 21)


@dataclasses.dataclass
class Tools:
    """Where everything is."""
    walser: pathlib.Path
    load: pathlib.Path
    rdkafka: pathlib.Path
    jars: pathlib.Path
    nats_server: pathlib.Path
    nats_client: pathlib.Path
    versions: dict


def say(what):
    print(f"peers: {what}", file=sys.stderr, flush=True)


def output(*command, **more):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, **more).stdout


def all_of_it(programs):
    packages()
    given = programs is not None
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    if not given:
        say("building walser and the clients")
        chosen = [word for crate in CRATES for word in ("-p", crate)]
        chosen += [word for name in PROGRAMS for word in ("--bin", name)]
        subprocess.run(["cargo", "build", "-q", "--release", *chosen], cwd=ROOT, check=True)
        programs = target / "release"
    programs = programs.resolve()
    for name in PROGRAMS:
        if not (programs / name).exists():
            sys.exit(f"peers: there is no {name} in {programs}")
    say("fetching Apache Kafka and NATS")
    jars = pathlib.Path(output(ROOT / "tests/clients/kafka/fetch.sh").strip())
    built = (target / "peers").resolve()
    built.mkdir(parents=True, exist_ok=True)
    for name, package in (("nats-server", "github.com/nats-io/nats-server/v2"), ("client", ".")):
        subprocess.run(["go", "build", "-o", built / name, package], cwd=NATS, check=True)
    return Tools(
        walser=programs / "walser", load=programs / "load", rdkafka=programs / "rdkafka-produce",
        jars=jars, nats_server=built / "nats-server", nats_client=built / "client",
        versions=versions(jars, given))


def packages():
    wanted = {"java": "default-jdk-headless", "mvn": "maven", "go": "golang-go", "cc": "build-essential"}
    missing = [package for command, package in wanted.items() if not shutil.which(command)]
    if missing:
        root = [] if os.geteuid() == 0 else ["sudo", "-n"]
        say(f"installing {' '.join(missing)}")
        quiet = {"stdout": sys.stderr, "check": True}
        subprocess.run([*root, "apt-get", "update", "-q"], **quiet)
        subprocess.run([*root, "apt-get", "install", "-qy", "--no-install-recommends", *missing],
                       **quiet)
    found = re.search(r"go(\d+)\.(\d+)", output("go", "version"))
    if tuple(map(int, found.groups())) < GO_AT_LEAST:
        sys.exit(f"peers: {found[0]} cannot fetch a newer one: install Go 1.21 or later")


def versions(jars, given):
    kafka = [jar.stem.removeprefix("kafka_2.13-") for jar in jars.glob("kafka_2.13-*.jar")]
    module = "{{.Version}}"
    go = lambda name: output("go", "list", "-m", "-f", module, name, cwd=NATS).strip()
    java = subprocess.run(["java", "-version"], text=True, stderr=subprocess.PIPE, check=True)
    return {
        "Apache Kafka": kafka[0],
        "nats-server": go("github.com/nats-io/nats-server/v2"),
        "nats.go": go("github.com/nats-io/nats.go"),
        "Java": java.stderr.splitlines()[0],
        "Go": output("go", "version", cwd=NATS).strip().removeprefix("go version "),
        "librdkafka": locked("rdkafka-sys"),
        "commit": commit() + (" (programs given, of which commit is not known)" if given else ""),
    }


def locked(crate):
    """rdkafka-sys bears the version of the librdkafka in it."""
    text = (ROOT / "Cargo.lock").read_text()
    return re.search(rf'name = "{crate}"\nversion = "[^"+]+\+([^"]+)"', text)[1]


def commit():
    head = output("git", "rev-parse", "--short", "HEAD", cwd=ROOT).strip()
    changed = output("git", "status", "--porcelain", cwd=ROOT).strip()
    return head + (" with changes" if changed else "")
