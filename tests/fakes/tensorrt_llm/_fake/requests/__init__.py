# SPDX-License-Identifier: Apache-2.0
"""A request to the fake: its parameters, their check, and its outputs."""
