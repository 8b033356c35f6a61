"""The machine that is measured on, and what its processes use."""

import os
import pathlib
import platform
import subprocess
import sys


def filesystem(folder):
    said = subprocess.run(["df", "--output=fstype", folder], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    return said.split()[-1]


def refuse_memory(folder):
    """Every sync in memory is free, so that nothing measured there means anything."""
    if filesystem(folder) in ("tmpfs", "ramfs"):
        sys.exit(f"peers: {folder} is in memory: name a folder on a disk")


def facts(folder):
    processor = next((line.split(":", 1)[1].strip()
                      for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                      if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processors": f"{os.cpu_count()} x {processor}",
        "memory": f"{memory / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "file system": filesystem(folder),
    }


def processor_seconds(pids):
    """User and system time so far."""
    def one(pid):
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        # The name stands in parentheses and may itself hold some.
        user, system = stat.rsplit(")", 1)[1].split()[11:13]
        return int(user) + int(system)
    return sum(map(one, pids)) / os.sysconf("SC_CLK_TCK")
