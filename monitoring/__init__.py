# SPDX-License-Identifier: Apache-2.0
"""Monitoring: Prometheus' configuration and alert rules, Grafana's dashboard, and a picture of it."""
