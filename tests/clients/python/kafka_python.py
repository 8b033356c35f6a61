"""kafka-python: its own pure implementation of the protocol."""

import sys
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewPartitions, NewTopic
from kafka.errors import TopicAlreadyExistsError

from checks import CODECS, Checks, records, same

bootstrap, run = sys.argv[1].split(","), sys.argv[2]
topic = f"kafka-python-{run}"
PARTITIONS = 3
admin = KafkaAdminClient(bootstrap_servers=bootstrap)


def copies():
    return min(3, len(admin.describe_cluster()["brokers"]))


def create():
    admin.create_topics([NewTopic(topic, PARTITIONS, copies(), topic_configs={"retention.ms": "3600000"})])
    for _ in range(100):
        if topic in admin.list_topics():
            return
        time.sleep(0.05)
    raise AssertionError("not listed after 5 s")


def create_again():
    try:
        admin.create_topics([NewTopic(topic, 1, 1)])
    except TopicAlreadyExistsError:
        return
    raise AssertionError("created twice")


def name_of(codec):
    return f"{topic}-{codec}"


def produce(codec):
    admin.create_topics([NewTopic(name_of(codec), PARTITIONS, copies())])
    producer = KafkaProducer(
        bootstrap_servers=bootstrap, compression_type=None if codec == "none" else codec, acks="all", linger_ms=20,
    )
    for partition in range(PARTITIONS):
        sent = [
            producer.send(name_of(codec), value, key, headers=[("codec", codec.encode())], partition=partition)
            for key, value in records(codec, partition)
        ]
        producer.flush(30)
        offsets = [future.get(10).offset for future in sent]
        assert offsets == list(range(len(sent))), offsets[:10]
    producer.close()


def consumer():
    return KafkaConsumer(
        bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False, auto_offset_reset="none", check_crcs=True,
    )


def read(name, partition, offset, count):
    reader = consumer()
    where = TopicPartition(name, partition)
    reader.assign([where])
    reader.seek(where, offset)
    found = []
    for _ in range(300):
        for batch in reader.poll(100).values():
            found.extend(batch)
        if len(found) >= count:
            break
    reader.close()
    return found


def consume(codec):
    for partition in range(PARTITIONS):
        expected = records(codec, partition)
        found = read(name_of(codec), partition, 0, len(expected))
        same([(one.key, one.value) for one in found], expected, f"partition {partition}")
        assert all(list(one.headers) == [("codec", codec.encode())] for one in found), found[0].headers


def seek():
    found = read(name_of("snappy"), 2, 120, 80)
    same([one.value for one in found], [value for _, value in records("snappy", 2)][120:], "from offset 120")


def offsets():
    where = TopicPartition(name_of("none"), 0)
    reader = consumer()
    assert reader.beginning_offsets([where]) == {where: 0}
    assert reader.end_offsets([where]) == {where: len(records("none", 0))}
    reader.close()


def describe_configs():
    found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    assert "retention.ms" in str(found) and "3600000" in str(found), str(found)[:200]


def more_partitions():
    admin.create_partitions({topic: NewPartitions(PARTITIONS + 1)})
    for _ in range(100):
        [found] = admin.describe_topics([topic])
        if len(found["partitions"]) == PARTITIONS + 1:
            return
        time.sleep(0.05)
    raise AssertionError("not more partitions after 5 s")


def delete():
    admin.delete_topics([topic])
    for _ in range(100):
        if topic not in admin.list_topics():
            return
        time.sleep(0.05)
    raise AssertionError("still listed after 5 s")


checks = Checks()
checks.run("create topic", create)
checks.run("create topic twice", create_again)
for codec in CODECS:
    checks.run(f"produce {codec}", produce, codec)
    checks.run(f"consume {codec}", consume, codec)
checks.run("seek", seek)
checks.run("beginning and end offsets", offsets)
checks.run("describe configs", describe_configs)
checks.run("create partitions", more_partitions)
checks.run("delete topic", delete)
checks.done()
