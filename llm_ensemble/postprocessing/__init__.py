# SPDX-License-Identifier: Apache-2.0
"""From chunks of token ids to text."""
