package walser;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.consumer.InvalidOffsetException;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.serialization.*;

/** Kafka's own Java client: AdminClient, idempotent producer with every codec, assigned consumer. */
public final class Client {
  private static final int PARTITIONS = 3;
  private static final int COUNT = 200;
  private static final Duration PATIENCE = Duration.ofSeconds(30);
  private static String bootstrap;
  private static String topic;
  private static Admin admin;

  private interface Check {
    void run() throws Exception;
  }

  private interface Look {
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

  private static void expect(boolean holds, Object otherwise) {
    if (!holds) {
      throw new AssertionError(String.valueOf(otherwise));
    }
  }

  private static void eventually(String what, Look look) throws Exception {
    for (int round = 0; round < 200; round++) {
      if (look.holds()) {
        return;
      }
      Thread.sleep(50);
    }
    throw new AssertionError(what + ": not within 10 s");
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

  private static String named(String codec) {
    return topic + "-" + codec;
  }

  private static String value(String codec, int partition, int number) {
    return (codec + "-" + partition + "-" + number + " ").repeat(number % 50 + 1);
  }

  private static int brokers() throws Exception {
    return admin.describeCluster().nodes().get().size();
  }

  private static void createTopics() throws Exception {
    short copies = (short) Math.min(3, brokers());
    List<NewTopic> topics = new ArrayList<>();
    topics.add(new NewTopic(topic, PARTITIONS, copies).configs(Map.of("retention.ms", "3600000")));
    for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
      // The broker's defaults stand for what is not said.
      topics.add(new NewTopic(named(codec), Optional.of(PARTITIONS), Optional.empty()));
    }
    CreateTopicsResult created = admin.createTopics(topics);
    created.all().get();
    expect(created.numPartitions(topic).get() == PARTITIONS, created.numPartitions(topic).get());
    expect(created.replicationFactor(topic).get() == copies, created.replicationFactor(topic).get());
    expect(created.config(topic).get().get("retention.ms").value().equals("3600000"), created.config(topic).get());
    eventually("leaders", () -> {
      List<TopicPartitionInfo> all = describe(topic).partitions();
      return all.size() == PARTITIONS && all.stream().allMatch(one -> one.leader() != null && one.leader().id() > 0);
    });
  }

  private static TopicDescription describe(String name) throws Exception {
    return admin.describeTopics(List.of(name)).allTopicNames().get().get(name);
  }

  private static void describeTopic() throws Exception {
    TopicDescription found = describe(topic);
    expect(!found.isInternal() && !found.topicId().toString().equals("AAAAAAAAAAAAAAAAAAAAAA"), found);
    int copies = Math.min(3, brokers());
    eventually("in sync", () -> describe(topic).partitions().stream()
        .allMatch(one -> one.replicas().size() == copies && one.isr().size() == copies));
    expect(admin.describeTopics(TopicCollection.ofTopicIds(List.of(found.topicId()))).allTopicIds().get().size() == 1, found);
  }

  private static void describeCluster() throws Exception {
    DescribeClusterResult cluster = admin.describeCluster();
    Node controller = cluster.controller().get();
    expect(cluster.nodes().get().contains(controller), controller);
    expect(!cluster.clusterId().get().isEmpty(), cluster.clusterId().get());
  }

  private static void produce(String codec) throws Exception {
    Properties settings = settings();
    settings.put("compression.type", codec);
    settings.put("linger.ms", "10");
    settings.put("delivery.timeout.ms", "30000");
    settings.put("request.timeout.ms", "10000");
    // acks=all and idempotence are the defaults.
    try (Producer<String, String> producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
      List<Future<RecordMetadata>> sent = new ArrayList<>();
      for (int partition = 0; partition < PARTITIONS; partition++) {
        for (int number = 0; number < COUNT; number++) {
          ProducerRecord<String, String> record =
              new ProducerRecord<>(named(codec), partition, 1_700_000_000_000L + number, "k" + number, value(codec, partition, number));
          record.headers().add("codec", codec.getBytes(StandardCharsets.UTF_8)).add("null", null);
          sent.add(producer.send(record));
        }
      }
      for (int number = 0; number < sent.size(); number++) {
        long offset = sent.get(number).get().offset();
        expect(offset == number % COUNT, "record " + number + " at offset " + offset);
      }
    }
  }

