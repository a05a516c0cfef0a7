# SPDX-License-Identifier: Apache-2.0
"""OpenAI's API in front of Triton, and a page to talk to the model."""
