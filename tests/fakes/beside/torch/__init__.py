# SPDX-License-Identifier: Apache-2.0
"""What TensorRT-LLM's adapter uses of torch, which is wherever TensorRT-LLM is: a tensor made of numpy's."""

import numpy as np


class Tensor:
    """A tensor that can be looked at and no more."""

    __slots__ = ("_array",)

    def __init__(self, array) -> None:
        self._array = array

    @property
    def dtype(self) -> str:
        return f"torch.{self._array.dtype}"

    @property
    def ndim(self) -> int:
        return self._array.ndim

    def __len__(self) -> int:
        return len(self._array)

    def tolist(self) -> list:
        return self._array.tolist()


def from_numpy(array) -> Tensor:
    """Trap: no list, and nothing of another library."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    return Tensor(array)
