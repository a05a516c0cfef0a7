# SPDX-License-Identifier: Apache-2.0
"""Bodies that nobody would send, and more clients than anybody has, for the OpenAI frontend."""
