#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Debian's Prometheus into build/prometheus, for the tests. Unpacked, not installed: an installed one starts a service.
set -eu
cd "$(dirname "$0")/.."
command -v prometheus > /dev/null && command -v promtool > /dev/null && exit 0
[ -x build/prometheus/usr/bin/prometheus ] && exit 0
mkdir -p build/prometheus
cd build/prometheus
# As root apt downloads as a user of its own, if that may write here; it says so if not, and goes on.
apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }
dpkg-deb --extract prometheus_*.deb .
rm prometheus_*.deb
