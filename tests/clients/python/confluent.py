"""confluent-kafka (librdkafka): admin, every codec, assignment, headers, timestamps, watermarks."""

import sys
import time

from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from checks import CODECS, Checks, records, same

bootstrap, run = sys.argv[1], sys.argv[2]
common = {"bootstrap.servers": bootstrap, "log_level": 0}
admin = AdminClient(common)
topic = f"confluent-{run}"
PARTITIONS = 3


def wait(futures):
    for future in futures.values():
        future.result(30)


def brokers():
    return len(admin.list_topics(timeout=10).brokers)


def create():
    new = NewTopic(topic, PARTITIONS, min(3, brokers()), config={"retention.ms": "3600000"})
    wait(admin.create_topics([new]))
    partitions = eventually(lambda: admin.list_topics(topic, timeout=10).topics[topic].partitions, PARTITIONS)
    assert all(one.leader > 0 for one in partitions.values()), partitions


def eventually(look, length):
    for _ in range(100):
        found = look()
        if len(found) == length and all(one.leader > 0 for one in found.values()):
            return found
        time.sleep(0.05)
    raise AssertionError(f"{len(found)} partitions after 5 s")


def create_again():
    try:
        wait(admin.create_topics([NewTopic(topic, 1, 1)]))
    except KafkaException as error:
        assert error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS, error
        return
    raise AssertionError("created twice")


def invalid_name():
    try:
        wait(admin.create_topics([NewTopic("no/slash", 1, 1)]))
    except KafkaException as error:
        assert error.args[0].code() == KafkaError.TOPIC_EXCEPTION, error
        return
    raise AssertionError("an invalid name was taken")


def produce(codec):
    name = f"{topic}-{codec}"
    wait(admin.create_topics([NewTopic(name, PARTITIONS, min(3, brokers()))]))
    settings = common | {
        "compression.type": codec, "enable.idempotence": True, "acks": "all", "linger.ms": 20,
    }
    producer = Producer(settings)
    reports = []
    for partition in range(PARTITIONS):
        for key, value in records(codec, partition):
            producer.produce(
                name, value, key, partition, on_delivery=lambda error, message: reports.append((error, message)),
                headers=[("codec", codec.encode()), ("again", b"1"), ("again", b"2"), ("null", None)],
                timestamp=1_700_000_000_000,
            )
    assert producer.flush(30) == 0, "not all delivered"
    assert [error for error, _ in reports if error] == []
    for partition in range(PARTITIONS):
        offsets = [message.offset() for _, message in reports if message.partition() == partition]
        assert offsets == list(range(len(records(codec, partition)))), offsets[:10]


def consumer():
    return Consumer(common | {
        "group.id": "unused", "enable.auto.commit": False, "auto.offset.reset": "error", "check.crcs": True,
    })


def read(name, partition, offset, count):
    reader = consumer()
    reader.assign([TopicPartition(name, partition, offset)])
    found = []
    for _ in range(300):
        for message in reader.consume(500, 0.1):
            assert message.error() is None, message.error()
            found.append(message)
        if len(found) >= count:
            break
    reader.close()
    return found


def consume(codec):
    for partition in range(PARTITIONS):
        expected = records(codec, partition)
        found = read(f"{topic}-{codec}", partition, 0, len(expected))
        same([(one.key(), one.value()) for one in found], expected, f"partition {partition}")
        assert [one.offset() for one in found] == list(range(len(expected)))
        headers = [("codec", codec.encode()), ("again", b"1"), ("again", b"2"), ("null", None)]
        assert all(one.headers() == headers for one in found), found[0].headers()
        assert all(one.timestamp()[1] == 1_700_000_000_000 for one in found)


def from_the_middle():
    found = read(f"{topic}-gzip", 1, 150, 50)
    same([one.value() for one in found], [value for _, value in records("gzip", 1)][150:], "from offset 150")


def watermarks():
    low, high = consumer().get_watermark_offsets(TopicPartition(f"{topic}-none", 0), timeout=10)
    assert (low, high) == (0, len(records("none", 0))), (low, high)


def offsets_by_time():
    name = f"{topic}-none"
    reader = consumer()
    [before] = reader.offsets_for_times([TopicPartition(name, 0, 1_600_000_000_000)], timeout=10)
    [after] = reader.offsets_for_times([TopicPartition(name, 0, 1_800_000_000_000)], timeout=10)
    assert before.offset == 0, before
    # librdkafka shows "no such record" as the end (-1)
    assert after.offset == -1, after


