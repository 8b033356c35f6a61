#!/usr/bin/env bash
# Real clients against a broker: one line per (client, check), then the sums.
#
#   run.sh --bootstrap HOST:PORT[,...] [--open 'CLIENT CHECK']... [--fast] [CLIENT...]
#
# --fast: of the groups whose coordinator is killed, those of four suites only (some minutes less).
# --open: a check that is known to fail. It runs and is counted apart; once it passes, or does not
# run though its client does, the run fails, so that the list stays true.
# CLIENT: all when none is named: confluent kafka-python aiokafka kcat java java-tools go; in groups: confluent-groups
# kafka-python-groups aiokafka-groups kcat-groups java-groups java-group-tools go-groups kafkajs-groups
# platformatic-groups sarama-groups rdkafka-groups; in groups whose coordinator is killed in a rebalance and then
# stopped in order: confluent-faults kafka-python-faults aiokafka-faults kcat-faults java-faults java-consumer-faults
# java-tools-faults go-faults kafkajs-faults platformatic-faults sarama-faults rdkafka-faults. The
# faults are those of the stand that runs this.
# What is missing is installed by package name into tests/cache (WALSER_TESTS_CACHE moves it).
# Exit code: 0 all passed, 1 something failed, 2 usage.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${WALSER_TESTS_CACHE:-$here/../cache}
mkdir -p "$cache" && cache=$(cd "$cache" && pwd)
bootstrap=
fast=
clients=()
declare -A open=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --bootstrap) bootstrap=${2:?}; shift 2 ;;
    --open) open[${2:?}]=unseen; shift 2 ;;
    --fast) fast=true; shift ;;
    -h | --help) sed -n '2,16p' "${BASH_SOURCE[0]}"; exit 0 ;;
    -*) echo "unknown option $1" >&2; exit 2 ;;
    *) clients+=("$1"); shift ;;
  esac
