# SPDX-License-Identifier: Apache-2.0
"""What watches the server: Prometheus' configuration and rules, Grafana's dashboard, and a picture of it."""
