#!/usr/bin/env bash
# Kafka's own command lines, run from its jars.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../checks.sh"
# No `grep -q` behind a pipe: it ends early, and what still writes into the pipe fails.
bootstrap=$1
topic=tools-$2
libs=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
seq -f 'line %g' 1 300 >"$work/sent"

tool() { # CLASS ARGS...
  timeout 90 java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$libs/*" "org.apache.kafka.tools.$@"
}

create() { tool TopicCommand --bootstrap-server "$bootstrap" --create --topic "$topic" --partitions 2; }
list() { tool TopicCommand --bootstrap-server "$bootstrap" --list | grep -x "$topic" >/dev/null; }
describe() {
  tool TopicCommand --bootstrap-server "$bootstrap" --describe --topic "$topic" >"$work/described" &&
    [[ $(grep -c 'Leader: [1-9]' "$work/described") -eq 2 ]]
}
alter() { tool TopicCommand --bootstrap-server "$bootstrap" --alter --topic "$topic" --partitions 3; }
produce() { tool ConsoleProducer --bootstrap-server "$bootstrap" --topic "$topic" --reader-property parse.key=false <"$work/sent"; }
# The console producer spreads lines over partitions: each is read by itself, then all are compared.
consume() {
  : >"$work/found"
  local partition count
  for partition in 0 1 2; do
    count=$(tool GetOffsetShell --bootstrap-server "$bootstrap" --topic-partitions "$topic:$partition" | awk -F: '{ print $3 }')
    [[ $count -eq 0 ]] && continue
    tool consumer.ConsoleConsumer --bootstrap-server "$bootstrap" --topic "$topic" --partition "$partition" --offset earliest \
      --max-messages "$count" --timeout-ms 30000 >>"$work/found" || return
  done
  sort "$work/found" >"$work/found.sorted"
  sort "$work/sent" | cmp - "$work/found.sorted"
}
offsets() {
  local sum
  sum=$(tool GetOffsetShell --bootstrap-server "$bootstrap" --topic "$topic" | awk -F: '{ sum += $3 } END { print sum }')
  [[ $sum -eq 300 ]]
}
configs() {
  local command=kafka.admin.ConfigCommand
  config() { timeout 90 java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$libs/*" $command --bootstrap-server "$bootstrap" "$@"; }
  config --alter --entity-type topics --entity-name "$topic" --add-config retention.ms=5000000 || return
  config --describe --entity-type topics --entity-name "$topic" | grep 'retention.ms=5000000' >/dev/null
}
performance() {
  tool ProducerPerformance --topic "$topic" --num-records 5000 --record-size 500 --throughput -1 \
    --bootstrap-server "$bootstrap" --command-property acks=all | tee "$work/performance" | grep '^5000 records sent' >/dev/null
}
verifiable() {
  tool VerifiableProducer --bootstrap-server "$bootstrap" --topic "$topic" --max-messages 500 --acks -1 >"$work/verifiable" &&
    grep -q '"acked":500' "$work/verifiable"
}
versions() { tool BrokerApiVersionsCommand --bootstrap-server "$bootstrap" | grep 'Produce(0)' >/dev/null; }
cluster_id() { tool ClusterTool cluster-id --bootstrap-server "$bootstrap" | grep 'Cluster ID: .' >/dev/null; }
delete_records() {
  printf '{"partitions":[{"topic":"%s","partition":0,"offset":1}],"version":1}' "$topic" >"$work/delete.json"
  tool DeleteRecordsCommand --bootstrap-server "$bootstrap" --offset-json-file "$work/delete.json" | grep 'low_watermark: 1' >/dev/null
}
log_dirs() { tool LogDirsCommand --bootstrap-server "$bootstrap" --describe --topic-list "$topic" | grep "\"$topic-0\"" >/dev/null; }
elect() { tool LeaderElectionCommand --bootstrap-server "$bootstrap" --election-type preferred --topic "$topic" --partition 0; }
delete() {
  tool TopicCommand --bootstrap-server "$bootstrap" --delete --topic "$topic" &&
    tool TopicCommand --bootstrap-server "$bootstrap" --list >"$work/left" && ! grep -qx "$topic" "$work/left"
}

check "TopicCommand --create" create
check "TopicCommand --list" list
check "TopicCommand --describe" describe
check "TopicCommand --alter" alter
check "ConsoleProducer" produce
check "ConsoleConsumer --partition --offset" consume
check "GetOffsetShell" offsets
check "ConfigCommand" configs
check "ProducerPerformance" performance
check "VerifiableProducer" verifiable
check "BrokerApiVersionsCommand" versions
check "ClusterTool" cluster_id
check "DeleteRecordsCommand" delete_records
check "LogDirsCommand" log_dirs
check "LeaderElectionCommand" elect
check "TopicCommand --delete" delete
echo DONE