done
[[ -n $bootstrap ]] || { sed -n '2,16p' "${BASH_SOURCE[0]}" >&2; exit 2; }
[[ ${#clients[@]} -gt 0 ]] || {
  clients=(confluent kafka-python aiokafka kcat java java-tools go)
  clients+=(confluent-groups kafka-python-groups aiokafka-groups kcat-groups java-groups java-group-tools go-groups)
  clients+=(kafkajs-groups platformatic-groups sarama-groups rdkafka-groups)
  clients+=(confluent-faults java-faults java-consumer-faults go-faults)
  if [[ -z $fast ]]; then
    clients+=(kafka-python-faults aiokafka-faults kcat-faults java-tools-faults kafkajs-faults platformatic-faults)
    clients+=(sarama-faults rdkafka-faults)
  fi
}
# Topics of one run never meet those of another.
run=$(date +%s)-$$
log=$cache/logs/$run
mkdir -p "$log"

venv() {
  [[ -x $cache/venv/bin/python && -e $cache/venv/complete ]] && return
  python3 -m venv "$cache/venv" &&
    "$cache/venv/bin/pip" -q install confluent-kafka kafka-python aiokafka cramjam python-snappy lz4 zstandard &&
    touch "$cache/venv/complete"
} >&2

# Each prepares what it needs, then prints lines "PASS check", "FAIL check: why", or "SKIP check: why" where the client
# itself was built without what the check needs.
run_confluent() { venv && timeout 300 "$cache/venv/bin/python" "$here/python/confluent.py" "$bootstrap" "$run"; }
run_kafka-python() { venv && timeout 300 "$cache/venv/bin/python" "$here/python/kafka_python.py" "$bootstrap" "$run"; }
run_aiokafka() { venv && timeout 300 "$cache/venv/bin/python" "$here/python/aiokafka_client.py" "$bootstrap" "$run"; }
run_kcat() {
  command -v kcat >/dev/null || apt-get install -y -q kcat >&2 || return
  timeout 300 "$here/kcat/run.sh" "$bootstrap" "$run"
}
run_kcat-groups() {
  command -v kcat >/dev/null || apt-get install -y -q kcat >&2 || return
  timeout 400 "$here/kcat/groups.sh" "$bootstrap" "$run"
}
run_kcat-faults() {
  command -v kcat >/dev/null || apt-get install -y -q kcat >&2 || return
  timeout 400 "$here/faults.sh" kcat "$bootstrap" "$run"
}
python_groups() { venv && timeout 900 "$cache/venv/bin/python" "$here/python/$1" "$bootstrap" "$run" "${@:2}"; }
run_confluent-groups() { python_groups confluent_groups.py; }
run_kafka-python-groups() { python_groups kafka_python_groups.py; }
run_aiokafka-groups() { python_groups aiokafka_groups.py; }
run_confluent-faults() { python_groups confluent_groups.py faults; }
run_kafka-python-faults() { python_groups kafka_python_groups.py faults; }
run_aiokafka-faults() { python_groups aiokafka_groups.py faults; }
java_class() { # CLASS SECONDS ARGS...
  local libs
  libs=$("$here/kafka/fetch.sh") || return
  mkdir -p "$cache/java"
  javac -d "$cache/java" -cp "$libs/*" "$here"/java/src/main/java/walser/*.java >&2 || return
  timeout "$2" java -Xmx256m -cp "$cache/java:$libs/*" "walser.$1" "$bootstrap" "$run" "${@:3}"
}
run_java() { java_class Client 400; }
run_java-groups() { java_class Groups 900; }
run_java-faults() { java_class GroupFaults 400; }
run_java-consumer-faults() { java_class GroupFaults 600 consumer; }
run_java-group-tools() {
  local libs
  libs=$("$here/kafka/fetch.sh") || return
  timeout 900 "$here/java/group_tools.sh" "$bootstrap" "$run" "$libs"
}
run_java-tools-faults() {
  local libs
  libs=$("$here/kafka/fetch.sh") || return
  timeout 400 "$here/faults.sh" console "$bootstrap" "$run" "$libs"
}
run_java-tools() {
  local libs
  libs=$("$here/kafka/fetch.sh") || return
  timeout 400 "$here/java/tools.sh" "$bootstrap" "$run" "$libs"
}
go_client() { (cd "$here/go" && go build -o "$cache/go-client" . >&2) && timeout "$1" "$cache/go-client" "$bootstrap" "$run" "${@:2}"; }
run_go() { go_client 300; }
run_go-groups() { go_client 400 groups; }
run_go-faults() { go_client 400 faults; }

sarama_client() { (cd "$here/sarama" && go build -o "$cache/sarama-client" . >&2) && timeout 400 "$cache/sarama-client" "$bootstrap" "$run" "$@"; }
run_sarama-groups() { sarama_client; }
run_sarama-faults() { sarama_client faults; }
# Of this workspace, which has rdkafka for its own tests: with the build that the stand belongs to, it is there already.
rdkafka_client() {
  local root target
  root=$(cd "$here/../.." && pwd)
  target=${CARGO_TARGET_DIR:-$root/target}/release/rdkafka-groups
  [[ -x $target ]] || (cd "$root" && cargo build -q --release -p tests --bin rdkafka-groups) >&2 || return
  timeout 600 "$target" "$bootstrap" "$run" "$@"
}
run_rdkafka-groups() { rdkafka_client; }
run_rdkafka-faults() { rdkafka_client faults; }
# node_modules stands beside what imports it.
node_client() { # SCRIPT SECONDS ARGS...
  mkdir -p "$cache/node" && cp "$here"/node/* "$cache/node/" || return
  if ! cmp -s "$here/node/package-lock.json" "$cache/node/installed"; then
    (cd "$cache/node" && npm ci --no-audit --no-fund >&2) && cp "$here/node/package-lock.json" "$cache/node/installed" || return
  fi
  timeout "$2" node "$cache/node/$1" "$bootstrap" "$run" "${@:3}"
}
run_kafkajs-groups() { node_client kafkajs.mjs 400; }
run_kafkajs-faults() { node_client kafkajs.mjs 400 faults; }
run_platformatic-groups() { node_client platformatic.mjs 400; }
run_platformatic-faults() { node_client platformatic.mjs 400 faults; }

passed=0
failed=0
known=0
skipped=0
# judge CLIENT LINE: one line of a client's output.
judge() {
  local client=$1 verdict=${2%% *} rest=${2#* }
  local name="$client ${rest%%: *}"
  local listed=${open[$name]:-}
  [[ -z $listed ]] || open[$name]=seen
  case $verdict-$listed in
    PASS-) echo "pass  $client  $rest"; passed=$((passed + 1)) ;;
    SKIP-) echo "skip  $client  $rest"; skipped=$((skipped + 1)) ;;
    FAIL-) echo "FAIL  $client  $rest"; failed=$((failed + 1)) ;;
    PASS-*) echo "FAIL  $client  $rest: passes, but is listed as open"; failed=$((failed + 1)) ;;
    SKIP-*) echo "FAIL  $client  $rest: skipped, but is listed as open"; failed=$((failed + 1)) ;;
    FAIL-*) echo "OPEN  $client  $rest"; known=$((known + 1)) ;;
  esac
}

for client in "${clients[@]}"; do
  declare -F "run_$client" >/dev/null || { echo "unknown client $client" >&2; exit 2; }
  began=$SECONDS
  if [[ $client == *-faults && -z ${WALSER_STAND:-} ]]; then
    printf '%s\n' "SKIP kill and restart: only the stand makes faults" DONE >"$log/$client.out"
    code=0
  else
    "run_$client" 2>"$log/$client.err" >"$log/$client.out"
    code=$?
  fi
  while IFS= read -r line; do
    [[ $line == "PASS "* || $line == "FAIL "* || $line == "SKIP "* ]] && judge "$client" "$line"
  done <"$log/$client.out"
  # A client that dies half way, or does nothing at all, has not passed.
  if [[ $code -ne 0 ]] || ! grep -q '^DONE$' "$log/$client.out"; then
    echo "FAIL  $client  did not finish: exit $code, $(tail -n 1 "$log/$client.err" | cut -c 1-200) ($log/$client.err)"
    failed=$((failed + 1))
  fi
  echo "time  $client  $((SECONDS - began)) s"
  for name in "${!open[@]}"; do
    if [[ ${name%% *} == "$client" && ${open[$name]} == unseen ]]; then
      echo "FAIL  $name: listed as open, but there is no such check"
      failed=$((failed + 1))
    fi
  done
done
echo "$passed passed, $failed failed, $known known to fail, $skipped skipped"
[[ $failed -eq 0 && $passed -gt 0 ]]
