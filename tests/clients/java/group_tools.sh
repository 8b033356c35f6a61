#!/usr/bin/env bash
# Kafka's own command lines for groups: the console consumer with its defaults, ConsumerGroupCommand.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../checks.sh"
bootstrap=$1
topic=group-tools-$2
libs=$3
group=$topic
work=$(mktemp -d)
consumers=()
trap 'for pid in "${consumers[@]}"; do kill "$pid" 2>/dev/null; done; wait; rm -rf "$work"' EXIT

java_of() { # CLASS ARGS...
  timeout 120 java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$libs/*" "$@"
}
tool() { java_of "org.apache.kafka.tools.$@"; }
groups() { tool consumer.group.ConsumerGroupCommand --bootstrap-server "$bootstrap" "$@"; }

prepare() {
  seq -f 'line %g' 1 300 >"$work/sent"
  # Keys, or all lines may come to be in one partition.
  awk '{ print $2 ":" $0 }' "$work/sent" >"$work/keyed"
  tool TopicCommand --bootstrap-server "$bootstrap" --create --topic "$topic" --partitions 3 &&
    tool ConsoleProducer --bootstrap-server "$bootstrap" --topic "$topic" --reader-property parse.key=true \
      --reader-property key.separator=: <"$work/keyed"
}
# Its defaults: a group of its own, from the end; here from the beginning.
defaults() { # ARGS...
  tool consumer.ConsoleConsumer --bootstrap-server "$bootstrap" --topic "$topic" --from-beginning --max-messages 300 \
    --timeout-ms 30000 "$@" >"$work/found" && sort "$work/found" >"$work/sorted" && sort "$work/sent" | cmp - "$work/sorted"
}
of_consumer_protocol() { groups --list --type consumer | awk '{ print $1 }' | sort; }
# The same in the consumer protocol: one more group of its own is of that type.
consumer_protocol() {
  of_consumer_protocol >"$work/before" && defaults --command-property group.protocol=consumer && of_consumer_protocol >"$work/after" &&
    comm -13 "$work/before" "$work/after" | grep -E '^console-consumer-[0-9]+$' >/dev/null
}
three() {
  local number
  for number in 1 2 3; do
    tool consumer.ConsoleConsumer --bootstrap-server "$bootstrap" --topic "$topic" --group "$group" --from-beginning \
      --timeout-ms 25000 --command-property auto.commit.interval.ms=500 >"$work/part-$number" 2>"$work/part-$number.err" &
    consumers+=($!)
  done
  for number in $(seq 1 60); do
    groups --describe --group "$group" --members >"$work/members" 2>&1
    # The head and three members, each with a partition of its own.
    [[ $(grep -c "^$group .* 1 *$" "$work/members") -eq 3 ]] && break
    sleep 0.5
  done
  cat "$work/members"
  [[ $(grep -c "^$group .* 1 *$" "$work/members") -eq 3 ]] || return
  groups --describe --group "$group" --state | grep -E "^$group .*Stable +3" >/dev/null || return
  for number in "${consumers[@]}"; do wait "$number"; done
  consumers=()
  cat "$work"/part-? | sort -u >"$work/sorted"
  sort "$work/sent" | cmp - "$work/sorted"
}
list() { groups --list | grep -x "$group" >/dev/null && groups --list --state Empty | grep "$group" >/dev/null; }
describe() {
  groups --describe --group "$group" >"$work/described" && cat "$work/described" &&
    awk -v topic="$topic" '$2 == topic { lag += $6; end += $5; rows++ } END { exit !(rows == 3 && lag == 0 && end == 300) }' "$work/described"
}
reset() {
  groups --group "$group" --topic "$topic" --reset-offsets --to-earliest --dry-run | awk -v topic="$topic" '$2 == topic && $4 == 0 { rows++ } END { exit rows != 3 }' &&
    describe &&
    groups --group "$group" --topic "$topic" --reset-offsets --shift-by -10 --execute >/dev/null &&
    groups --describe --group "$group" | awk -v topic="$topic" '$2 == topic { lag += $6 } END { exit lag != 30 }'
}
again() {
  tool consumer.ConsoleConsumer --bootstrap-server "$bootstrap" --topic "$topic" --group "$group" --timeout-ms 15000 >"$work/found"
  [[ $(wc -l <"$work/found") -eq 30 ]]
}
delete_offsets() {
  groups --group "$group" --delete-offsets --topic "$topic:0" &&
    groups --describe --group "$group" | awk -v topic="$topic" '$2 == topic && $4 != "-" { rows++ } END { exit rows != 2 }'
}
delete() {
  groups --delete --group "$group" | grep 'was successful' >/dev/null && ! groups --list | grep -x "$group"
}
absent() { groups --describe --group "$group-absent" 2>&1 | grep -iE "does not exist|not found" >/dev/null; }
internal() { tool TopicCommand --bootstrap-server "$bootstrap" --list --exclude-internal >"$work/topics" && ! grep -x __consumer_offsets "$work/topics"; }

check "a topic of 300 lines" prepare
check "ConsoleConsumer with its defaults" defaults
check "ConsoleConsumer with group.protocol=consumer" consumer_protocol
check "ConsoleConsumer, a group of three" three
check "ConsumerGroupCommand --list" list
check "ConsumerGroupCommand --describe" describe
check "ConsumerGroupCommand --reset-offsets" reset
check "the group reads again what it was moved back by" again
check "ConsumerGroupCommand --delete-offsets" delete_offsets
check "ConsumerGroupCommand --delete" delete
check "ConsumerGroupCommand --describe of nothing" absent
check "TopicCommand --exclude-internal" internal
echo DONE
