package walser;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.KafkaException;

/** Kafka's own Java consumer in a group whose coordinator is killed in a rebalance and then stopped in order. */
public final class GroupFaults {
  private static final String BROKEN_POSITION = "Cannot set a new position without a valid current position";

  private interface Look {
    boolean holds() throws Exception;
  }

  private interface Joining {
    Groups.Member join(int number);
  }

  /** The conversation with what runs the brokers, in lines: it makes faults, and judges the group's commits. */
  private static final class Stand implements AutoCloseable {
    private final Socket socket;
    private final BufferedReader reader;
    private final PrintStream writer;

    Stand() throws Exception {
      String[] address = System.getenv("WALSER_STAND").split(":");
      socket = new Socket(address[0], Integer.parseInt(address[1]));
      reader = new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.UTF_8));
      writer = new PrintStream(socket.getOutputStream(), true, StandardCharsets.UTF_8);
    }

    /** The answer; meanwhile members read and commit. */
    String ask(String line, List<Groups.Member> members) throws Exception {
      writer.println(line);
      until(members, "an answer to " + line, 240, reader::ready);
      String answer = reader.readLine();
      Groups.expect(!answer.startsWith("wrong"), answer);
      return answer;
    }

    int number(String line, List<Groups.Member> members) throws Exception {
      return Integer.parseInt(ask(line, members).split(" ")[1]);
    }

    @Override
    public void close() throws Exception {
      socket.close();
    }
  }

  /**
   * What is thrown while brokers are killed is told, and gets over. A consumer of the consumer protocol (4.3.0 to 4.4.0)
   * breaks where its background thread hears of a new leader while the application's takes records: between the look
   * whether a position is valid and its advance the position may have to be validated. Records may be lost in it, so that
   * the member starts again without a commit.
   */
  private static void turn(Groups.Member member) {
    try {
      member.poll();
      member.consumer.commitSync(Duration.ofSeconds(5));
    } catch (KafkaException passing) {
      System.err.println(passing);
    } catch (IllegalStateException broken) {
      if (!BROKEN_POSITION.equals(broken.getMessage())) {
        throw broken;
      }
      System.err.println(broken + ": the member starts again");
      member.rejoin();
    }
  }

  private static void until(List<Groups.Member> members, String what, int seconds, Look look) throws Exception {
    long deadline = System.nanoTime() + Duration.ofSeconds(seconds).toNanos();
    while (!look.holds()) {
      Groups.expect(System.nanoTime() < deadline, what + ": not in time, " + members.stream().map(Groups.Member::assigned).toList());
      members.forEach(GroupFaults::turn);
      if (members.isEmpty()) {
        Thread.sleep(20);
      }
    }
  }

  private static String underFaults(String topic, Joining joining) throws Exception {
    List<Groups.Member> members = new ArrayList<>();
    try (Stand stand = new Stand()) {
      stand.ask("group " + topic, members);
      members.add(joining.join(0));
      members.add(joining.join(1));
      until(members, "two sharing", 60, () -> Groups.shared(members));
      stand.writer.println("faults");
      members.add(joining.join(2));
      until(members, "faults", 240, stand.reader::ready);
      String over = stand.reader.readLine();
      Groups.expect(over.startsWith("over "), over);
      int count = Integer.parseInt(over.split(" ")[1]);
      Set<String> wanted = new HashSet<>(Groups.values(0, count));
      until(members, "reading all", 60, () -> new HashSet<>(Groups.read(members)).size() >= wanted.size());
      Groups.expect(new HashSet<>(Groups.read(members)).equals(wanted), "records that nobody sent");
      String verdict = stand.ask("judge", members);
      members.forEach(Groups.Member::close);
      members.clear();
      int after = stand.number("more", members);
      try (Groups.Member last = joining.join(3)) {
        int more = Groups.values(count, after - count).size();
        until(List.of(last), "coming back", 120, () -> last.read.size() >= more);
        last.poll();
        Groups.same(last.read, Groups.values(count, after - count));
      }
      return verdict;
    } finally {
      members.forEach(Groups.Member::close);
    }
  }

  private static void check(String name, String topic, Joining joining, String said) {
    try {
      String verdict = underFaults(topic, joining);
      Groups.expect(verdict.contains(said), verdict);
      System.out.println("PASS " + name + ": " + verdict);
    } catch (Throwable thrown) {
      System.out.println("FAIL " + name + ": " + String.valueOf(thrown).replace('\n', ' '));
      thrown.printStackTrace();
    }
  }

  /** As the others; and the stand has seen a state of the group that only this protocol has. */
  private static void consumerProtocol(String topic) {
    Map<String, String> dynamic = Map.of("group.protocol", "consumer");
    check("kill and restart, consumer protocol", topic, number -> new Groups.Member(topic, dynamic), "killed in Reconciling");
    String named = topic + "-static";
    check("kill and restart, consumer protocol, static members", named,
        number -> new Groups.Member(named, Map.of("group.protocol", "consumer", "group.instance.id", "static-" + number)),
        "killed in Reconciling");
  }

  public static void main(String[] arguments) {
    Groups.bootstrap = arguments[0];
    if (arguments.length > 2) {
      consumerProtocol("java-consumer-faults-" + arguments[1]);
      System.out.println("DONE");
      return;
    }
    String strategy = "partition.assignment.strategy";
    String range = RangeAssignor.class.getName();
    Map<String, Map<String, String>> kinds = Map.of(
        "range", Map.of(strategy, range),
        "cooperative", Map.of(strategy, CooperativeStickyAssignor.class.getName()));
    for (String kind : List.of("range", "cooperative")) {
      String topic = "java-faults-" + arguments[1] + "-" + kind;
      check("kill and restart, " + kind, topic, number -> new Groups.Member(topic, kinds.get(kind)), "Rebalance");
    }
    String topic = "java-faults-" + arguments[1] + "-static";
    check("kill and restart, static members", topic,
        number -> new Groups.Member(topic, Map.of(strategy, range, "group.instance.id", "static-" + number)), "Rebalance");
    System.out.println("DONE");
  }
}
