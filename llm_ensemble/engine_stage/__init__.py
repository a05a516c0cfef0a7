# SPDX-License-Identifier: Apache-2.0
"""The engine stage: requests in, numbered streams of chunks of token ids out."""
