#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Debian's Prometheus into build/prometheus, for the tests. Unpacked, not installed: an installed one starts a service.
# Where that fails it says in one line why, and exits with 1.
set -u
cd "$(dirname "$0")/.."
command -v prometheus > /dev/null && command -v promtool > /dev/null && exit 0
[ -x build/prometheus/usr/bin/prometheus ] && exit 0

fail() {
  echo "get_prometheus: $1" >&2
  exit 1
}

command -v apt-get > /dev/null && command -v dpkg-deb > /dev/null ||
  fail "no apt-get and dpkg-deb here: install prometheus and promtool (https://prometheus.io/download)"

# As root, apt downloads as another user if that may write here; if not, it says so and goes on. No retries: without a
# network this must not take long.
download() {
  apt-get -qq -o Acquire::Retries=0 -o Acquire::http::Timeout=15 -o Acquire::https::Timeout=15 "$@" 2> apt.log
}

mkdir -p build/prometheus && cd build/prometheus || fail "build/prometheus cannot be made"
download download prometheus || { download update && download download prometheus; } ||
  fail "apt-get could not download prometheus: $(tail -n 1 apt.log)"
dpkg-deb --extract prometheus_*.deb . || fail "prometheus_*.deb in build/prometheus cannot be unpacked"
rm prometheus_*.deb apt.log
