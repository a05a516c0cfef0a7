# SPDX-License-Identifier: Apache-2.0
"""Raw text in, raw text out: the logic behind the Triton model repository.

Everything here imports without Triton; only triton/ knows pb_utils, only engines/ knows an engine.
"""