  private static KafkaConsumer<String, String> consumer() {
    Properties settings = settings();
    settings.put("auto.offset.reset", "none");
    settings.put("enable.auto.commit", "false");
    return new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
  }

  private static void consume(String codec, int from) {
    try (KafkaConsumer<String, String> consumer = consumer()) {
      List<TopicPartition> all = new ArrayList<>();
      for (int partition = 0; partition < PARTITIONS; partition++) {
        all.add(new TopicPartition(named(codec), partition));
      }
      consumer.assign(all);
      all.forEach(one -> consumer.seek(one, from));
      int[] next = new int[PARTITIONS];
      Arrays.fill(next, from);
      long deadline = System.nanoTime() + PATIENCE.toNanos();
      for (int missing = PARTITIONS * (COUNT - from); missing > 0;) {
        expect(System.nanoTime() < deadline, missing + " records missing");
        for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
          int number = next[record.partition()]++;
          expect(record.offset() == number, "offset " + record.offset() + " instead of " + number);
          expect(record.value().equals(value(codec, record.partition(), number)), "another value at " + number);
          expect(record.key().equals("k" + number) && record.timestamp() == 1_700_000_000_000L + number, record);
          expect(record.headers().lastHeader("null").value() == null, record.headers());
          missing--;
        }
      }
    }
  }

