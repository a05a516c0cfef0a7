# SPDX-License-Identifier: Apache-2.0
"""OpenAI's API beside tritonserver, and a page to talk to the model; `serve` starts it."""
