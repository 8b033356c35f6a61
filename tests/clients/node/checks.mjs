// What every client of a group is put through, whatever its API.
//
// A client is an object with: create(topic), produce(topic, first, count), join(topic): a member. A member has read
// ([partition, value]), assigned() (a Set of partitions), commit(), close(), and failure once it gave up. A client with
// repeats may read records twice that are not committed yet, even when nothing fails.
import { spawn } from "node:child_process";
import { connect } from "node:net";
import { createInterface } from "node:readline";

export const PARTITIONS = 6;
const COUNT = 50; // per partition

const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

export async function check(name, body) {
  try {
    const said = await body();
    console.log(`PASS ${name}${said ? `: ${said}` : ""}`);
  } catch (error) {
    console.log(`FAIL ${name}: ${String(error?.message ?? error).replaceAll("\n", " ").slice(0, 300)}`);
    console.error(error);
  }
}

export function expect(holds, otherwise) {
  if (!holds) throw new Error(otherwise);
}

export async function until(members, what, holds, seconds = 60, turn = async () => {}) {
  const deadline = Date.now() + seconds * 1000;
  while (!(await holds())) {
    const state = () => members.map((member) => `${[...member.assigned()]}: ${member.read.length}`).join("; ");
    expect(Date.now() < deadline, `${what}: not within ${seconds} s, ${state()}`);
    for (const member of members) if (member.failure) throw member.failure;
    await turn();
    await sleep(50);
  }
}

export function shared(members, partitions = PARTITIONS) {
  const parts = members.map((member) => [...member.assigned()]);
  const all = parts.flat();
  return parts.every((part) => part.length > 0) && all.length === partitions && new Set(all).size === partitions;
}

export const read = (members) => members.flatMap((member) => member.read);

export function values(first, count) {
  const numbers = Array.from({ length: count }, (_, at) => first + at);
  const partitions = Array.from({ length: PARTITIONS }, (_, at) => at);
  return partitions.flatMap((partition) => numbers.map((number) => `${partition} ${partition}-${number}`));
}

const texts = (records) => records.map(([partition, value]) => `${partition} ${value}`);

export function same(records, expected, what, repeats = false) {
  const found = repeats ? [...new Set(texts(records))].sort() : texts(records).sort();
  const once = new Set(found).size;
  const equal = JSON.stringify(found) === JSON.stringify([...expected].sort());
  expect(equal, `${what}: ${found.length} records, ${once} of them different, instead of ${expected.length}`);
}

const close = (members) => Promise.all(members.map((member) => member.close()));

const different = (members) => new Set(texts(read(members))).size;

/** Whoever joins after the others have left reads what was produced since, and nothing else. */
async function comeBack(client, topic, first, count) {
  const last = await client.join(topic);
  try {
    await until([last], "coming back", () => different([last]) >= PARTITIONS * count);
    await sleep(500); // a record too many would show itself
    same(last.read, values(first, count), "the next member", client.repeats);
    await last.commit();
  } finally {
    await last.close();
  }
}

/** Three members share a topic, read all of it, commit, leave; the next one begins where they were. */
export async function threeAndBack(client, topic) {
  await client.create(topic);
  const members = [];
  try {
    for (let number = 0; number < 3; number++) members.push(await client.join(topic));
    await until(members, "sharing", () => shared(members));
    await client.produce(topic, 0, COUNT);
    await until(members, "reading", () => different(members) >= PARTITIONS * COUNT);
    await sleep(500);
    same(read(members), values(0, COUNT), "three members", client.repeats);
    for (const member of members) await member.commit();
  } finally {
    await close(members);
  }
  await client.produce(topic, COUNT, 10);
  await comeBack(client, topic, COUNT, 10);
}

/** A member in a process of its own is killed and leaves nothing behind: the others get what it had. */
export async function oneDies(client, topic) {
  await client.create(topic);
  const [node, script, bootstrap, run] = [process.execPath, ...process.argv.slice(1, 4)];
  const child = spawn(node, [script, bootstrap, run, "member", topic], { stdio: ["ignore", "ignore", "inherit"] });
  const members = [];
  try {
    members.push(await client.join(topic), await client.join(topic));
    // The third of the partitions is the child's.
    await until(members, "sharing with the third", () => shared(members, (PARTITIONS / 3) * 2));
    child.kill("SIGKILL");
    await client.produce(topic, 0, COUNT);
    await until(members, "taking over", () => shared(members));
    await until(members, "reading", () => different(members) >= PARTITIONS * COUNT);
    // What was read and not committed before it died is read again.
    same(read(members), values(0, COUNT), "two members", true);
    for (const member of members) await member.commit();
  } finally {
    child.kill("SIGKILL");
    await close(members);
  }
}

