# SPDX-License-Identifier: Apache-2.0
"""Differences between TensorRT-LLM 1.2.1 and the releases 1.3.0rc24 to 1.4.0rc1, from their documentation."""

from __future__ import annotations

import re

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.errors import RequestError

PYTORCH = "the tensorrt_llm engine's PyTorch backend"
READ = "1.2.1"  # the release that the adapter was written for
LAST_WITH_ENGINES = "1.3.0rc20"  # the last release with the TensorRT backend

# Features that the PyTorch backend's sampler (TorchSampler) has, with the oldest release whose documentation
# was seen to list them. Releases between 1.2 and that one may have them, too, where they are rejected all the
# same.
NEVER = None
SAMPLER_SINCE = {
    "min_p": "1.3.0rc24",
    "seed": "1.3.0rc24",  # before, one generator draws for all requests
    "top_log_probs": NEVER,  # no documentation that was seen says that it gives more than one
    "repetition_penalty": "1.3.0rc24",
    "presence_penalty": "1.3.0rc24",
    "frequency_penalty": "1.3.0rc24",
    "bad_words": NEVER,
}
DRAWN_LOG_PROBS_SINCE = "1.3.0rc24"  # before, only the most probable token has a log probability


def sampler_lacks(version: str) -> dict[str, str]:
    """Return what the PyTorch backend's sampler of a release lacks. A seed that was drawn here is no seed."""
    return {
        name: f"{PYTORCH} has none{_before(since, version)}; leave it out"
        for name, since in SAMPLER_SINCE.items()
        if not _has(since, version)
    }


def check_drawn_log_probs(sampling: Sampling, version: str) -> None:
    """Raise RequestError if the PyTorch backend has no log probabilities for tokens that are drawn."""
    if sampling.log_probs and not sampling.greedy and not _has(DRAWN_LOG_PROBS_SINCE, version):
        release = _before(DRAWN_LOG_PROBS_SINCE, version)
        raise RequestError(
            "return_log_probs", f"{PYTORCH} has none for tokens that are drawn{release}; leave it out"
        )


def _before(since: str | None, version: str) -> str:
    return f" before TensorRT-LLM {since} (here is {version})" if since else ""


def _has(since: str | None, version: str) -> bool:
    return since is not None and _release(version) >= _release(since)


def _release(version: str) -> tuple[int, ...]:
    """Return major, minor, patch and release candidate; a release sorts after all of its candidates."""
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?(?:rc(\d+))?", version)
    if not found:
        return (0,)
    major, minor, patch, candidate = found.groups()
    return int(major), int(minor), int(patch or 0), int(candidate) if candidate else 2**31
