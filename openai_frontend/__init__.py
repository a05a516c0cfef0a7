# SPDX-License-Identifier: Apache-2.0
"""OpenAI's API in front of the ensemble: a process beside Triton that asks it over gRPC."""
