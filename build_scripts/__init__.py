# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint to a running server: one file a step, the commands runnable alone."""
