"""Ports: how tensors become what an environment takes, and back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class NumpyPort:
    """The arrays of a space of gymnasium.

    dtype: Their dtype.
    is_scalar: Whether an action is a number instead of an array.
    low: Their lower bounds, to which rounding must not lead; None without bounds.
    high: Their upper bounds.
    """

    dtype: Any
    is_scalar: bool = False
    low: Any = None
    high: Any = None

    @property
    def value_dtype(self) -> torch.dtype:
        """The dtype of values that come back."""
        return torch.get_default_dtype() if np.issubdtype(self.dtype, np.floating) else torch.int64

    def to_env(self, value: Tensor) -> Any:
        """Return a tensor as an array."""
        value = value.detach().cpu()
        array = (value.float() if value.dtype == torch.bfloat16 else value).numpy().astype(self.dtype)
        if self.low is not None:
            array = np.asarray(np.clip(array, self.low, self.high, dtype=self.dtype))
        return array[()] if self.is_scalar else array

    def from_env(self, action: Any) -> Tensor:
        """Return an array as a tensor."""
        return torch.as_tensor(np.asarray(action)).to(self.value_dtype)


@dataclass(frozen=True, eq=False)
class TensorPort:
    """The tensors of a spec of torchrl.

    dtype: Their dtype.
    low: Their lower bounds, to which rounding must not lead; None without bounds.
    high: Their upper bounds.
    """

    dtype: torch.dtype
    low: Any = None
    high: Any = None

    @property
    def value_dtype(self) -> torch.dtype:
        """The dtype of values that come back."""
        return self.dtype

    def to_env(self, value: Tensor) -> Tensor:
        """Return a tensor in the dtype of the spec."""
        value = value.to(self.dtype)
        if self.low is None:
            return value
        return torch.minimum(torch.maximum(value, self.low.to(value)), self.high.to(value))

    def from_env(self, action: Any) -> Tensor:
        """Return an action as a tensor."""
        return torch.as_tensor(action).to(self.dtype)


Port = NumpyPort | TensorPort
