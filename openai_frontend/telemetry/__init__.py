# SPDX-License-Identifier: Apache-2.0
"""What the frontend tells of itself: metrics, and a line of the log for each request."""
