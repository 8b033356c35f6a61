"""aiokafka: asyncio client, idempotent producer, every codec, assignment."""

import asyncio
import sys
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from checks import CODECS, Checks, records, same

bootstrap, run = sys.argv[1].split(","), sys.argv[2]
topic = f"aiokafka-{run}"
PARTITIONS = 3


def name_of(codec):
    return f"{topic}-{codec}"


async def create():
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        copies = min(3, len((await admin.describe_cluster())["brokers"]))
        await admin.create_topics([NewTopic(name_of(codec), PARTITIONS, copies) for codec in CODECS])
        deadline = time.monotonic() + 5
        while not {name_of(codec) for codec in CODECS} <= set(await admin.list_topics()):
            assert time.monotonic() < deadline, "not listed after 5 s"
            await asyncio.sleep(0.05)
    finally:
        await admin.close()


async def produce(codec):
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, compression_type=None if codec == "none" else codec,
        enable_idempotence=True, acks="all", linger_ms=20,
    )
    await producer.start()
    try:
        for partition in range(PARTITIONS):
            sent = [
                await producer.send(name_of(codec), value, key, partition, headers=[("codec", codec.encode())])
                for key, value in records(codec, partition)
            ]
            offsets = [(await future).offset for future in sent]
            assert offsets == list(range(len(sent))), offsets[:10]
    finally:
        await producer.stop()


async def read(name, partition, offset, count):
    reader = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False, auto_offset_reset="none", check_crcs=True,
    )
    await reader.start()
    try:
        where = TopicPartition(name, partition)
        reader.assign([where])
        reader.seek(where, offset)
        found = []
        for _ in range(300):
            for batch in (await reader.getmany(timeout_ms=100)).values():
                found.extend(batch)
            if len(found) >= count:
                break
        return found
    finally:
        await reader.stop()


async def consume(codec):
    for partition in range(PARTITIONS):
        expected = records(codec, partition)
        found = await read(name_of(codec), partition, 0, len(expected))
        same([(one.key, one.value) for one in found], expected, f"partition {partition}")


async def seek():
    found = await read(name_of("zstd"), 1, 99, 101)
    same([one.value for one in found], [value for _, value in records("zstd", 1)][99:], "from offset 99")


async def offsets():
    where = TopicPartition(name_of("none"), 0)
    reader = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None)
    await reader.start()
    try:
        assert await reader.beginning_offsets([where]) == {where: 0}
        assert await reader.end_offsets([where]) == {where: len(records("none", 0))}
    finally:
        await reader.stop()


def sync(function):
    return lambda *arguments: asyncio.run(function(*arguments))


checks = Checks()
checks.run("create topics", sync(create))
for codec in CODECS:
    checks.run(f"produce {codec}, idempotent", sync(produce), codec)
    checks.run(f"consume {codec}", sync(consume), codec)
checks.run("seek", sync(seek))
checks.run("beginning and end offsets", sync(offsets))
checks.done()
