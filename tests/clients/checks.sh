# What the checks of command lines share: sourced by them, with their folder in $work.

check() { # NAME COMMAND...: passes when the command does
  local name=$1
  shift
  if "$@" >"$work/out" 2>&1; then echo "PASS $name"; else
    # A stack trace says less than what is above it.
    echo "FAIL $name: $(grep -v '^\s*at ' "$work/out" | tail -n 1 | cut -c 1-250)"
    cat "$work/out" >&2
  fi
}

until_holds() { # SECONDS COMMAND...: looks every 200 ms whether it holds
  local left=$(($1 * 5))
  shift
  until "$@"; do
    left=$((left - 1))
    [[ $left -gt 0 ]] || { echo "not in time: $*"; return 1; }
    sleep 0.2
  done
}