def list_offsets():
    for spec, expected in [(OffsetSpec.earliest(), 0), (OffsetSpec.latest(), len(records("none", 0)))]:
        futures = admin.list_offsets({TopicPartition(f"{topic}-none", 0): spec})
        [result] = [future.result(10) for future in futures.values()]
        assert result.offset == expected, (spec, result.offset)


def out_of_range():
    reader = consumer()
    reader.assign([TopicPartition(f"{topic}-none", 0, 1_000_000)])
    for _ in range(100):
        message = reader.poll(0.1)
        if message is not None:
            code = message.error() and message.error().code()
            assert code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE), (code, message.value())
            return
    raise AssertionError("no error in 10 s")


def too_large():
    producer = Producer(common | {"message.max.bytes": 20_000_000})
    reports = []
    producer.produce(f"{topic}-none", b"x" * 3_000_000, on_delivery=lambda error, _: reports.append(error))
    producer.flush(30)
    assert len(reports) == 1 and reports[0].code() == KafkaError.MSG_SIZE_TOO_LARGE, reports


def sent(name, value, codec="none", timestamp=None):
    """What became of one record: None, or the error's code."""
    producer = Producer(common | {"compression.type": codec, "message.max.bytes": 20_000_000})
    reports = []
    given = {} if timestamp is None else {"timestamp": timestamp}
    producer.produce(name, value, partition=0, on_delivery=lambda error, _: reports.append(error), **given)
    producer.flush(30)
    assert len(reports) == 1, reports
    return reports[0] and reports[0].code()


def too_large_for_the_topic():
    name = f"{topic}-small"
    wait(admin.create_topics([NewTopic(name, 1, min(3, brokers()), config={"max.message.bytes": "2000"})]))
    assert sent(name, b"x" * 1_000) is None
    assert sent(name, b"x" * 3_000) == KafkaError.MSG_SIZE_TOO_LARGE
    # What counts are the bytes as they were sent.
    assert sent(name, b"x" * 3_000, "gzip") is None
    entry = ConfigEntry("max.message.bytes", "9000", incremental_operation=AlterConfigOpType.SET)
    wait(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])]))
    for _ in range(100):
        if sent(name, b"x" * 3_000) is None:
            return
        time.sleep(0.05)
    raise AssertionError("the altered limit does not hold")


def timestamp_bounds():
    name = f"{topic}-bounds"
    config = {"message.timestamp.after.max.ms": "60000", "message.timestamp.before.max.ms": "120000"}
    wait(admin.create_topics([NewTopic(name, 1, min(3, brokers()), config=config)]))
    for codec in CODECS:
        now = int(time.time() * 1000)
        for far in (now + 90_000, now - 150_000):
            code = sent(name, b"x" * 100, codec, far)
            assert code == KafkaError.INVALID_TIMESTAMP, (codec, far - now, code)
        for near in (now + 30_000, now - 90_000):
            assert sent(name, b"x" * 100, codec, near) is None, (codec, near - now)
    # Where nothing is set, the past is free and the future is an hour.
    assert sent(f"{topic}-none", b"x", "none", 1_000) is None
    assert sent(f"{topic}-none", b"x", "none", int(time.time() * 1000) + 7_200_000) == KafkaError.INVALID_TIMESTAMP


def log_append_time():
    name = f"{topic}-appended"
    config = {"message.timestamp.type": "LogAppendTime", "message.timestamp.before.max.ms": "1000"}
    wait(admin.create_topics([NewTopic(name, 1, min(3, brokers()), config=config)]))
    before = int(time.time() * 1000)
    for codec in CODECS:
        assert sent(name, b"x" * 100, codec, 1_700_000_000_000) is None, codec
    after = int(time.time() * 1000)
    found = read(name, 0, 0, len(CODECS))
    assert len(found) == len(CODECS), len(found)
    for message in found:
        kind, stamp = message.timestamp()
        assert kind == TIMESTAMP_LOG_APPEND_TIME and before <= stamp <= after, (kind, stamp - before)
    [first] = consumer().offsets_for_times([TopicPartition(name, 0, before)], timeout=10)
    [none] = consumer().offsets_for_times([TopicPartition(name, 0, after + 1)], timeout=10)
    assert (first.offset, none.offset) == (0, -1), (first, none)


def acks(level):
    producer = Producer(common | {"acks": level})
    reports = []
    for number in range(50):
        producer.produce(topic, str(number), partition=0, on_delivery=lambda error, _: reports.append(error))
    producer.flush(30)
    assert reports == [None] * 50, reports[:3]


