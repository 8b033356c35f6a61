"""aiokafka: groups."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from checks import Checks
from groups import PARTITIONS, one_leaves, three_and_back, under_faults

bootstrap, run = sys.argv[1].split(","), sys.argv[2]
# One loop for all members: the checks are written for calls that block.
loop = asyncio.new_event_loop()


def name_of(check):
    return f"aiokafka-groups-{run}-{check}"


async def create(topic):
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        copies = min(3, len((await admin.describe_cluster())["brokers"]))
        await admin.create_topics([NewTopic(topic, PARTITIONS, copies)])
    finally:
        await admin.close()


async def send(topic, first, count):
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all", linger_ms=20)
    await producer.start()
    try:
        sent = [
            await producer.send(topic, f"{partition}-{number}".encode(), partition=partition)
            for partition in range(PARTITIONS) for number in range(first, first + count)
        ]
        for future in sent:
            await future
    finally:
        await producer.stop()


class Member:
    def __init__(self, topic, settings):
        self.consumer = loop.run_until_complete(self.start(topic, settings))
        self.read = False

    @staticmethod
    async def start(topic, settings):
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, group_id=topic, enable_auto_commit=False, auto_offset_reset="earliest",
            session_timeout_ms=10000, heartbeat_interval_ms=500, metadata_max_age_ms=1000, **settings,
        )
        consumer.subscribe([topic])
        # NB: start() waits for the first assignment, which may need the other members to go on.
        await consumer.start()
        return consumer

    def poll(self):
        batches = loop.run_until_complete(self.consumer.getmany(timeout_ms=100))
        found = [(one.partition, one.offset, one.value) for batch in batches.values() for one in batch]
        self.read = self.read or bool(found)
        return found

    def assigned(self):
        return {one.partition for one in self.consumer.assignment()}

    def commit(self):
        if self.read:
            loop.run_until_complete(self.consumer.commit())

    def close(self):
        loop.run_until_complete(self.consumer.stop())


def check(test, kind, settings):
    topic = name_of(f"{test.__name__}-{kind}")
    loop.run_until_complete(create(topic))
    produce = lambda first, count: loop.run_until_complete(send(topic, first, count))
    test(produce, lambda _: Member(topic, settings))


async def simple(topic):
    await create(topic)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=topic, enable_auto_commit=False)
    await consumer.start()
    try:
        where = TopicPartition(topic, 0)
        consumer.assign([where])
        await consumer.commit({where: (17, "words")})
        assert await consumer.committed(where) == 17
        assert await consumer.committed(TopicPartition(topic, 1)) is None
    finally:
        await consumer.stop()


checks = Checks()
robin = {"partition_assignment_strategy": (RoundRobinPartitionAssignor,)}
if sys.argv[3:] == ["faults"]:
    topic = name_of("faults")
    checks.run("kill and restart, defaults", under_faults, topic, lambda _: Member(topic, {}), KafkaError)
else:
    checks.run("group of three, defaults", check, three_and_back, "defaults", {})
    checks.run("group of three, round robin", check, three_and_back, "roundrobin", robin)
    checks.run("a member leaves", check, one_leaves, "defaults", {})
    checks.run("offsets without membership", lambda: loop.run_until_complete(simple(name_of("simple"))))
checks.done()
