#!/usr/bin/env bash
# kcat (an old librdkafka): list, produce with every codec, consume by offset.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../checks.sh"
# No `grep -q` behind a pipe: it ends early, and what still writes into the pipe fails.
bootstrap=$1
run=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Pipes of the topic's own lines: no two are equal.
seq 1 500 | awk '{ printf "k%d:", $1; for (i = 0; i < $1 % 40; i++) printf "value-%d ", $1; print "end" }' >"$work/sent"

list() { timeout 20 kcat -b "$bootstrap" -L -m 10 | tee "$work/list" | grep -E '^ [0-9]+ brokers:' >/dev/null; }
list_json() { timeout 20 kcat -b "$bootstrap" -L -J -m 10 | grep '"brokers":\[{"id":' >/dev/null; }
produce() { timeout 60 kcat -b "$bootstrap" -P -t "kcat-$run-$1" -p 0 -K : -z "$1" -X acks=all -X message.timeout.ms=30000 -l "$work/sent"; }
consume() {
  timeout 60 kcat -b "$bootstrap" -C -t "kcat-$run-$1" -p 0 -o beginning -e -q -K : -X check.crcs=true >"$work/found" && cmp "$work/sent" "$work/found"
}
idempotent() {
  timeout 60 kcat -b "$bootstrap" -P -t "kcat-$run-idempotent" -p 0 -K : -X enable.idempotence=true -l "$work/sent" &&
    timeout 60 kcat -b "$bootstrap" -C -t "kcat-$run-idempotent" -p 0 -o beginning -e -q -K : >"$work/found" && cmp "$work/sent" "$work/found"
}
from_offset() {
  timeout 60 kcat -b "$bootstrap" -C -t "kcat-$run-none" -p 0 -o 490 -e -q -K : >"$work/found" && tail -n 10 "$work/sent" | cmp - "$work/found"
}
last_three() {
  timeout 60 kcat -b "$bootstrap" -C -t "kcat-$run-none" -p 0 -o -3 -e -q -K : >"$work/found" && tail -n 3 "$work/sent" | cmp - "$work/found"
}
query() { timeout 20 kcat -b "$bootstrap" -Q -t "kcat-$run-none:0:-1" | grep 'offset 500' >/dev/null; }
headers() {
  echo with-headers | timeout 60 kcat -b "$bootstrap" -P -t "kcat-$run-headers" -p 0 -H a=1 -H b=2 &&
    [[ $(timeout 60 kcat -b "$bootstrap" -C -t "kcat-$run-headers" -p 0 -o beginning -e -q -f '%h %s %o') == "a=1,b=2 with-headers 0" ]]
}
tombstone() {
  printf 'key:\n' | timeout 60 kcat -b "$bootstrap" -P -t "kcat-$run-tombstone" -p 0 -K : -Z &&
    [[ $(timeout 60 kcat -b "$bootstrap" -C -t "kcat-$run-tombstone" -p 0 -o beginning -e -q -f '%k %S') == "key -1" ]]
}

# Some builds of librdkafka lack libzstd: what they cannot send says nothing about the broker.
features=$(kcat -V 2>&1 | sed -n 's/.*builtin\.features=\([a-z0-9_,]*\).*/\1/p')

check "list" list
check "list as JSON" list_json
for codec in none gzip snappy lz4 zstd; do
  if [[ $codec == zstd && -n $features && ,$features, != *,zstd,* ]]; then
    echo "SKIP produce zstd: this kcat was built without zstd"
    continue
  fi
  check "produce $codec" produce "$codec"
  check "consume $codec" consume "$codec"
done
check "produce and consume, idempotent" idempotent
check "consume from an offset" from_offset
check "consume the last three" last_three
check "query the latest offset" query
check "headers" headers
check "tombstone" tombstone
echo DONE
