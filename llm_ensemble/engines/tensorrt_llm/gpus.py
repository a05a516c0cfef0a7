# SPDX-License-Identifier: Apache-2.0
"""Environment variables of a process that must be set before it imports TensorRT-LLM."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from llm_ensemble.engines.gpu_groups import visible_devices
from llm_ensemble.engines.tensorrt_llm.settings import TensorRtLlmSettings

# In a process started under mpirun, or by a job scheduler with PMIx, these variables make TensorRT-LLM's MPI
# a rank of that job, which waits for the others. NVIDIA's llmapi model removes the same families.
JOB_PREFIXES = ("OMPI_", "ORTE_", "PMIX_", "PMI_")
# These configure MPI itself, in images, and are kept; the two below them belong to a job all the same.
TUNING_PREFIXES = ("OMPI_MCA_", "PMIX_MCA_", "OMPI_ALLOW_RUN_AS_ROOT")
JOB_TUNING_PREFIXES = ("OMPI_MCA_orte_", "OMPI_MCA_ess_")

# TensorRT-LLM 1.3 and later reports usage to NVIDIA by default; the other two keep the libraries below it
# from requests to the Hugging Face hub. A served model is on the disk, and docs/security.md promises that no
# connections are opened.
OFFLINE = {"TRTLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def claim_gpus(
    settings: TensorRtLlmSettings, instance: int, environ: MutableMapping[str, str] = os.environ
) -> None:
    """Make only the GPUs of this instance visible to the process and its children; turn network access off.

    To be called before the import, since children of a process that has opened CUDA see the same GPUs.
    Newer releases pass TRTLLM_VISIBLE_DEVICES on to workers; NVIDIA's llmapi model sets both alike
    (PR 11153).
    """
    environ.update(OFFLINE)
    for name in [name for name in environ if _belongs_to_job(name)]:
        del environ[name]
    if devices := visible_devices(settings.gpu_groups, instance, environ):
        environ["CUDA_VISIBLE_DEVICES"] = environ["TRTLLM_VISIBLE_DEVICES"] = devices


def _belongs_to_job(name: str) -> bool:
    if name.startswith(TUNING_PREFIXES):
        return name.startswith(JOB_TUNING_PREFIXES)
    return name.startswith(JOB_PREFIXES)
