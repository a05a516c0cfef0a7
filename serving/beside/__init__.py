# SPDX-License-Identifier: Apache-2.0
"""What stands beside tritonserver while it serves: the OpenAI frontend, and a proxy for IPv4."""
