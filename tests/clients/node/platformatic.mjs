// @platformatic/kafka: admin, producing with every codec, groups.
import zlib from "node:zlib";
import { Admin, Consumer, ProduceAcks, Producer, stringDeserializers, stringSerializers } from "@platformatic/kafka";
import { beMember, check, expect, oneDies, PARTITIONS, same, Supervised, threeAndBack, underFaults, until } from "./checks.mjs";

const [bootstrap, run, mode, memberOf] = process.argv.slice(2);
const common = { clientId: "walser-platformatic", bootstrapBrokers: bootstrap.split(","), retries: 3, retryDelay: 200 };
const admin = new Admin(common);
const nameOf = (name) => `platformatic-${run}-${name}`;

class Member {
  constructor(topic) {
    this.topic = topic;
    this.read = [];
    this.headers = [];
    this.positions = new Map();
  }

  async start() {
    this.consumer = new Consumer({
      ...common, groupId: this.topic, sessionTimeout: 10000, heartbeatInterval: 500, rebalanceTimeout: 20000, metadataMaxAge: 1000,
      maxWaitTime: 200, deserializers: stringDeserializers,
    });
    this.consumer.on("consumer:group:join", () => this.positions.clear());
    this.stream = await this.consumer.consume({ topics: [this.topic], mode: "committed", fallbackMode: "earliest", autocommit: false });
    this.stream.on("data", (message) => {
      this.read.push([message.partition, message.value]);
      this.headers.push([message.key, message.headers.get("codec")]);
      if (this.assigned().has(message.partition)) this.positions.set(message.partition, message.offset + 1n);
    });
    this.stream.on("error", (error) => (this.failure = error));
    return this;
  }

  assigned() {
    const mine = this.consumer.assignments?.find((one) => one.topic === this.topic);
    return new Set(mine?.partitions ?? []);
  }

  async commit() {
    const offsets = [...this.positions].map(([partition, offset]) => ({ topic: this.topic, partition, offset, leaderEpoch: -1 }));
    if (offsets.length) await this.consumer.commit({ offsets });
  }

  async close() {
    await this.stream?.close();
    await this.consumer.close(true);
  }
}

async function send(messages, compression = "none") {
  const producer = new Producer({ ...common, idempotent: true, serializers: stringSerializers });
  try {
    return await producer.send({ messages, acks: ProduceAcks.ALL, compression });
  } finally {
    await producer.close();
  }
}

const client = {
  // Its stream asks where to begin while a fetch is out, and reads what that brought again (of Apache Kafka too).
  repeats: true,
  create: (topic) => admin.createTopics({ topics: [topic], partitions: PARTITIONS, replicas: -1 }),
  produce: (topic, first, count) => {
    const numbers = Array.from({ length: count }, (_, at) => first + at);
    const partitions = Array.from({ length: PARTITIONS }, (_, at) => at);
    return send(partitions.flatMap((partition) => numbers.map((number) => ({ topic, partition, value: `${partition}-${number}` }))));
  },
  join: (topic) => new Member(topic).start(),
};

async function codec(compression) {
  const topic = nameOf(compression);
  await client.create(topic);
  const sent = [];
  for (let partition = 0; partition < PARTITIONS; partition++) {
    for (let number = 0; number < 200; number++) {
      const value = `${partition}-${number} `.repeat((number % 50) + 1);
      sent.push({ topic, partition, key: String(number), value, headers: { codec: compression } });
    }
  }
  const { offsets } = await send(sent, compression);
  expect(offsets.length === PARTITIONS && offsets.every((one) => one.offset === 0n), `${offsets.length} offsets`);
  const member = await client.join(topic);
  try {
    await until([member], "reading", () => member.read.length >= sent.length);
    same(member.read, sent.map((one) => `${one.partition} ${one.value}`), compression);
    expect(member.headers.every(([key, header]) => /^\d+$/.test(key) && header === compression), "keys or headers");
    await member.commit();
  } finally {
    await member.close();
  }
}

async function administer() {
  const topic = nameOf("admin");
  const [made] = await client.create(topic);
  expect(made.partitions === PARTITIONS && made.id, JSON.stringify(made));
  const again = await client.create(topic).then(() => undefined, (error) => error);
  expect(JSON.stringify(again?.errors?.map((one) => one.apiId ?? one.message) ?? again?.message).includes("TOPIC_ALREADY_EXISTS"), `created twice: ${again}`);
  await client.produce(topic, 0, 10);
  const [listed] = await admin.listOffsets({ topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp: -1n }] }] });
  expect(listed.partitions[0].offset === 10n, `end ${listed.partitions[0].offset}`);
  await admin.deleteTopics({ topics: [topic] });
  expect(!(await admin.listTopics()).includes(topic), "deleted and listed");
}

async function administerGroups() {
  const topic = nameOf("group-admin");
  await client.create(topic);
  const member = await client.join(topic);
  try {
    await until([member], "joining", () => member.assigned().size === PARTITIONS);
    expect((await admin.listGroups({ states: ["STABLE"] })).has(topic), "not listed");
    const group = (await admin.describeGroups({ groups: [topic] })).get(topic);
    expect(group.state === "STABLE" && group.members.size === 1, `${group.state} ${group.members.size}`);
    const refused = await admin.deleteGroups({ groups: [topic] }).then(() => undefined, (error) => error);
    expect(refused, "a group with a member was deleted");
  } finally {
    await member.close();
  }
  const partitions = [{ partitionIndex: 0, committedOffset: 7n, committedLeaderEpoch: -1 }];
  await admin.alterConsumerGroupOffsets({ groupId: topic, topics: [{ name: topic, partitionOffsets: [{ partition: 0, offset: 7n }] }] });
  const [found] = await admin.listConsumerGroupOffsets({ groups: [topic] });
  expect(found.topics[0].partitions[0].committedOffset === partitions[0].committedOffset, "another offset");
  await admin.deleteGroups({ groups: [topic] });
  expect(!(await admin.listGroups()).has(topic), "deleted and listed");
}

if (mode === "member") {
  await beMember(await client.join(memberOf));
} else {
  if (mode === "faults") {
    // A coordinator that is gone from the metadata is an uncaught TypeError to it, also with Apache Kafka.
    await check("kill and restart, defaults", () => underFaults(client, nameOf("faults"), async (topic) => new Supervised(topic)));
  } else {
    await check("admin: topics, offsets", administer);
    for (const compression of ["none", "gzip", "snappy", "lz4"]) await check(`idempotent, ${compression}`, () => codec(compression));
    // Its zstd is Node's, which has it since 22.15.
    if (zlib.zstdCompressSync) await check("idempotent, zstd", () => codec("zstd"));
    else console.log(`SKIP idempotent, zstd: not in Node ${process.version}`);
    await check("group of three", () => threeAndBack(client, nameOf("three")));
    await check("a member dies", () => oneDies(client, nameOf("dies")));
    await check("admin: groups", administerGroups);
  }
  await admin.close();
  console.log("DONE");
  process.exit(0);
}
