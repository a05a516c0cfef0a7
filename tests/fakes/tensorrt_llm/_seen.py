# SPDX-License-Identifier: Apache-2.0
"""For tests, no part of the surface: what the process had in its environment as the package was imported."""

import os

MPI_PREFIXES = ("OMPI_", "ORTE_", "PMIX_", "PMI_")
# Settings for a fresh MPI, which containers come with; the others say "you are a rank of a running job".
HARMLESS = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_MCA_", "PMIX_MCA_")
HARMFUL = ("OMPI_MCA_orte_", "OMPI_MCA_ess")

CUDA_VISIBLE_DEVICES = os.environ.get("CUDA_VISIBLE_DEVICES")
MPI_VARIABLES = {name: value for name, value in os.environ.items() if name.startswith(MPI_PREFIXES)}


def job_variables() -> list[str]:
    """Names that are set now and make the real MPI wait for a job's other ranks."""
    names = [name for name in os.environ if name.startswith(MPI_PREFIXES)]
    return sorted(name for name in names if name.startswith(HARMFUL) or not name.startswith(HARMLESS))