def describe_configs():
    resource = ConfigResource(ResourceType.TOPIC, topic)
    [future] = admin.describe_configs([resource]).values()
    found = future.result(10)
    assert found["retention.ms"].value == "3600000", found["retention.ms"]
    for key in ("cleanup.policy", "max.message.bytes", "min.insync.replicas", "segment.bytes"):
        assert key in found, key


def alter_configs():
    entry = ConfigEntry("retention.ms", "7200000", incremental_operation=AlterConfigOpType.SET)
    wait(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])]))
    for _ in range(100):
        [future] = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
        if future.result(10)["retention.ms"].value == "7200000":
            return
        time.sleep(0.05)
    raise AssertionError("the altered value is not shown")


def alter_configs_invalid():
    entry = ConfigEntry("retention.ms", "soon", incremental_operation=AlterConfigOpType.SET)
    try:
        wait(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])]))
    except KafkaException as error:
        assert error.args[0].code() == KafkaError.INVALID_CONFIG, error
        return
    raise AssertionError("an invalid value was taken")


def more_partitions():
    wait(admin.create_partitions([NewPartitions(topic, PARTITIONS + 2)]))
    eventually(lambda: admin.list_topics(topic, timeout=10).topics[topic].partitions, PARTITIONS + 2)


def describe_cluster():
    found = admin.describe_cluster().result(10)
    assert len(found.nodes) == brokers() and found.controller is not None and found.cluster_id, found


def delete_records():
    name = f"{topic}-lz4"
    [future] = admin.delete_records([TopicPartition(name, 0, 100)]).values()
    assert future.result(30).low_watermark == 100
    low, _ = consumer().get_watermark_offsets(TopicPartition(name, 0), timeout=10)
    assert low == 100, low
    same([one.value() for one in read(name, 0, 100, 100)], [v for _, v in records("lz4", 0)][100:], "rest")


def unknown_topic():
    reader = consumer()
    found = reader.list_topics(f"{topic}-absent", timeout=10).topics[f"{topic}-absent"]
    assert found.error is not None or found.partitions == {}, found


def auto_create():
    producer = Producer(common)
    reports = []
    name = f"{topic}-by-producing"
    producer.produce(name, b"first", on_delivery=lambda error, _: reports.append(error))
    producer.flush(30)
    assert reports == [None], reports
    assert [one.value() for one in read(name, 0, 0, 1)] == [b"first"]


def delete():
    wait(admin.delete_topics([topic]))
    for _ in range(100):
        if topic not in admin.list_topics(timeout=10).topics:
            return
        time.sleep(0.05)
    raise AssertionError("still listed after 5 s")


def recreate():
    name = f"{topic}-none"
    wait(admin.delete_topics([name]))
    for _ in range(100):
        try:
            wait(admin.create_topics([NewTopic(name, 1, min(3, brokers()))]))
            break
        except KafkaException as error:
            assert error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS, error
            time.sleep(0.05)
    low = high = None
    for _ in range(100):
        try:
            low, high = consumer().get_watermark_offsets(TopicPartition(name, 0), timeout=10)
        except KafkaException as error:  # the new topic may not have its leader yet, or not be known to the broker asked
            unknown = error.args[0].code() == KafkaError._UNKNOWN_PARTITION
            assert unknown or error.args[0].retriable(), error
        if (low, high) == (0, 0):
            return
        time.sleep(0.05)
    raise AssertionError(f"the new topic begins at {low}..{high}")


checks = Checks()
checks.run("create topic", create)
checks.run("create topic twice", create_again)
checks.run("invalid topic name", invalid_name)
for codec in CODECS:
    checks.run(f"produce {codec}", produce, codec)
    checks.run(f"consume {codec}", consume, codec)
checks.run("consume from the middle", from_the_middle)
checks.run("watermarks", watermarks)
checks.run("offsets by time", offsets_by_time)
checks.run("list offsets", list_offsets)
checks.run("offset out of range", out_of_range)
checks.run("message too large", too_large)
checks.run("message too large for its topic", too_large_for_the_topic)
checks.run("timestamp bounds", timestamp_bounds)
checks.run("log append time", log_append_time)
checks.run("acks=1", acks, "1")
checks.run("acks=0", acks, "0")
checks.run("describe configs", describe_configs)
checks.run("alter configs", alter_configs)
checks.run("alter configs, invalid", alter_configs_invalid)
checks.run("create partitions", more_partitions)
checks.run("describe cluster", describe_cluster)
checks.run("delete records", delete_records)
checks.run("unknown topic", unknown_topic)
checks.run("auto-create by producing", auto_create)
checks.run("delete topic", delete)
checks.run("delete and create again", recreate)
checks.done()
