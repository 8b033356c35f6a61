// kafkajs: admin, producing with both codecs that it has, groups.
import kafkajs from "kafkajs";
import { beMember, check, expect, oneDies, PARTITIONS, same, threeAndBack, underFaults, until } from "./checks.mjs";

const { CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = kafkajs;
const [bootstrap, run, mode, memberOf] = process.argv.slice(2);
const kafka = new Kafka({ clientId: "walser-kafkajs", brokers: bootstrap.split(","), logLevel: logLevel.NOTHING });
const admin = kafka.admin();
const nameOf = (name) => `kafkajs-${run}-${name}`;

class Member {
  constructor(topic) {
    this.topic = topic;
    this.read = [];
    this.headers = [];
    this.parts = new Set();
    this.positions = new Map();
    this.consumer = kafka.consumer({
      groupId: topic, sessionTimeout: 10000, heartbeatInterval: 500, rebalanceTimeout: 20000, metadataMaxAge: 1000, maxWaitTimeInMs: 200,
    });
    this.consumer.on("consumer.group_join", ({ payload }) => {
      this.positions.clear();
      this.parts = new Set(payload.memberAssignment[topic] ?? []);
    });
    this.consumer.on("consumer.rebalancing", () => this.parts.clear());
    // Where it begins again by itself, nothing is lost.
    this.consumer.on("consumer.crash", ({ payload }) => payload.restart || (this.failure = payload.error));
  }

  async start() {
    await this.consumer.connect();
    await this.consumer.subscribe({ topics: [this.topic], fromBeginning: true });
    await this.consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => {
        this.read.push([partition, message.value.toString()]);
        this.headers.push([message.key?.toString(), message.headers.codec?.toString()]);
        this.positions.set(partition, BigInt(message.offset) + 1n);
      },
    });
    return this;
  }

  assigned() {
    return this.parts;
  }

  async commit() {
    const offsets = [...this.positions].map(([partition, offset]) => ({ topic: this.topic, partition, offset: String(offset) }));
    if (offsets.length) await this.consumer.commitOffsets(offsets);
  }

  close() {
    return this.consumer.disconnect();
  }
}

async function send(topic, messages, compression = CompressionTypes.None) {
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  try {
    return await producer.send({ topic, acks: -1, compression, messages });
  } finally {
    await producer.disconnect();
  }
}

const client = {
  create: (topic) => admin.createTopics({ topics: [{ topic, numPartitions: PARTITIONS, replicationFactor: -1 }], waitForLeaders: true }),
  produce: (topic, first, count) => {
    const numbers = Array.from({ length: count }, (_, at) => first + at);
    const partitions = Array.from({ length: PARTITIONS }, (_, at) => at);
    return send(topic, partitions.flatMap((partition) => numbers.map((number) => ({ partition, value: `${partition}-${number}` }))));
  },
  join: (topic) => new Member(topic).start(),
};

/** Keys, values of many sizes and headers come back as they were sent. */
async function codec(name, compression) {
  const topic = nameOf(name);
  await client.create(topic);
  const value = (partition, number) => `${partition}-${number} `.repeat((number % 50) + 1);
  const sent = [];
  for (let partition = 0; partition < PARTITIONS; partition++) {
    for (let number = 0; number < 200; number++) {
      sent.push({ partition, key: String(number), value: value(partition, number), headers: { codec: name } });
    }
  }
  const answers = await send(topic, sent, compression);
  expect(answers.length === PARTITIONS && answers.every((one) => one.errorCode === 0 && one.baseOffset === "0"), JSON.stringify(answers));
  const member = await client.join(topic);
  try {
    await until([member], "reading", () => member.read.length >= sent.length);
    same(member.read, sent.map((one) => `${one.partition} ${one.value}`), name);
    expect(member.headers.every(([key, header]) => /^\d+$/.test(key) && header === name), "keys or headers");
    await member.commit();
  } finally {
    await member.close();
  }
}

async function administer() {
  const topic = nameOf("admin");
  expect(await client.create(topic), "not created");
  expect(!(await client.create(topic)), "created twice");
  const about = await admin.describeCluster();
  expect(about.brokers.length > 0 && about.brokers.some((one) => one.nodeId === about.controller), JSON.stringify(about));
  await client.produce(topic, 0, 10);
  const ends = await admin.fetchTopicOffsets(topic);
  expect(ends.length === PARTITIONS && ends.every((one) => one.low === "0" && one.high === "10"), JSON.stringify(ends));
  const resource = { type: ConfigResourceTypes.TOPIC, name: topic };
  await admin.alterConfigs({ resources: [{ ...resource, configEntries: [{ name: "retention.ms", value: "3600000" }] }] });
  const found = await admin.describeConfigs({ resources: [{ ...resource, configNames: ["retention.ms"] }] });
  expect(found.resources[0].configEntries[0].configValue === "3600000", JSON.stringify(found));
  await admin.deleteTopics({ topics: [topic] });
  expect(!(await admin.listTopics()).includes(topic), "deleted and listed");
}

async function administerGroups() {
  const topic = nameOf("group-admin");
  await client.create(topic);
  await client.produce(topic, 0, 10);
  const member = await client.join(topic);
  try {
    await until([member], "joining", () => member.assigned().size === PARTITIONS);
    expect((await admin.listGroups()).groups.some((one) => one.groupId === topic), "not listed");
    const { groups } = await admin.describeGroups([topic]);
    expect(groups[0].state === "Stable" && groups[0].members.length === 1, JSON.stringify(groups));
    const refused = await admin.deleteGroups([topic]).then(() => undefined, (error) => error);
    expect(refused?.groups?.[0].error.type === "NON_EMPTY_GROUP", `a group with a member was deleted: ${refused}`);
  } finally {
    await member.close();
  }
  await admin.setOffsets({ groupId: topic, topic, partitions: [{ partition: 0, offset: "7" }] });
  const [offsets] = await admin.fetchOffsets({ groupId: topic, topics: [topic] });
  const of = (partition) => offsets.partitions.find((one) => one.partition === partition).offset;
  expect(of(0) === "7" && of(1) === "-1", JSON.stringify(offsets));
  await admin.resetOffsets({ groupId: topic, topic, earliest: true });
  await admin.deleteGroups([topic]);
  expect(!(await admin.listGroups()).groups.some((one) => one.groupId === topic), "deleted and listed");
}

if (mode === "member") {
  await beMember(await client.join(memberOf));
} else {
  await admin.connect();
  if (mode === "faults") {
    await check("kill and restart, defaults", () => underFaults(client, nameOf("faults")));
  } else {
    await check("admin: topics, offsets, configs", administer);
    await check("idempotent, none", () => codec("none", CompressionTypes.None));
    await check("idempotent, gzip", () => codec("gzip", CompressionTypes.GZIP));
    await check("group of three", () => threeAndBack(client, nameOf("three")));
    await check("a member dies", () => oneDies(client, nameOf("dies")));
    await check("admin: groups", administerGroups);
  }
  await admin.disconnect();
  console.log("DONE");
  process.exit(0);
}