/** A member in a process of its own, which is started again whenever it crashes. */
export class Supervised {
  constructor(topic) {
    this.topic = topic;
    this.read = [];
    this.parts = new Set();
    this.start();
  }

  start() {
    const [node, script, bootstrap, run] = [process.execPath, ...process.argv.slice(1, 4)];
    this.child = spawn(node, [script, bootstrap, run, "member", this.topic], { stdio: ["ignore", "pipe", "inherit"] });
    this.ended = new Promise((done) => this.child.on("exit", done));
    this.ended.then((code) => {
      this.parts.clear();
      if (this.closing) return;
      console.error(`${this.topic}: a member crashed (${code}) and is started again`);
      this.start();
    });
    createInterface({ input: this.child.stdout }).on("line", (line) => {
      const { parts, read } = JSON.parse(line);
      this.parts = new Set(parts);
      this.read.push(...read);
    });
  }

  assigned() {
    return this.parts;
  }

  // It does so itself.
  async commit() {}

  async close() {
    this.closing = true;
    this.child.kill("SIGTERM");
    await this.ended;
  }
}

/** The life of such a process: reads, commits, and tells, until it is told to end. */
export async function beMember(member) {
  let told = 0;
  let refused = 0;
  let ending = false;
  process.on("SIGTERM", () => (ending = true));
  while (!ending) {
    await sleep(100);
    if (member.failure) throw member.failure;
    const read = member.read.slice(told);
    console.log(JSON.stringify({ parts: [...member.assigned()], read }));
    told += read.length;
    const error = await member.commit().then(() => undefined, (error) => error);
    refused = error ? refused + 1 : 0;
    if (error) console.error(`${member.topic}: ${error}`);
    // A client that does not get over it: whoever supervises starts another.
    if (refused === 3) process.exit(1);
  }
  await Promise.race([member.close(), sleep(5000)]);
  process.exit(0);
}

/** The conversation with what runs the brokers, in lines: it makes faults, and judges the group's commits. */
class Stand {
  constructor() {
    const [host, port] = process.env.WALSER_STAND.split(":");
    this.lines = [];
    this.rest = "";
    this.socket = connect(Number(port), host);
    this.socket.on("data", (more) => {
      const lines = (this.rest + more).split("\n");
      this.rest = lines.pop();
      this.lines.push(...lines);
    });
  }

  send(line) {
    this.socket.write(`${line}\n`);
  }

  /** The next line, undefined when there is none yet. */
  answer() {
    const line = this.lines.shift();
    expect(!line?.startsWith("wrong"), line);
    return line;
  }

  async ask(line, members = [], turn = undefined) {
    this.send(line);
    let answer;
    await until(members, `an answer to ${line}`, () => (answer = this.answer()), 240, turn);
    return answer;
  }
}

/** A group of three reads a topic while its coordinator is killed in a rebalance and then stopped in order. */
export async function underFaults(client, topic, join = client.join) {
  const stand = new Stand();
  const members = [];
  const passing = (error) => console.error(`${topic}: ${error}`);
  const turn = () => Promise.all(members.map((member) => member.commit().catch(passing)));
  let count, verdict;
  try {
    await stand.ask(`group ${topic}`);
    members.push(await join(topic), await join(topic));
    await until(members, "two sharing", () => shared(members), 60, turn);
    const third = join(topic).then((member) => members.push(member));
    count = Number((await stand.ask("faults", members, turn)).split(" ")[1]);
    await third;
    const expected = values(0, count);
    const seen = () => new Set(texts(read(members)));
    await until(members, "reading all", () => seen().size >= expected.length, 60, turn);
    expect(expected.every((one) => seen().has(one)), "records that nobody sent");
    verdict = await stand.ask("judge", members, turn);
    await close(members.splice(0));
    const after = Number((await stand.ask("more")).split(" ")[1]);
    await comeBack(client, topic, count, after - count);
  } finally {
    stand.socket.destroy();
    await close(members);
  }
  return verdict;
}
