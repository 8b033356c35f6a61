"""What every client of a group is put through, whatever its API.

A member is an object with: poll() -> [(partition, offset, value)], assigned() -> {partition}, commit(), close().
Members are polled in turn from one thread, so that a failure is a failure of the check and not of a thread.
"""

import os
import socket
import sys
import time

PARTITIONS = 6
COUNT = 50  # per partition
PATIENCE = 60


def values(first, count=COUNT):
    """Partition and value of each record of a round; rounds are told apart by their first number."""
    return [(partition, f"{partition}-{number}".encode()) for partition in range(PARTITIONS) for number in range(first, first + count)]


def until(members, seen, done, what, patience=PATIENCE, turn=lambda member: member.poll()):
    """Polls all members in turn, and adds what they get, until `done()`."""
    deadline = time.monotonic() + patience
    while not done():
        assert time.monotonic() < deadline, f"{what}: not within {patience} s, {[sorted(m.assigned()) for m in members]}, {len(seen)} records"
        for member in members:
            seen.extend(turn(member))


def shared(members):
    """Everybody has something, nobody has the same, nothing is left over."""
    parts = [member.assigned() for member in members]
    return all(parts) and sum(map(len, parts)) == PARTITIONS and set().union(*parts) == set(range(PARTITIONS))


def drain(member):
    """Polls for a while longer: a record too many shows itself."""
    late = []
    for _ in range(10):
        late.extend(member.poll())
    return late


def same(seen, expected, what):
    found = sorted((partition, value) for partition, _, value in seen)
    expected = sorted(expected)
    missing, extra = set(expected) - set(found), len(found) - len(set(found))
    assert found == expected, f"{what}: {len(found)} records instead of {len(expected)}, {len(missing)} missing, {extra} twice"


def three_and_back(produce, join):
    """Three members share a topic, read all of it, commit and leave; the next one begins where they were.

    produce(first, count): one round of records. join(number): a new member.
    """
    members = [join(number) for number in range(3)]
    try:
        until(members, [], lambda: shared(members), "sharing")
        produce(0, COUNT)
        seen = []
        until(members, seen, lambda: len(seen) >= PARTITIONS * COUNT, "reading")
        for member in members:
            seen.extend(drain(member))
        same(seen, values(0), "three members")
        for member in members:
            member.commit()
    finally:
        for member in members:
            member.close()
    produce(COUNT, 10)
    last = join(3)
    try:
        seen = []
        until([last], seen, lambda: len(seen) >= PARTITIONS * 10, "coming back")
        seen.extend(drain(last))
        same(seen, values(COUNT, 10), "the next member")
        assert last.assigned() == set(range(PARTITIONS)), last.assigned()
        last.commit()
    finally:
        last.close()


def one_leaves(produce, join):
    """When a member leaves, the others take over what it had, from what it committed."""
    members = [join(number) for number in range(3)]
    try:
        until(members, [], lambda: shared(members), "sharing")
        produce(0, COUNT)
        seen = []
        until(members, seen, lambda: len(seen) >= PARTITIONS * COUNT, "reading")
        for member in members:
            member.commit()
        members.pop().close()
        until(members, seen, lambda: shared(members), "taking over")
        produce(COUNT, 10)
        until(members, seen, lambda: len(seen) >= PARTITIONS * (COUNT + 10), "reading on")
        same(seen, values(0, COUNT + 10), "two members")
    finally:
        for member in members:
            member.close()


class Stand:
    """The conversation with what runs the brokers, in lines: it makes faults, and judges the group's commits."""

    def __init__(self):
        host, port = os.environ["WALSER_STAND"].rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        self.received = b""

    def send(self, line):
        self.socket.settimeout(30)
        self.socket.sendall(line.encode() + b"\n")

    def answer(self, seconds):
        """The next line, None when there is none so soon."""
        self.socket.settimeout(seconds)
        try:
            while b"\n" not in self.received:
                more = self.socket.recv(4096)
                assert more, "the stand is gone"
                self.received += more
        except (TimeoutError, BlockingIOError):
            return None
        line, self.received = self.received.split(b"\n", 1)
        assert not line.startswith(b"wrong"), line.decode()
        return line.decode()

    def ask(self, line):
        self.send(line)
        answer = self.answer(120)
        assert answer, f"no answer to {line}"
        return answer


def under_faults(topic, join, passing):
    """A group of three reads a topic while its coordinator is killed in a rebalance and a broker restarts; the next
    member begins where they were.

    passing: what a client may throw at who polls or commits in the meantime.
    """
    stand = Stand()
    stand.ask(f"group {topic}")

    def turn(member):
        found = []
        for act in (lambda: found.extend(member.poll()), member.commit):
            try:
                act()
            except passing as error:
                print(f"{topic}: {type(error).__name__}: {error}", file=sys.stderr)
        return found

    members, seen = [join(0), join(1)], []
    try:
        until(members, seen, lambda: shared(members), "two sharing", turn=turn)
        stand.send("faults")
        members.append(join(2))
        answers = []
        until(members, seen, lambda: answers.extend(filter(None, [stand.answer(0)])) or answers, "faults", 240, turn)
        count = int(answers[0].split()[1])
        all_of_them = set(values(0, count))
        until(members, seen, lambda: len({(partition, value) for partition, _, value in seen}) >= len(all_of_them), "reading all", turn=turn)
        assert {(partition, value) for partition, _, value in seen} == all_of_them, "records that nobody sent"
        stand.send("judge")
        until(members, seen, lambda: answers.extend(filter(None, [stand.answer(0)])) or len(answers) == 2, "the verdict", 180, turn)
    finally:
        for member in members:
            member.close()
    after = int(stand.ask("more").split()[1])
    last = join(3)
    try:
        seen = []
        until([last], seen, lambda: len(seen) >= PARTITIONS * (after - count), "coming back")
        seen.extend(drain(last))
        same(seen, values(count, after - count), "the next member")
    finally:
        last.close()
    return answers[1]
