# SPDX-License-Identifier: Apache-2.0
"""For tests, not part of the real package: the environment of the process at import."""

import os

MPI_PREFIXES = ("OMPI_", "ORTE_", "PMIX_", "PMI_")
# Settings for a new MPI job, as containers have them; the others mark a rank of a running job.
HARMLESS = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_MCA_", "PMIX_MCA_")
HARMFUL = ("OMPI_MCA_orte_", "OMPI_MCA_ess")

CUDA_VISIBLE_DEVICES = os.environ.get("CUDA_VISIBLE_DEVICES")
TRTLLM_VISIBLE_DEVICES = os.environ.get("TRTLLM_VISIBLE_DEVICES")
OFFLINE = {name: os.environ.get(name) for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
MPI_VARIABLES = {name: value for name, value in os.environ.items() if name.startswith(MPI_PREFIXES)}


def job_variables() -> list[str]:
    """Return the names that are set now and make the real MPI wait for a job's other ranks."""
    names = [name for name in os.environ if name.startswith(MPI_PREFIXES)]
    return sorted(name for name in names if name.startswith(HARMFUL) or not name.startswith(HARMLESS))
