"""confluent-kafka (librdkafka): groups. Eager, cooperative, static members; the admin's view of a group."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from checks import Checks
from groups import COUNT, PARTITIONS, one_leaves, shared, three_and_back, under_faults, until

bootstrap, run = sys.argv[1], sys.argv[2]
common = {"bootstrap.servers": bootstrap, "log_level": 0}
admin = AdminClient(common)


def name_of(check):
    return f"confluent-groups-{run}-{check}"


def create(topic):
    copies = min(3, len(admin.list_topics(timeout=10).brokers))
    for future in admin.create_topics([NewTopic(topic, PARTITIONS, copies)]).values():
        future.result(30)


def producing(topic):
    def produce(first, count):
        producer = Producer(common | {"acks": "all", "enable.idempotence": True})
        failed = []
        for partition in range(PARTITIONS):
            for number in range(first, first + count):
                producer.produce(topic, f"{partition}-{number}".encode(), partition=partition, on_delivery=lambda error, _: error and failed.append(error))
        assert producer.flush(30) == 0 and not failed, failed

    return produce


class Member:
    def __init__(self, topic, group, settings):
        self.assignments = 0
        self.topic = topic
        self.consumer = Consumer(common | {
            "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest", "session.timeout.ms": 10000,
            "heartbeat.interval.ms": 500, "topic.metadata.refresh.interval.ms": 1000,
        } | settings)
        self.subscribe()

    def subscribe(self):
        self.consumer.subscribe([self.topic], on_assign=self.on_assign)

    def on_assign(self, _, __):
        self.assignments += 1

    def poll(self):
        found = []
        for message in self.consumer.consume(200, 0.1):
            if message.error():
                # librdkafka (its issue 5586) never asks again for committed offsets when a coordinator that has just
                # moved refused it: its partitions stand still until they are assigned anew.
                if message.error().code() == KafkaError.NOT_COORDINATOR:
                    self.consumer.unsubscribe()
                    self.subscribe()
                raise KafkaException(message.error())
            found.append((message.partition(), message.offset(), message.value()))
        return found

    def assigned(self):
        return {one.partition for one in self.consumer.assignment()}

    def commit(self):
        try:
            self.consumer.commit(asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._NO_OFFSET:  # nothing was read by this one
                raise

    def close(self):
        self.consumer.close()


class Unwaiting(Member):
    """Its commits are waited for elsewhere: one may stand behind its own JoinGroup, which is answered once all others
    have joined, and they are polled by the thread that would wait. One at a time, so that none goes back."""

    def __init__(self, *settings):
        super().__init__(*settings)
        self.committer = ThreadPoolExecutor(1)
        self.committing = None

    def commit(self):
        if self.committing and not self.committing.done():
            return
        before, self.committing = self.committing, self.committer.submit(super().commit)
        if before:
            before.result()

    def close(self):
        self.committer.shutdown()
        super().close()


def joining(topic, settings, kind=Member):
    return lambda number: kind(topic, topic, settings | ({"client.id": f"member-{number}"}))


def check(test, settings):
    topic = name_of(test.__name__ + "-" + settings["partition.assignment.strategy"].replace(",", "-"))
    create(topic)
    test(producing(topic), joining(topic, settings))


def static_member_returns():
    topic = name_of("static")
    create(topic)
    settings = {"partition.assignment.strategy": "range", "session.timeout.ms": 30000}
    members = [Member(topic, topic, settings | {"group.instance.id": f"static-{number}"}) for number in range(3)]
    try:
        until(members, [], lambda: shared(members), "sharing")
        before = [member.assigned() for member in members]
        rounds = [member.assignments for member in members[:2]]
        members[2].close()
        members[2] = Member(topic, topic, settings | {"group.instance.id": "static-2"})
        until(members, [], lambda: shared(members), "coming back")
        assert [member.assigned() for member in members] == before, "other partitions than before"
        assert [member.assignments for member in members[:2]] == rounds, "the others were made to rebalance"
    finally:
        for member in members:
            member.close()


def static_member_is_fenced():
    topic = name_of("fenced")
    create(topic)
    settings = {"partition.assignment.strategy": "range", "group.instance.id": "only"}
    old = Member(topic, topic, settings)
    new = None
    try:
        until([old], [], lambda: len(old.assigned()) == PARTITIONS, "the first")
        new = Member(topic, topic, settings)
        until([new], [], lambda: len(new.assigned()) == PARTITIONS, "the second")
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                old.poll()
            except KafkaException as error:
                code = error.args[0].code()
                assert code in (KafkaError.FENCED_INSTANCE_ID, KafkaError._FATAL), error
                return
        raise AssertionError("the first was not fenced")
    finally:
        old.close()
        if new:
            new.close()


def offsets_without_membership():
    topic = name_of("simple")
    create(topic)
    consumer = Consumer(common | {"group.id": topic, "enable.auto.commit": False})
    where = [TopicPartition(topic, 0, 17, metadata="words"), TopicPartition(topic, 1, 18)]
    try:
        committed = consumer.commit(offsets=where, asynchronous=False)
        assert all(one.error is None for one in committed), committed
        found = consumer.committed([TopicPartition(topic, partition) for partition in range(3)], 10)
        assert [one.offset for one in found] == [17, 18, -1001], found
        assert found[0].metadata == "words", found[0].metadata
    finally:
        consumer.close()
    [future] = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(topic)]).values()
    found = {(one.partition, one.offset) for one in future.result(30).topic_partitions}
    assert found == {(0, 17), (1, 18)}, found


def admin_view():
    topic = name_of("admin")
    create(topic)
    member = Member(topic, topic, {"client.id": "watched", "partition.assignment.strategy": "range"})
    try:
        until([member], [], lambda: len(member.assigned()) == PARTITIONS, "joining")
        listed = admin.list_consumer_groups(request_timeout=30).result(30)
        assert topic in [one.group_id for one in listed.valid] and not listed.errors, listed.errors
        described = admin.describe_consumer_groups([topic], request_timeout=30)[topic].result(30)
        assert described.state.name == "STABLE" and described.partition_assignor == "range", described.state
        [only] = described.members
        assert only.client_id == "watched" and len(only.assignment.topic_partitions) == PARTITIONS, only.client_id
        try:
            admin.delete_consumer_groups([topic], request_timeout=30)[topic].result(30)
            raise AssertionError("a group with a member was deleted")
        except KafkaException as error:
            assert error.args[0].code() == KafkaError.NON_EMPTY_GROUP, error
    finally:
        member.close()
    moved = ConsumerGroupTopicPartitions(topic, [TopicPartition(topic, 0, 5)])
    [future] = admin.alter_consumer_group_offsets([moved]).values()
    assert [one.error for one in future.result(30).topic_partitions] == [None]
    admin.delete_consumer_groups([topic], request_timeout=30)[topic].result(30)
    listed = admin.list_consumer_groups(request_timeout=30).result(30)
    assert topic not in [one.group_id for one in listed.valid], "deleted and listed"


checks = Checks()
strategies = ["range,roundrobin", "cooperative-sticky"]
if sys.argv[3:] == ["faults"]:
    for strategy in strategies:
        topic = name_of("faults-" + strategy.replace(",", "-"))
        join = joining(topic, {"partition.assignment.strategy": strategy}, Unwaiting)
        checks.run(f"kill and restart, {strategy}", under_faults, topic, join, KafkaException)
    topic = name_of("faults-static")
    static = lambda number: Unwaiting(topic, topic, {"group.instance.id": f"static-{number}", "partition.assignment.strategy": "range"})
    checks.run("kill and restart, static members", under_faults, topic, static, KafkaException)
else:
    for strategy in strategies:
        settings = {"partition.assignment.strategy": strategy}
        checks.run(f"group of three, {strategy}", check, three_and_back, settings)
        checks.run(f"a member leaves, {strategy}", check, one_leaves, settings)
    checks.run("static member returns", static_member_returns)
    checks.run("static member is fenced", static_member_is_fenced)
    checks.run("offsets without membership", offsets_without_membership)
    checks.run("admin: list, describe, alter, delete", admin_view)
checks.done()
