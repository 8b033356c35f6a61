"""Runs named checks and prints a line for each; a check passes only by returning."""

import sys
import traceback

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


class Checks:
    def __init__(self):
        self.failed = 0

    def run(self, name, function, *arguments):
        try:
            said = function(*arguments)
            print(f"PASS {name}" + (f": {said}" if said else ""), flush=True)
        except Exception as error:  # whatever a client throws is a failure of the check
            self.failed += 1
            why = f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
            print(f"FAIL {name}: {why}", flush=True)
            traceback.print_exc(file=sys.stderr)

    def done(self):
        print("DONE", flush=True)


def records(codec, partition, count=200):
    """Keys and values that differ by codec, partition and position; some are large, one empty."""
    out = []
    for number in range(count):
        filler = b"" if number == 7 else f"{codec}-{partition}-{number}-".encode() * (number % 50 + 1)
        out.append((f"k{number}".encode(), filler))
    return out


def same(found, expected, what):
    assert found == expected, f"{what}: {len(found)} found, {len(expected)} expected, first difference " + str(
        next(((i, a, b) for i, (a, b) in enumerate(zip(found, expected)) if a != b), "in length")
    )
