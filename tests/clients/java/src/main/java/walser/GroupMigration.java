package walser;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.errors.RebalanceInProgressException;

/** Kafka's own Java consumers go from the classic protocol to the consumer protocol one by one, and back, while they read. */
final class GroupMigration {
  private static final int MEMBERS = 3;
  private static final int COUNT = 40;
  private static final Map<String, String> CONSUMER = Map.of("group.protocol", "consumer");

  private final String topic;
  private final Map<String, String> classic;
  private final List<Groups.Member> members = new ArrayList<>();
  /** Whether each of them is of the consumer protocol. */
  private final List<Boolean> areNew = new ArrayList<>();
  private int produced;

  private GroupMigration(String topic, Map<String, String> classic) {
    this.topic = topic;
    this.classic = classic;
  }

  /** With static members when they are to have instance ids. */
  static void roll(String name, Map<String, String> classic, boolean areStatic) throws Exception {
    GroupMigration group = new GroupMigration(Groups.create(name), classic);
    try {
      for (int number = 0; number < MEMBERS; number++) {
        group.members.add(group.member(number, false, areStatic));
        group.areNew.add(false);
      }
      group.readOn("at first");
      for (boolean isNew : List.of(true, false)) {
        for (int number = 0; number < MEMBERS; number++) {
          Groups.Member former = group.members.get(number);
          Groups.produce(group.topic, group.produced, COUNT / 2);
          former.close();
          // What it has read and not committed is read again by others.
          Groups.Member next = group.member(number, isNew, areStatic);
          next.read.addAll(former.read);
          group.members.set(number, next);
          group.areNew.set(number, isNew);
          group.readOn((isNew ? "to" : "from") + " the consumer protocol, member " + number);
        }
      }
    } finally {
      group.members.forEach(Groups.Member::close);
    }
  }

  private Groups.Member member(int number, boolean isNew, boolean isStatic) {
    Map<String, String> more = new HashMap<>(isNew ? CONSUMER : classic);
    if (isStatic) {
      more.put("group.instance.id", "static-" + number);
    }
    return new Groups.Member(topic, more);
  }

  /** All share, and have read exactly what came since the last time, at least once; then they commit it. */
  private void readOn(String when) throws Exception {
    int first = produced;
    boolean isRolling = first > 0;
    Groups.until(members, when + ": sharing", () -> Groups.shared(members));
    Groups.produce(topic, isRolling ? first + COUNT / 2 : first, isRolling ? COUNT / 2 : COUNT);
    produced += COUNT;
    Set<String> expected = new HashSet<>(Groups.values(first, COUNT));
    Groups.until(members, when + ": reading", () -> Set.copyOf(Groups.read(members)).containsAll(expected));
    Groups.until(members, when + ": sharing still", () -> Groups.shared(members));
    Set<String> found = new HashSet<>(Groups.read(members));
    Groups.expect(found.equals(expected), when + ": what was committed was read again, " + found.size() + " instead of " + expected.size());
    Groups.until(members, when + ": committing", this::commit);
    members.forEach(member -> member.read.clear());
    expectType(when);
  }

  /** Every partition's end is committed. A member that has to join again first does so when it polls. */
  private boolean commit() throws Exception {
    try {
      members.forEach(member -> member.consumer.commitSync());
    } catch (CommitFailedException | RebalanceInProgressException again) {
      return false;
    }
    Map<Integer, Long> ends = new TreeMap<>();
    for (int partition = 0; partition < Groups.PARTITIONS; partition++) {
      ends.put(partition, (long) produced);
    }
    return Groups.committed(topic).equals(ends);
  }

  /** The group is of the consumer protocol as long as one member is, and says which ones are. */
  private void expectType(String when) throws Exception {
    long some = areNew.stream().filter(isNew -> isNew).count();
    ConsumerGroupDescription described = Groups.describe(topic);
    GroupType type = some > 0 ? GroupType.CONSUMER : GroupType.CLASSIC;
    Groups.expect(described.type() == type, when + ": " + described);
    if (type == GroupType.CONSUMER) {
      long upgraded = described.members().stream().filter(member -> member.upgraded().get()).count();
      Groups.expect(described.members().size() == MEMBERS && upgraded == some, when + ": " + described);
    }
  }
}
