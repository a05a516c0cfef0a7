# SPDX-License-Identifier: Apache-2.0
"""Measure a server: latency and throughput over a sweep of loads."""
