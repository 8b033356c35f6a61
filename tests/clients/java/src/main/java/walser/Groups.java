package walser;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.serialization.*;

/** Kafka's own Java consumer in groups, of both protocols, and the admin's view of them. */
public final class Groups {
  static final int PARTITIONS = 6;
  private static final int COUNT = 50;
  private static final Duration PATIENCE = Duration.ofSeconds(90);
  /** No setting of the client: the pattern that a member subscribes to. */
  private static final String PATTERN = "walser.pattern";
  static String bootstrap;
  private static String prefix;
  private static Admin admin;

  private interface Check {
    void run() throws Exception;
  }

  interface Look {
    boolean holds() throws Exception;
  }

  private static void check(String name, Check body) {
    try {
      body.run();
      System.out.println("PASS " + name);
    } catch (Throwable thrown) {
      Throwable cause = thrown instanceof ExecutionException && thrown.getCause() != null ? thrown.getCause() : thrown;
      System.out.println("FAIL " + name + ": " + String.valueOf(cause).replace('\n', ' '));
      thrown.printStackTrace();
    }
  }

  static void expect(boolean holds, Object otherwise) {
    if (!holds) {
      throw new AssertionError(String.valueOf(otherwise));
    }
  }

  private static void expectCause(Class<? extends Throwable> type, Check body) throws Exception {
    try {
      body.run();
    } catch (ExecutionException thrown) {
      expect(type.isInstance(thrown.getCause()), thrown.getCause());
      return;
    }
    throw new AssertionError("no " + type.getSimpleName());
  }

  private static Properties settings() {
    Properties settings = new Properties();
    settings.put("bootstrap.servers", bootstrap);
    settings.put("enable.metrics.push", "false");
    settings.put("default.api.timeout.ms", "30000");
    return settings;
  }

  private static boolean isConsumers(Map<String, String> settings) {
    return "consumer".equals(settings.get("group.protocol"));
  }

  /** One consumer of a group. All members of a check are polled in turn by its one thread. */
  static final class Member implements ConsumerRebalanceListener, AutoCloseable {
    private final String topic;
    private final Map<String, String> more;
    KafkaConsumer<String, String> consumer;
    /** What was read: partition and value. */
    final List<String> read = new ArrayList<>();
    int assignments;
    int revoked;

    Member(String topic, Map<String, String> more) {
      this.topic = topic;
      this.more = more;
      join();
    }

    private void join() {
      Properties settings = settings();
      settings.put("group.id", topic);
      settings.put("enable.auto.commit", "false");
      settings.put("auto.offset.reset", "earliest");
      if (!isConsumers(more)) {
        // Of the consumer protocol these are the broker's.
        settings.put("session.timeout.ms", "10000");
        settings.put("heartbeat.interval.ms", "500");
      }
      settings.put("metadata.max.age.ms", "1000");
      settings.putAll(more);
      settings.remove(PATTERN);
      consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
      if (more.containsKey(PATTERN)) {
        consumer.subscribe(new SubscriptionPattern(more.get(PATTERN)), this);
      } else {
        consumer.subscribe(List.of(topic), this);
      }
    }

    /** As an application that starts again: from what was committed. */
    void rejoin() {
      close();
      join();
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
      assignments++;
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
      revoked += partitions.size();
    }

