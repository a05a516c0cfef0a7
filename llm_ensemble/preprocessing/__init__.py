# SPDX-License-Identifier: Apache-2.0
"""From a request's raw fields to token ids."""
