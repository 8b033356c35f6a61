"""What Walser shall be of its peers: a ratio of one figure in one cell."""

import dataclasses
import statistics


@dataclasses.dataclass(frozen=True)
class Goal:
    """Walser's figure over the peer's: at least (or at most) so much now, so much then."""
    cell: str
    figure: str
    peer: str
    must: float
    then: float

    @property
    def is_floor(self):
        """Whether more is better."""
        return self.then > self.must

    def verdict(self, ratio):
        meets = (lambda bound: ratio >= bound) if self.is_floor else (lambda bound: ratio <= bound)
        return "then: met" if meets(self.then) else "must: met" if meets(self.must) else "NOT MET"


FIGURES = {
    "acks/s": lambda row: row["acks_per_second"],
    "MB/s": lambda row: row["bytes_per_second"],
    "p50": lambda row: row["latency_ms"]["p50"],
    "p99": lambda row: row["latency_ms"]["p99"],
}

GOALS = [
    *[Goal(cell, "acks/s", "kafka", 5, 10)
      for cell in ("1k-x64", "64k-x16", "1k-64x1-48p", "1k-12x5-48p")],
    Goal("1k-x1", "p50", "kafka", 0.9, 0.7),
    *[Goal(cell, "p99", "kafka", 1 / 5, 1 / 10) for cell in ("open-slowest", "open-kafka")],
    *[Goal(cell, "MB/s", "kafka", 1.5, 2)
      for cell in ("java", "java-tuned", "rdkafka", "rdkafka-tuned")],
    Goal("1k-x64", "acks/s", "nats-sync", 3, 4.5),
    Goal("64k-x16", "MB/s", "nats-sync", 5, 8),
    Goal("1k-x1", "p50", "nats-sync", 0.5, 0.35),
    Goal("1k-x64", "acks/s", "nats", 1, 1.8),
    Goal("64k-x16", "MB/s", "nats", 4, 7),
    Goal("1k-x1", "p50", "nats", 1.2, 0.9),
]


def ratios(found, cell, figure, peer):
    """Of every round in which both rows stand."""
    def value(system, number):
        one = found.get((cell, system, number))
        return FIGURES[figure](one["row"]) if one and not one["row"]["void"] else None
    rounds = sorted({number for _, _, number in found})
    pairs = [(value("walser", number), value(peer, number)) for number in rounds]
    return [ours / theirs for ours, theirs in pairs if ours and theirs]


def median(values):
    return statistics.median(values) if values else None
