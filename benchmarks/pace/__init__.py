# SPDX-License-Identifier: Apache-2.0
"""An engine that computes nothing, to measure what lies around an engine."""
