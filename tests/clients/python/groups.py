"""What every client of a group is put through, whatever its API.

A member is an object with: poll() -> [(partition, offset, value)], assigned() -> {partition}, commit(), close().
Members are polled in turn from one thread, so that a failure is a failure of the check and not of a thread.
"""

import time

PARTITIONS = 6
COUNT = 50  # per partition
PATIENCE = 60


def values(first, count=COUNT):
    """Partition and value of each record of a round; rounds are told apart by their first number."""
    return [(partition, f"{partition}-{number}".encode()) for partition in range(PARTITIONS) for number in range(first, first + count)]


def until(members, seen, done, what):
    """Polls all members in turn, and adds what they get, until `done()`."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s, {[sorted(m.assigned()) for m in members]}, {len(seen)} records"
        for member in members:
            seen.extend(member.poll())


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
