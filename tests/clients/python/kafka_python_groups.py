"""kafka-python: groups, with its default assignors and with the cooperative one."""

import queue
import sys
import threading
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from checks import Checks
from groups import PARTITIONS, one_leaves, three_and_back, under_faults

bootstrap, run = sys.argv[1].split(","), sys.argv[2]
admin = KafkaAdminClient(bootstrap_servers=bootstrap)


def name_of(check):
    return f"kafka-python-groups-{run}-{check}"


def create(topic):
    copies = min(3, len(admin.describe_cluster()["brokers"]))
    admin.create_topics([NewTopic(topic, PARTITIONS, copies)])


def producing(topic):
    def produce(first, count):
        producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=20)
        sent = [
            producer.send(topic, f"{partition}-{number}".encode(), partition=partition)
            for partition in range(PARTITIONS) for number in range(first, first + count)
        ]
        producer.flush(30)
        for future in sent:
            future.get(10)
        producer.close()

    return produce


class Member:
    """A consumer with a thread of its own: polled in turn with others, it does not keep up with a rebalance."""

    def __init__(self, topic, assignors):
        settings = {"partition_assignment_strategy": assignors} if assignors else {}
        self.consumer = KafkaConsumer(
            topic, bootstrap_servers=bootstrap, group_id=topic, enable_auto_commit=False, auto_offset_reset="earliest",
            session_timeout_ms=10000, heartbeat_interval_ms=500, max_poll_interval_ms=20000, metadata_max_age_ms=1000, **settings,
        )
        self.read = queue.Queue()
        self.orders = queue.Queue()
        self.parts = set()
        self.failure = None
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        try:
            while True:
                for batch in self.consumer.poll(100).values():
                    for one in batch:
                        self.read.put((one.partition, one.offset, one.value))
                self.parts = {one.partition for one in self.consumer.assignment()}
                if not self.orders.empty():
                    order, result = self.orders.get()
                    try:
                        result.put((order(), None))
                    except KafkaError as error:  # whoever ordered it decides
                        result.put((None, error))
                    if order == self.consumer.close:
                        return
        except Exception as error:  # told by whoever looks next
            self.failure = error

    def order(self, order):
        result = queue.Queue()
        self.orders.put((order, result))
        while result.empty():
            if self.failure:
                raise self.failure
            time.sleep(0.02)
        _, error = result.get()
        if error:
            raise error

    def poll(self):
        if self.failure:
            raise self.failure
        time.sleep(0.05)
        return [self.read.get() for _ in range(self.read.qsize())]

    def assigned(self):
        return self.parts

    def commit(self):
        self.order(self.consumer.commit)

    def close(self):
        self.order(self.consumer.close)


def check(test, kind, assignors):
    topic = name_of(f"{test.__name__}-{kind}")
    create(topic)
    test(producing(topic), lambda _: Member(topic, assignors))


def offsets_without_membership():
    topic = name_of("simple")
    create(topic)
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=topic, enable_auto_commit=False)
    where = TopicPartition(topic, 0)
    try:
        consumer.assign([where])
        consumer.commit({where: OffsetAndMetadata(17, "words", -1)})
        assert consumer.committed(where) == 17, consumer.committed(where)
        assert consumer.committed(TopicPartition(topic, 1)) is None
    finally:
        consumer.close()


checks = Checks()
kinds = {
    "defaults": None, "round robin": [RoundRobinPartitionAssignor], "sticky": [StickyPartitionAssignor],
    "cooperative": [CooperativeStickyAssignor],
}
if sys.argv[3:] == ["faults"]:
    for kind in ["defaults", "cooperative"]:
        topic = name_of(f"faults-{kind}")
        checks.run(f"kill and restart, {kind}", under_faults, topic, lambda _: Member(topic, kinds[kind]), KafkaError)
else:
    for kind, assignors in kinds.items():
        checks.run(f"group of three, {kind}", check, three_and_back, kind.replace(" ", "-"), assignors)
    checks.run("a member leaves", check, one_leaves, "defaults", None)
    checks.run("offsets without membership", offsets_without_membership)
checks.done()