    void poll() {
      for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(100))) {
        read.add(record.partition() + " " + record.value());
      }
    }

    Set<Integer> assigned() {
      Set<Integer> found = new HashSet<>();
      consumer.assignment().forEach(one -> found.add(one.partition()));
      return found;
    }

    @Override
    public void close() {
      consumer.close(CloseOptions.timeout(Duration.ofSeconds(10)));
    }
  }

  static String create(String name) throws Exception {
    String topic = prefix + "-" + name;
    short copies = (short) Math.min(3, admin.describeCluster().nodes().get().size());
    admin.createTopics(List.of(new NewTopic(topic, PARTITIONS, copies))).all().get();
    return topic;
  }

  static void produce(String topic, int first, int count) throws Exception {
    try (Producer<String, String> producer = new KafkaProducer<>(settings(), new StringSerializer(), new StringSerializer())) {
      List<Future<RecordMetadata>> sent = new ArrayList<>();
      for (String value : values(first, count)) {
        int partition = Integer.parseInt(value.split(" ")[0]);
        sent.add(producer.send(new ProducerRecord<>(topic, partition, null, value.split(" ")[1])));
      }
      for (Future<RecordMetadata> one : sent) {
        one.get();
      }
    }
  }

  static List<String> values(int first, int count) {
    List<String> values = new ArrayList<>();
    for (int partition = 0; partition < PARTITIONS; partition++) {
      for (int number = first; number < first + count; number++) {
        values.add(partition + " " + partition + "-" + number);
      }
    }
    return values;
  }

  static void until(List<Member> members, String what, Look look) throws Exception {
    long deadline = System.nanoTime() + PATIENCE.toNanos();
    while (!look.holds()) {
      expect(System.nanoTime() < deadline, what + ": not in time, " + members.stream().map(Member::assigned).toList());
      members.forEach(Member::poll);
    }
  }

  static boolean shared(List<Member> members) {
    Set<Integer> all = new HashSet<>();
    int sum = 0;
    for (Member member : members) {
      if (member.assigned().isEmpty()) {
        return false;
      }
      sum += member.assigned().size();
      all.addAll(member.assigned());
    }
    return sum == PARTITIONS && all.size() == PARTITIONS;
  }

  static List<String> read(List<Member> members) {
    List<String> all = new ArrayList<>();
    members.forEach(member -> all.addAll(member.read));
    return all;
  }

  static void same(List<String> found, List<String> expected) {
    List<String> left = found.stream().sorted().toList();
    List<String> right = expected.stream().sorted().toList();
    expect(left.equals(right), left.size() + " records, " + new HashSet<>(left).size() + " of them different, instead of " + right.size());
  }

  /** Three members share, read all once, commit, leave; the next one begins where they were. */
  private static void threeAndBack(String name, Map<String, String> more) throws Exception {
    String topic = create(name);
    List<Member> members = new ArrayList<>();
    try {
      for (int number = 0; number < 3; number++) {
        members.add(new Member(topic, more));
      }
      until(members, "sharing", () -> shared(members));
      produce(topic, 0, COUNT);
      until(members, "reading", () -> read(members).size() >= PARTITIONS * COUNT);
      for (int round = 0; round < 5; round++) {
        members.forEach(Member::poll);
      }
      same(read(members), values(0, COUNT));
      members.forEach(member -> member.consumer.commitSync());
    } finally {
      members.forEach(Member::close);
    }
    produce(topic, COUNT, 10);
    try (Member last = new Member(topic, more)) {
      until(List.of(last), "coming back", () -> last.read.size() >= PARTITIONS * 10);
      last.poll();
      same(last.read, values(COUNT, 10));
      expect(last.assigned().size() == PARTITIONS, last.assigned());
    }
  }

  /** One member goes: the others go on with what it had. */
  private static void oneLeaves(String name, Map<String, String> more, boolean cooperative) throws Exception {
    String topic = create(name);
    List<Member> members = new ArrayList<>();
    try {
      for (int number = 0; number < 3; number++) {
        members.add(new Member(topic, more));
      }
      until(members, "sharing", () -> shared(members));
      produce(topic, 0, COUNT);
      until(members, "reading", () -> read(members).size() >= PARTITIONS * COUNT);
      members.forEach(member -> member.consumer.commitSync());
      List<String> before = read(members);
      members.forEach(member -> member.revoked = 0);
      members.remove(2).close();
      until(members, "taking over", () -> shared(members));
      if (cooperative) {
        int revoked = members.stream().mapToInt(member -> member.revoked).sum();
        expect(revoked == 0, revoked + " partitions were taken away from those who stayed");
      }
      members.forEach(member -> member.read.clear());
      produce(topic, COUNT, 10);
      until(members, "reading on", () -> read(members).size() >= PARTITIONS * 10);
      before.addAll(read(members));
      same(before, values(0, COUNT + 10));
    } finally {
      members.forEach(Member::close);
    }
  }

  /** Three static members share a topic; what they are made of is left as the third one's. */
  private static void joinStatic(List<Member> members, String topic, Map<String, String> more) throws Exception {
    for (int number = 0; number < 3; number++) {
      more.put("group.instance.id", "static-" + number);
      members.add(new Member(topic, more));
    }
    until(members, "sharing", () -> shared(members));
  }

  /** The third of them closes and comes back: everybody has what he had. */
  private static void restartStatic(List<Member> members, String topic, Map<String, String> more) throws Exception {
    List<Set<Integer>> before = members.stream().map(Member::assigned).toList();
    members.remove(2).close();
    members.add(new Member(topic, more));
    until(members, "coming back", () -> shared(members));
    expect(members.stream().map(Member::assigned).toList().equals(before), "other partitions than before");
  }

  private static void staticMember() throws Exception {
    String topic = create("static");
    List<Member> members = new ArrayList<>();
    Map<String, String> more = new HashMap<>(Map.of("partition.assignment.strategy", RangeAssignor.class.getName(), "session.timeout.ms", "30000"));
    try {
      joinStatic(members, topic, more);
      List<Integer> rounds = members.subList(0, 2).stream().map(member -> member.assignments).toList();
      restartStatic(members, topic, more);
      expect(members.subList(0, 2).stream().map(member -> member.assignments).toList().equals(rounds), "the others had to rebalance");
      try (Member twin = new Member(topic, more)) {
        until(List.of(twin), "the twin", () -> !twin.assigned().isEmpty());
        Member fenced = members.remove(2);
        try {
          for (int round = 0; round < 300; round++) {
            fenced.poll();
          }
          throw new AssertionError("two members of one instance id");
        } catch (FencedInstanceIdException expected) {
          fenced.close();
        }
      }
    } finally {
      members.forEach(Member::close);
    }
    // Static members stay when they close; an administrator removes them.
    admin.removeMembersFromConsumerGroup(topic, new RemoveMembersFromConsumerGroupOptions()).all().get();
    expect(describe(topic).groupState() == GroupState.EMPTY, describe(topic));
  }

  /** A member's process is killed: the others get what it had when its session is over, and read what it has not committed. */
  private static void oneDies(String name) throws Exception {
    String topic = create(name);
    Map<String, String> more = Map.of("group.protocol", "consumer");
    List<Member> members = new ArrayList<>();
    Process killed = new ProcessBuilder(System.getProperty("java.home") + "/bin/java", "-Xmx128m", "-cp",
        System.getProperty("java.class.path"), "walser.Groups", bootstrap, "-", topic)
        .redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
    try {
      members.add(new Member(topic, more));
      members.add(new Member(topic, more));
      until(members, "sharing", () -> members.stream().allMatch(member -> member.assigned().size() == 2));
      produce(topic, 0, COUNT);
      until(members, "reading", () -> read(members).size() >= 4 * COUNT);
      expect(killed.isAlive(), "it has ended by itself");
      killed.destroyForcibly().waitFor();
      expect(describe(topic).members().size() == 3, "it said something");
      until(members, "taking over", () -> shared(members) && read(members).size() >= PARTITIONS * COUNT);
      same(read(members), values(0, COUNT));
      members.forEach(member -> member.consumer.commitSync());
      members.forEach(member -> member.read.clear());
      members.add(new Member(topic, more));
      until(members, "sharing again", () -> shared(members));
      produce(topic, COUNT, 10);
      until(members, "reading on", () -> read(members).size() >= PARTITIONS * 10);
      same(read(members), values(COUNT, 10));
    } finally {
      killed.destroyForcibly();
      members.forEach(Member::close);
    }
  }

  /** The member that is killed. */
  private static void readForEver(String topic) {
    try (Member member = new Member(topic, Map.of("group.protocol", "consumer"))) {
      while (true) {
        member.poll();
      }
    }
  }

  private static void staticConsumer() throws Exception {
    String topic = create("consumer-static");
    List<Member> members = new ArrayList<>();
    Map<String, String> more = new HashMap<>(Map.of("group.protocol", "consumer"));
    try {
      joinStatic(members, topic, more);
      int epoch = describe(topic).groupEpoch().get();
      restartStatic(members, topic, more);
      expect(describe(topic).groupEpoch().get() == epoch, "the group had to rebalance");
      try (Member twin = new Member(topic, more)) {
        for (int round = 0; round < 300; round++) {
          twin.poll();
        }
        throw new AssertionError("two members of one instance id");
      } catch (UnreleasedInstanceIdException expected) {
        // The first one goes on.
      }
      until(members, "going on", () -> shared(members));
    } finally {
      members.forEach(Member::close);
    }
  }

  private static void pattern() throws Exception {
    String first = create("pattern-1");
    Map<String, String> more = Map.of("group.protocol", "consumer", PATTERN, prefix + "-pattern-[0-9]+");
    try (Member member = new Member(first, more)) {
      until(List.of(member), "the first", () -> member.consumer.assignment().size() == PARTITIONS);
      create("pattern-22");
      create("pattern-x");
      until(List.of(member), "one more", () -> member.consumer.assignment().size() == 2 * PARTITIONS);
    }
    Map<String, String> wrong = Map.of("group.protocol", "consumer", PATTERN, "(");
    try (Member member = new Member(first + "-wrong", wrong)) {
      for (int round = 0; round < 300; round++) {
        member.poll();
      }
      throw new AssertionError("a pattern that makes no sense");
    } catch (InvalidRegularExpression expected) {
      // As it is to be.
    }
  }

  private static void consumerAdministration() throws Exception {
    String topic = create("consumer-admin");
    TopicPartition zero = new TopicPartition(topic, 0);
    Map<String, String> more = Map.of("client.id", "watched", "group.protocol", "consumer", "group.remote.assignor", "range");
    try (Member member = new Member(topic, more)) {
      until(List.of(member), "joining", () -> member.assigned().size() == PARTITIONS);
      member.consumer.commitSync(Map.of(zero, new OffsetAndMetadata(7, "words")));
      expect(member.consumer.committed(Set.of(zero)).get(zero).metadata().equals("words"), "metadata");
      ConsumerGroupDescription found = describe(topic);
      expect(found.type() == GroupType.CONSUMER && found.groupState() == GroupState.STABLE, found);
      expect(found.partitionAssignor().equals("range") && found.members().size() == 1, found);
      MemberDescription only = found.members().iterator().next();
      expect(only.clientId().equals("watched") && only.assignment().topicPartitions().size() == PARTITIONS, only);
      expect(only.targetAssignment().get().equals(only.assignment()), only);
      expect(only.memberEpoch().get().equals(found.groupEpoch().get()) && only.upgraded().get(), only);
      ListGroupsOptions stable = new ListGroupsOptions().withTypes(Set.of(GroupType.CONSUMER)).inGroupStates(Set.of(GroupState.STABLE));
      expect(admin.listGroups(stable).all().get().stream().anyMatch(one -> one.groupId().equals(topic)), "not listed");
      ListGroupsOptions classic = new ListGroupsOptions().withTypes(Set.of(GroupType.CLASSIC));
      expect(admin.listGroups(classic).all().get().stream().noneMatch(one -> one.groupId().equals(topic)), "listed as classic");
      expectCause(GroupNotEmptyException.class, () -> admin.deleteConsumerGroups(List.of(topic)).all().get());
      expectCause(UnknownMemberIdException.class,
          () -> admin.alterConsumerGroupOffsets(topic, Map.of(zero, new OffsetAndMetadata(1))).all().get());
      expectCause(GroupSubscribedToTopicException.class,
          () -> admin.deleteConsumerGroupOffsets(topic, Set.of(zero)).all().get());
    }
    expect(describe(topic).groupState() == GroupState.EMPTY, describe(topic));
    expect(committed(topic).equals(Map.of(0, 7L)), committed(topic));
    admin.alterConsumerGroupOffsets(topic, Map.of(zero, new OffsetAndMetadata(3))).all().get();
    expect(committed(topic).equals(Map.of(0, 3L)), committed(topic));
    admin.deleteConsumerGroups(List.of(topic)).all().get();
    expectCause(GroupIdNotFoundException.class, () -> describe(topic));
  }

  /** A group that has no members takes the other protocol, and goes on where it was; and back. */
  private static void otherProtocol() throws Exception {
    String topic = create("protocols");
    List<Map<String, String>> turns = List.of(Map.of(), Map.of("group.protocol", "consumer"), Map.of());
    for (int turn = 0; turn < turns.size(); turn++) {
      produce(topic, 10 * turn, 10);
      try (Member member = new Member(topic, turns.get(turn))) {
        until(List.of(member), "turn " + turn, () -> member.read.size() >= PARTITIONS * 10);
        member.poll();
        same(member.read, values(10 * turn, 10));
        member.consumer.commitSync();
        GroupType type = turn == 1 ? GroupType.CONSUMER : GroupType.CLASSIC;
        expect(describe(topic).type() == type, describe(topic));
      }
    }
  }

  static ConsumerGroupDescription describe(String group) throws Exception {
    return admin.describeConsumerGroups(List.of(group)).all().get().get(group);
  }

  static Map<Integer, Long> committed(String group) throws Exception {
    Map<Integer, Long> found = new TreeMap<>();
    admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get()
        .forEach((partition, offset) -> found.put(partition.partition(), offset.offset()));
    return found;
  }

  private static void administration() throws Exception {
    String topic = create("admin");
    TopicPartition zero = new TopicPartition(topic, 0);
    try (Member member = new Member(topic, Map.of("client.id", "watched"))) {
      until(List.of(member), "joining", () -> member.assigned().size() == PARTITIONS);
      member.consumer.commitSync(Map.of(zero, new OffsetAndMetadata(7, "words")));
      expect(member.consumer.committed(Set.of(zero)).get(zero).metadata().equals("words"), "metadata");
      ConsumerGroupDescription found = describe(topic);
      expect(found.groupState() == GroupState.STABLE && found.members().size() == 1, found);
      MemberDescription only = found.members().iterator().next();
      expect(only.clientId().equals("watched") && only.assignment().topicPartitions().size() == PARTITIONS, only);
      expect(only.host().startsWith("/"), only.host());
      int coordinator = found.coordinator().id();
      expect(admin.describeCluster().nodes().get().stream().anyMatch(node -> node.id() == coordinator), coordinator);
      ListGroupsOptions stable = ListGroupsOptions.forConsumerGroups().inGroupStates(Set.of(GroupState.STABLE));
      expect(admin.listGroups(stable).all().get().stream().anyMatch(one -> one.groupId().equals(topic)), "not listed");
      ListGroupsOptions empty = ListGroupsOptions.forConsumerGroups().inGroupStates(Set.of(GroupState.EMPTY));
      expect(admin.listGroups(empty).all().get().stream().noneMatch(one -> one.groupId().equals(topic)), "listed as empty");
      expectCause(GroupNotEmptyException.class, () -> admin.deleteConsumerGroups(List.of(topic)).all().get());
      expectCause(UnknownMemberIdException.class,
          () -> admin.alterConsumerGroupOffsets(topic, Map.of(zero, new OffsetAndMetadata(1))).all().get());
      expectCause(GroupSubscribedToTopicException.class,
          () -> admin.deleteConsumerGroupOffsets(topic, Set.of(zero)).all().get());
    }
    expect(committed(topic).equals(Map.of(0, 7L)), committed(topic));
    TopicPartition one = new TopicPartition(topic, 1);
    admin.alterConsumerGroupOffsets(topic, Map.of(zero, new OffsetAndMetadata(3), one, new OffsetAndMetadata(4))).all().get();
    expect(committed(topic).equals(Map.of(0, 3L, 1, 4L)), committed(topic));
    admin.deleteConsumerGroupOffsets(topic, Set.of(zero)).all().get();
    expect(committed(topic).equals(Map.of(1, 4L)), committed(topic));
    admin.deleteConsumerGroups(List.of(topic)).all().get();
    expect(committed(topic).isEmpty(), committed(topic));
    expectCause(GroupIdNotFoundException.class, () -> admin.deleteConsumerGroups(List.of(topic)).all().get());
    expectCause(GroupIdNotFoundException.class, () -> describe(topic));
  }

  private static void withoutMembership() throws Exception {
    String topic = create("simple");
    Properties settings = settings();
    settings.put("group.id", topic);
    settings.put("enable.auto.commit", "false");
    try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
      TopicPartition one = new TopicPartition(topic, 1);
      consumer.assign(List.of(one));
      consumer.commitSync(Map.of(one, new OffsetAndMetadata(5)));
      expect(consumer.committed(Set.of(one)).get(one).offset() == 5, "committed");
    }
    expect(describe(topic).groupState() == GroupState.EMPTY, describe(topic));
  }

  private static void internalTopic() throws Exception {
    expect(!admin.listTopics().names().get().contains("__consumer_offsets"), "listed with the others");
    ListTopicsOptions all = new ListTopicsOptions().listInternal(true);
    TopicListing found = admin.listTopics(all).namesToListings().get().get("__consumer_offsets");
    expect(found != null && found.isInternal(), found);
    try (Producer<String, String> producer = new KafkaProducer<>(settings(), new StringSerializer(), new StringSerializer())) {
      expectCause(InvalidTopicException.class, () -> producer.send(new ProducerRecord<>("__consumer_offsets", 0, "k", "v")).get());
    }
  }

  public static void main(String[] arguments) throws Exception {
    bootstrap = arguments[0];
    if (arguments.length > 2) {
      readForEver(arguments[2]);
    }
    prefix = "java-groups-" + arguments[1];
    Map<String, Object> settings = new HashMap<>();
    settings().forEach((key, value) -> settings.put((String) key, value));
    admin = Admin.create(settings);
    Map<String, String> range = Map.of("partition.assignment.strategy", RangeAssignor.class.getName());
    Map<String, String> cooperative = Map.of("partition.assignment.strategy", CooperativeStickyAssignor.class.getName());
    check("group of three, defaults", () -> threeAndBack("defaults", Map.of()));
    check("group of three, range", () -> threeAndBack("range", range));
    check("group of three, cooperative", () -> threeAndBack("cooperative", cooperative));
    check("a member leaves, range", () -> oneLeaves("leave-range", range, false));
    check("a member leaves, cooperative", () -> oneLeaves("leave-cooperative", cooperative, true));
    check("static members", Groups::staticMember);
    Map<String, String> consumers = Map.of("group.protocol", "consumer");
    check("consumer protocol, group of three", () -> threeAndBack("consumer", consumers));
    check("consumer protocol, a member leaves", () -> oneLeaves("consumer-leave", consumers, true));
    check("consumer protocol, a member is killed and another comes", () -> oneDies("consumer-dies"));
    check("consumer protocol, static members", Groups::staticConsumer);
    check("consumer protocol, a pattern", Groups::pattern);
    check("consumer protocol, admin", Groups::consumerAdministration);
    check("a group without members changes its protocol", Groups::otherProtocol);
    check("three roll to the consumer protocol and back, defaults", () -> GroupMigration.roll("roll-defaults", Map.of(), false));
    check("three roll to the consumer protocol and back, cooperative", () -> GroupMigration.roll("roll-cooperative", cooperative, false));
    check("three roll to the consumer protocol and back, static", () -> GroupMigration.roll("roll-static", range, true));
    check("offsets without membership", Groups::withoutMembership);
    check("admin: list, describe, alter, delete", Groups::administration);
    check("the internal topic", Groups::internalTopic);
    admin.close(Duration.ofSeconds(5));
    System.out.println("DONE");
  }
}
