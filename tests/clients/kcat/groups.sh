#!/usr/bin/env bash
# kcat -G: three members share three topics, read all of them, leave; the next member begins where they were.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../checks.sh"
bootstrap=$1
run=$2
work=$(mktemp -d)
members=()
trap 'for pid in "${members[@]}"; do kill "$pid" 2>/dev/null; done; wait; rm -rf "$work"' EXIT
# A topic made by asking for it may have one partition: three topics, dealt out one by one.
topics=("kcat-group-$run-a" "kcat-group-$run-b" "kcat-group-$run-c")
group=kcat-group-$run
settings=(-X auto.offset.reset=earliest -X partition.assignment.strategy=roundrobin -X session.timeout.ms=10000
  -X auto.commit.interval.ms=200 -X allow.auto.create.topics=true)

produce() { # FIRST COUNT
  local topic
  for topic in "${topics[@]}"; do
    seq -f "$topic %g" "$1" $(($1 + $2 - 1)) >"$work/round"
    cat "$work/round" >>"$work/sent"
    timeout 60 kcat -b "$bootstrap" -P -t "$topic" -X acks=all -l "$work/round" || return
  done
}

# What a member has: the topics of its last assignment.
assigned_of() { grep 'assigned:' "$1" | tail -n 1 | grep -o "kcat-group-$run-[abc]" | sort -u; }
dealt() {
  local number
  : >"$work/dealt"
  for number in 1 2 3; do
    [[ $(assigned_of "$work/member-$number.err" | wc -l) -eq 1 ]] || return 1
    assigned_of "$work/member-$number.err" >>"$work/dealt"
  done
  [[ $(sort -u "$work/dealt" | wc -l) -eq 3 ]]
}
has_read() { [[ $(cat "$work"/member-?.out | wc -l) -ge $1 ]]; }
same() { sort "$1" >"$work/left" && sort "$2" | cmp "$work/left" -; }

share() {
  : >"$work/sent"
  produce 1 1 || return
  local number
  for number in 1 2 3; do
    kcat -b "$bootstrap" -G "$group" -u "${settings[@]}" "${topics[@]}" >"$work/member-$number.out" 2>"$work/member-$number.err" &
    members+=($!)
  done
  until_holds 60 dealt
}
read_all() {
  produce 2 200 || return
  until_holds 60 has_read 603 || return
  cat "$work"/member-?.out >"$work/found"
  same "$work/sent" "$work/found"
}
# SIGTERM makes kcat commit and leave.
leave() {
  kill -TERM "${members[@]}"
  local pid
  for pid in "${members[@]}"; do wait "$pid"; done
  members=()
}
come_back() {
  : >"$work/sent"
  produce 300 20 || return
  timeout 60 kcat -b "$bootstrap" -G "$group" -e -q "${settings[@]}" "${topics[@]}" >"$work/found" || return
  same "$work/sent" "$work/found"
}
start_over() {
  timeout 60 kcat -b "$bootstrap" -G "$group-other" -e -q "${settings[@]}" "${topics[@]}" >"$work/found" || return
  [[ $(wc -l <"$work/found") -eq 663 ]]
}

check "three members share" share
check "three members read everything once" read_all
check "members leave" leave
check "the next member begins where they were" come_back
check "another group begins at the start" start_over
echo DONE
