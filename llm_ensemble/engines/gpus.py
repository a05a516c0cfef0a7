# SPDX-License-Identifier: Apache-2.0
"""What must be so in a process's environment before TensorRT-LLM is imported in it."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from llm_ensemble.settings import GpuSettings

# A process started under mpirun, or by a job scheduler with PMIx, looks to the MPI of TensorRT-LLM like a
# rank of that job, and it would wait for the others. NVIDIA's llmapi model removes the same families.
JOB = ("OMPI_", "ORTE_", "PMIX_", "PMI_")
TUNING = ("OMPI_MCA_", "PMIX_MCA_", "OMPI_ALLOW_RUN_AS_ROOT")  # how MPI is to work, in images; no job's
JOB_ALL_THE_SAME = ("OMPI_MCA_orte_", "OMPI_MCA_ess_")


def claim_gpus(settings: GpuSettings, instance: int, environ: MutableMapping[str, str] = os.environ) -> None:
    """Show this process the GPUs of its instance alone, as the children it spawns will see them.

    Before the import, since children of a process that has opened CUDA keep to the GPUs it saw. A number
    means the n-th of those that CUDA_VISIBLE_DEVICES shows already, where it is set.
    """
    for name in [name for name in environ if _is_of_a_job(name)]:
        del environ[name]
    if settings.gpu_groups:
        visible = [gpu for gpu in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
        group = settings.gpu_groups[instance]
        environ["CUDA_VISIBLE_DEVICES"] = ",".join(visible[gpu] if visible else str(gpu) for gpu in group)


def _is_of_a_job(name: str) -> bool:
    return name.startswith(JOB_ALL_THE_SAME) or (name.startswith(JOB) and not name.startswith(TUNING))
