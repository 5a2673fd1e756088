"""Small modules between a network and a distribution, with the constructors of tensordict's modules."""

from typing import Any

import torch
from torch import Tensor, nn

import functional_dists.parameters as parameters
from functional_dists.family.reprs import shown

__all__ = ["AddStateIndependentNormalScale", "NormalParamExtractor"]


class NormalParamExtractor(nn.Module):
    """Split a network's output into a location and a positive scale.

    Args:
        scale_mapping: A name that `parameters.scale_mapping` knows, or a function of a tensor.
        scale_lb: The least scale.

    >>> loc, scale = NormalParamExtractor()(torch.zeros(4, 6))
    >>> loc.shape, scale.shape
    (torch.Size([4, 3]), torch.Size([4, 3]))
    """

    def __init__(self, scale_mapping: parameters.ScaleMapping = "biased_softplus_1.0", scale_lb: float = 1e-4) -> None:
        super().__init__()
        self.scale_mapping, self.scale_lb = scale_mapping, scale_lb
        if isinstance(scale_mapping, str):
            parameters.scale_mapping(scale_mapping)  # raises for an unknown name, before the first call

    def extra_repr(self) -> str:
        """Return the arguments, for the repr."""
        return f"scale_mapping={shown(self.scale_mapping)}, scale_lb={self.scale_lb}"

    def forward(self, *tensors: Any) -> tuple[Any, ...]:
        """Return (loc, scale, *others)."""
        return parameters.normal_params(*tensors, scale_mapping=self.scale_mapping, scale_lb=self.scale_lb)


class AddStateIndependentNormalScale(nn.Module):
    """Pair a network's location with a scale that is a parameter of its own, the same in every state.

    Args:
        scale_shape: The shape of the scale: the last axes of the location.
        scale_mapping: A name that `parameters.scale_mapping` knows, or a function of a tensor.
        scale_lb: The least scale.
        device: The device of the scale.
        make_param: Whether the scale is a parameter; otherwise it is a buffer.
        init_value: The raw scale at the start, to which the mapping is applied.

    >>> loc, scale = AddStateIndependentNormalScale(3)(torch.zeros(4, 3))
    >>> scale.shape
    torch.Size([4, 3])
    """

    def __init__(
        self,
        scale_shape: torch.Size | int | tuple[int, ...] | None = None,
        *,
        scale_mapping: parameters.ScaleMapping = "exp",
        scale_lb: float = 1e-4,
        device: torch.device | None = None,
        make_param: bool = True,
        init_value: float = 0.0,
    ) -> None:
        super().__init__()
        self.scale_shape = torch.Size((scale_shape,) if isinstance(scale_shape, int) else scale_shape or ())
        self.scale_mapping, self.scale_lb = scale_mapping, scale_lb
        scale = torch.full(self.scale_shape, init_value, dtype=torch.get_default_dtype(), device=device)
        self.state_independent_scale = nn.Parameter(scale) if make_param else nn.Buffer(scale)

    def extra_repr(self) -> str:
        """Return the arguments, for the repr."""
        return f"{tuple(self.scale_shape)}, scale_mapping={shown(self.scale_mapping)}, scale_lb={self.scale_lb}"

    def forward(self, loc: Tensor, *others: Any) -> tuple[Any, ...]:
        """Return (loc, scale, *others)."""
        if self.scale_shape != loc.shape[loc.ndim - len(self.scale_shape) :]:
            raise RuntimeError(f"the scale of shape {tuple(self.scale_shape)} does not fit loc of {tuple(loc.shape)}")
        return parameters.state_independent_scale(
            loc,
            self.state_independent_scale,
            *others,
            scale_mapping=self.scale_mapping,
            scale_lb=self.scale_lb,
        )
