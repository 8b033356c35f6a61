#!/usr/bin/env bash
# A command line in a group of three, whose coordinator is killed in a rebalance and then stopped in order: it reads
# a topic fully; the next one begins where they were.
#
#   faults.sh kcat|console BOOTSTRAP RUN [JARS]
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
kind=$1
bootstrap=$2
topic=$kind-faults-$3
libs=${4:-}
work=$(mktemp -d)
members=()
trap 'for pid in "${members[@]}"; do kill "$pid" 2>/dev/null; done; wait; rm -rf "$work"' EXIT

# A reader of the group, which prints values; with "once", it ends by itself when there is nothing left.
read_by() { # MODE
  case $kind-$1 in
    kcat-*)
      local end=()
      [[ $1 == once ]] && end=(-e -q)
      exec kcat -b "$bootstrap" -G "$topic" -u "${end[@]}" -X auto.offset.reset=earliest -X session.timeout.ms=10000 \
        -X auto.commit.interval.ms=200 "$topic"
      ;;
    console-*)
      local end=()
      [[ $1 == once ]] && end=(--timeout-ms 15000)
      exec java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$libs/*" \
        org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$bootstrap" --topic "$topic" --group "$topic" \
        --from-beginning "${end[@]}" --command-property auto.commit.interval.ms=200 --command-property session.timeout.ms=10000
      ;;
  esac
}
join() { # NUMBER
  read_by on >"$work/member-$1.out" 2>"$work/member-$1.err" &
  members+=($!)
}

say() { echo "$1" >&9; }
# The stand's next line, into $answer.
heard() { # SECONDS
  read -r -t "$1" -u 9 answer || { echo "no answer from the stand"; return 1; }
  [[ $answer != wrong* ]] || { echo "$answer"; return 1; }
}

values() { # FIRST AFTER: what each partition has from one number to another
  local partition
  for partition in 0 1 2 3 4 5; do seq -f "$partition-%.0f" "$1" $(($2 - 1)); done | sort
}
have_read() { local member; for member in "$@"; do [[ -s $work/member-$member.out ]] || return; done; }
have_read_all() { sort -u "$work"/member-?.out | cmp -s - "$work/expected"; }

under_faults() {
  exec 9<>"/dev/tcp/${WALSER_STAND%:*}/${WALSER_STAND#*:}" || return
  say "group $topic"
  heard 60 || return
  join 1
  join 2
  until_holds 60 have_read 1 2 || return
  say faults
  join 3
  heard 240 || return
  local count=${answer#over }
  values 0 "$count" >"$work/expected"
  until_holds 60 have_read_all || { sort -u "$work"/member-?.out | diff - "$work/expected" | head -n 5; return 1; }
  say judge
  heard 180 || return
  verdict=$answer
  kill -TERM "${members[@]}"
  local pid
  for pid in "${members[@]}"; do wait "$pid"; done
  members=()
  say more
  heard 60 || return
  values "$count" "${answer#more }" >"$work/expected"
  (read_by once) 2>"$work/last.err" | sort >"$work/found"
  cmp "$work/found" "$work/expected"
}

if under_faults >"$work/out" 2>&1; then echo "PASS kill and restart: $verdict"; else
  echo "FAIL kill and restart: $(tail -n 1 "$work/out" | cut -c 1-250)"
  cat "$work/out" "$work"/*.err >&2
fi
echo DONE
