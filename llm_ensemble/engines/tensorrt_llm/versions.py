# SPDX-License-Identifier: Apache-2.0
"""Differences between TensorRT-LLM 1.2.1 and the releases 1.3.0rc24 to 1.4.0rc1, from their documentation."""

from __future__ import annotations

import re

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.errors import RequestError

LAST_WITH_ENGINES = "1.3.0rc20"  # the last release with the TensorRT backend

# Fields that the PyTorch backend's sampler (TorchSampler) supports, with the oldest release whose
# documentation was seen to list them. Releases between 1.2 and that one may support them, too, where they are
# rejected all the same.
NEVER = None
SAMPLER_SINCE = {
    "min_p": "1.3.0rc24",
    "seed": "1.3.0rc24",  # before, one generator draws for all requests
    "return_log_probs": "1.3.0rc24",  # of sampled tokens: before, only the most probable token has one
    "top_log_probs": NEVER,  # no documentation that was seen says that it gives more than one
    "repetition_penalty": "1.3.0rc24",
    "presence_penalty": "1.3.0rc24",
    "frequency_penalty": "1.3.0rc24",
    "bad_words": NEVER,
}


def check_pytorch_sampling(sampling: Sampling, version: str) -> None:
    """Raise RequestError for the first field that the PyTorch backend of this release does not support.

    A seed that the client did not send is ignored: each request has one.
    """
    if sampling.beam_width > 1:
        raise RequestError(
            "beam_width",
            "the tensorrt_llm engine's PyTorch backend searches all requests with one width, so it is left "
            "with none; leave it out",
        )
    requested = {
        "min_p": sampling.min_p != 0,
        "seed": bool(sampling.seed_field),
        "return_log_probs": sampling.log_probs and not sampling.greedy,
        "top_log_probs": sampling.top_log_probs != 0,
        "repetition_penalty": sampling.repetition_penalty != 1,
        "presence_penalty": sampling.presence_penalty != 0,
        "frequency_penalty": sampling.frequency_penalty != 0,
        "bad_words": bool(sampling.bad_words),
    }
    for name, is_set in requested.items():
        if is_set and not _has(SAMPLER_SINCE[name], version):
            _reject(name, sampling, version)


def _reject(name: str, sampling: Sampling, version: str) -> None:
    field = sampling.seed_field if name == "seed" else name
    where = " for tokens that are drawn" if name == "return_log_probs" else ""
    since = SAMPLER_SINCE[name]
    release = f" before TensorRT-LLM {since} (here is {version})" if since else ""
    raise RequestError(
        field, f"the tensorrt_llm engine's PyTorch backend has none{where}{release}; leave it out"
    )


def _has(since: str | None, version: str) -> bool:
    return since is not None and _release(version) >= _release(since)


def _release(version: str) -> tuple[int, ...]:
    """Return major, minor, patch and release candidate; a release sorts after all of its candidates."""
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?(?:rc(\d+))?", version)
    if not found:
        return (0,)
    major, minor, patch, candidate = found.groups()
    return int(major), int(minor), int(patch or 0), int(candidate) if candidate else 2**31
