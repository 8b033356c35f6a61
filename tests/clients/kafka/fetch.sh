#!/usr/bin/env bash
# Fetches Kafka's own jars (broker, clients, command lines) into tests/cache/kafka/libs.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
libs=${WALSER_TESTS_CACHE:-$here/../../cache}/kafka/libs
if [[ -z $(ls "$libs"/kafka_2.13-*.jar 2>/dev/null) ]]; then
  mkdir -p "$libs"
  libs=$(cd "$libs" && pwd)
  mvn -q -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$libs" >&2
fi
(cd "$libs" && pwd)