  private static void consumerOffsets() {
    try (KafkaConsumer<String, String> consumer = consumer()) {
      TopicPartition one = new TopicPartition(named("none"), 0);
      expect(consumer.beginningOffsets(List.of(one)).get(one) == 0, "beginning");
      expect(consumer.endOffsets(List.of(one)).get(one) == COUNT, "end");
      long time = 1_700_000_000_000L + 50;
      OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(one, time)).get(one);
      // Compressed or not, the answer is the first record at or after that time, or one of its batch before it.
      expect(found != null && found.offset() <= 50, found);
      expect(consumer.offsetsForTimes(Map.of(one, Long.MAX_VALUE / 2)).get(one) == null, "a time to come");
      expect(consumer.partitionsFor(named("none")).size() == PARTITIONS, "partitionsFor");
    }
  }

  private static void outOfRange() {
    try (KafkaConsumer<String, String> consumer = consumer()) {
      TopicPartition one = new TopicPartition(named("none"), 0);
      consumer.assign(List.of(one));
      consumer.seek(one, 1_000_000);
      for (int round = 0; round < 100; round++) {
        try {
          expect(consumer.poll(Duration.ofMillis(100)).isEmpty(), "records beyond the end");
        } catch (InvalidOffsetException expected) {
          return;
        }
      }
      throw new AssertionError("no error in 10 s");
    }
  }

  private static void listOffsets() throws Exception {
    TopicPartition one = new TopicPartition(named("none"), 0);
    for (Map.Entry<OffsetSpec, Long> each : Map.of(OffsetSpec.earliest(), 0L, OffsetSpec.latest(), (long) COUNT,
        OffsetSpec.maxTimestamp(), COUNT - 1L).entrySet()) {
      long offset = admin.listOffsets(Map.of(one, each.getKey())).partitionResult(one).get().offset();
      expect(offset == each.getValue(), each.getKey().getClass().getSimpleName() + " is " + offset);
    }
  }

  private static void tooLarge() throws Exception {
    Properties settings = settings();
    settings.put("max.request.size", "20000000");
    settings.put("buffer.memory", "40000000");
    try (Producer<String, String> producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
      expectCause(RecordTooLargeException.class,
          () -> producer.send(new ProducerRecord<>(topic, 0, null, "x".repeat(3_000_000))).get());
    }
  }

  private static ConfigResource resource() {
    return new ConfigResource(ConfigResource.Type.TOPIC, topic);
  }

  private static String config(String key) throws Exception {
    return admin.describeConfigs(List.of(resource())).all().get().get(resource()).get(key).value();
  }

  private static void configs() throws Exception {
    AlterConfigOp set = new AlterConfigOp(new ConfigEntry("max.message.bytes", "2000000"), AlterConfigOp.OpType.SET);
    admin.incrementalAlterConfigs(Map.of(resource(), List.of(set))).all().get();
    eventually("the altered value", () -> config("max.message.bytes").equals("2000000"));
    AlterConfigOp delete = new AlterConfigOp(new ConfigEntry("max.message.bytes", ""), AlterConfigOp.OpType.DELETE);
    admin.incrementalAlterConfigs(Map.of(resource(), List.of(delete))).all().get();
    eventually("the default", () -> config("max.message.bytes").equals("1048588"));
    AlterConfigOp wrong = new AlterConfigOp(new ConfigEntry("max.message.bytes", "many"), AlterConfigOp.OpType.SET);
    expectCause(InvalidConfigurationException.class,
        () -> admin.incrementalAlterConfigs(Map.of(resource(), List.of(wrong))).all().get());
  }

  private static void brokerConfigs() throws Exception {
    String id = String.valueOf(admin.describeCluster().nodes().get().iterator().next().id());
    ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, id);
    Config found = admin.describeConfigs(List.of(broker)).all().get().get(broker);
    expect(found.entries().size() > 5 && found.get("message.max.bytes") != null, found.entries().size());
  }

  private static void morePartitions() throws Exception {
    admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(PARTITIONS + 2))).all().get();
    eventually("more partitions", () -> describe(topic).partitions().size() == PARTITIONS + 2);
    expectCause(InvalidPartitionsException.class,
        () -> admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(1))).all().get());
  }

  private static void deleteRecords() throws Exception {
    TopicPartition one = new TopicPartition(named("lz4"), 0);
    long low = admin.deleteRecords(Map.of(one, RecordsToDelete.beforeOffset(100))).lowWatermarks().get(one).get().lowWatermark();
    expect(low == 100, low);
    long earliest = admin.listOffsets(Map.of(one, OffsetSpec.earliest())).partitionResult(one).get().offset();
    expect(earliest == 100, earliest);
  }

  private static void logDirs() throws Exception {
    int node = describe(named("none")).partitions().get(0).leader().id();
    Map<String, LogDirDescription> dirs = admin.describeLogDirs(List.of(node)).allDescriptions().get().get(node);
    long size = dirs.values().stream().flatMap(dir -> dir.replicaInfos().entrySet().stream())
        .filter(one -> one.getKey().topic().equals(named("none"))).mapToLong(one -> one.getValue().size()).sum();
    expect(size > 0, dirs);
  }

  private static void electLeaders() throws Exception {
    Set<TopicPartition> all = Set.of(new TopicPartition(named("none"), 0), new TopicPartition(named("none"), 1));
    Map<TopicPartition, Optional<Throwable>> answers = admin.electLeaders(ElectionType.PREFERRED, all).partitions().get();
    for (Optional<Throwable> answer : answers.values()) {
      expect(answer.isEmpty() || answer.get() instanceof ElectionNotNeededException, answer);
    }
  }

  private static void reassign() throws Exception {
    if (brokers() < 3) {
      return;
    }
    TopicPartition one = new TopicPartition(named("gzip"), 0);
    List<Integer> before = describe(one.topic()).partitions().get(0).replicas().stream().map(Node::id).toList();
    List<Integer> fewer = before.subList(0, 2);
    admin.alterPartitionReassignments(Map.of(one, Optional.of(new NewPartitionReassignment(fewer)))).all().get();
    reassigned(one, fewer);
    admin.alterPartitionReassignments(Map.of(one, Optional.of(new NewPartitionReassignment(before)))).all().get();
    reassigned(one, before);
    consume("gzip", 0);
  }

  private static void reassigned(TopicPartition one, List<Integer> replicas) throws Exception {
    eventually("reassigned to " + replicas, () -> {
      TopicPartitionInfo now = describe(one.topic()).partitions().get(one.partition());
      return admin.listPartitionReassignments(Set.of(one)).reassignments().get().isEmpty()
          && now.replicas().stream().map(Node::id).toList().equals(replicas) && now.isr().size() == replicas.size();
    });
  }

  private static void unknownTopic() throws Exception {
    expectCause(UnknownTopicOrPartitionException.class, () -> describe(topic + "-absent"));
    expectCause(UnknownTopicOrPartitionException.class, () -> admin.deleteTopics(List.of(topic + "-absent")).all().get());
  }

  private static void createErrors() throws Exception {
    expectCause(TopicExistsException.class, () -> admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all().get());
    expectCause(InvalidTopicException.class, () -> admin.createTopics(List.of(new NewTopic("a/b", 1, (short) 1))).all().get());
    expectCause(InvalidPartitionsException.class,
        () -> admin.createTopics(List.of(new NewTopic(topic + "-x", 0, (short) 1))).all().get());
    expectCause(InvalidReplicationFactorException.class,
        () -> admin.createTopics(List.of(new NewTopic(topic + "-x", 1, (short) 9))).all().get());
    NewTopic wrong = new NewTopic(topic + "-x", 1, (short) 1).configs(Map.of("no.such.config", "1"));
    expectCause(InvalidConfigurationException.class, () -> admin.createTopics(List.of(wrong)).all().get());
  }

  private static void validateOnly() throws Exception {
    NewTopic only = new NewTopic(topic + "-only", 1, (short) 1);
    admin.createTopics(List.of(only), new CreateTopicsOptions().validateOnly(true)).all().get();
    expect(!admin.listTopics().names().get().contains(topic + "-only"), "created");
  }

  private static void describeProducers() throws Exception {
    TopicPartition one = new TopicPartition(named("zstd"), 0);
    var producers = admin.describeProducers(List.of(one)).partitionResult(one).get().activeProducers();
    expect(!producers.isEmpty(), "no producer");
    for (var producer : producers) {
      expect(producer.producerId() >= 0 && producer.producerEpoch() >= 0, "whose: " + producer);
      expect(producer.lastSequence() >= 0, "no sequence: " + producer);
      expect(producer.lastTimestamp() >= 1_700_000_000_000L, "no time: " + producer);
      expect(producer.coordinatorEpoch().isEmpty(), "a coordinator: " + producer);
      expect(producer.currentTransactionStartOffset().isEmpty(), "a transaction: " + producer);
    }
    TopicPartition absent = new TopicPartition(named("zstd"), 99);
    try {
      admin.describeProducers(List.of(absent), new DescribeProducersOptions().timeoutMs(2_000)).partitionResult(absent).get();
      expect(false, "producers of a partition that is not there");
    } catch (ExecutionException refused) {
      // It asks again, until its time is over, whether the partition is there now.
      expect(refused.getCause() instanceof RetriableException, "not retriable: " + refused.getCause());
    }
  }

  private static void deleteTopic() throws Exception {
    admin.deleteTopics(List.of(topic)).all().get();
    eventually("gone", () -> !admin.listTopics().names().get().contains(topic));
  }

  public static void main(String[] arguments) throws Exception {
    bootstrap = arguments[0];
    topic = "java-" + arguments[1];
    Map<String, Object> settings = new HashMap<>();
    settings().forEach((key, value) -> settings.put((String) key, value));
    admin = Admin.create(settings);
    check("create topics", Client::createTopics);
    check("describe topic", Client::describeTopic);
    check("describe cluster", Client::describeCluster);
    check("create topic, refused", Client::createErrors);
    check("create topic, validate only", Client::validateOnly);
    for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
      check("produce " + codec + ", idempotent", () -> produce(codec));
      check("consume " + codec, () -> consume(codec, 0));
    }
    check("consume from the middle", () -> consume("snappy", 130));
    check("consumer offsets", Client::consumerOffsets);
    check("offset out of range", Client::outOfRange);
    check("list offsets", Client::listOffsets);
    check("record too large", Client::tooLarge);
    check("topic configs", Client::configs);
    check("broker configs", Client::brokerConfigs);
    check("create partitions", Client::morePartitions);
    check("delete records", Client::deleteRecords);
    check("log dirs", Client::logDirs);
    check("elect leaders", Client::electLeaders);
    check("reassign", Client::reassign);
    check("describe producers", Client::describeProducers);
    check("unknown topic", Client::unknownTopic);
    check("delete topic", Client::deleteTopic);
    admin.close(Duration.ofSeconds(5));
    System.out.println("DONE");
  }
}
