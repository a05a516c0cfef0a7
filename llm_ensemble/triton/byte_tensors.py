# SPDX-License-Identifier: Apache-2.0
"""Tensors of an engine stage whose environment has numpy 2, as vLLM's must.

The Python backend of tritonserver before 24.11 is built against numpy 1. In a process with numpy 2 (seen with
2.51 and numpy 2.5) its as_numpy() returns wrong values, without an error, and a tensor made of a numpy array
has a wrong size. DLPack, which numpy and torch speak without the backend's help, is right in both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

HAS_NUMPY_2 = int(np.__version__.split(".")[0]) >= 2


def read_array(tensor: Any) -> npt.NDArray[Any]:
    """Return the values of a tensor of numbers."""
    array: npt.NDArray[Any] = np.from_dlpack(tensor) if HAS_NUMPY_2 else tensor.as_numpy()
    return array


def byte_tensor(name: str, array: npt.NDArray[np.uint8]) -> Any:
    """Return a UINT8 tensor with the values of an array."""
    if not HAS_NUMPY_2:
        return pb_utils.Tensor(name, array)
    import torch  # numpy exports no array that is read-only, and writes an error for each that is not

    values = torch.frombuffer(bytearray(array), dtype=torch.uint8).reshape(array.shape)
    return pb_utils.Tensor.from_dlpack(name, values)
