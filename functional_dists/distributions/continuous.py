"""The classes of the continuous families, with the constructors of TorchRL's."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, constraints

from functional_dists import parameters
from functional_dists.continuous import normal, tanh_normal
from functional_dists.distributions.base import FamilyDistribution, values_can_be_read

__all__ = ["IndependentNormal", "TanhNormal"]

Scale = Tensor | float | Callable[[Tensor], Tensor]


class IndependentNormal(FamilyDistribution):
    """Normal distribution whose last axes are one event.

    Args:
        loc: The mean, of shape (*batch, *event).
        scale: The standard deviation: a tensor, a number, or a function of `loc`.
        upscale: With `tanh_loc`, how far from 0 the mean may be.
        tanh_loc: Whether to take `upscale * tanh(loc / upscale)` for the mean.
        event_dim: How many trailing axes are one event.
        validate_args: As in `torch.distributions`.

    Raises:
        ValueError: the parameters do not broadcast, have fewer axes than an event, or hold invalid numbers.

    >>> IndependentNormal(torch.zeros(4, 3), 1.0).log_prob(torch.zeros(4, 3)).shape
    torch.Size([4])
    """

    num_params = 2

    def __init__(
        self,
        loc: Tensor,
        scale: Scale,
        upscale: Tensor | float = 5.0,
        tanh_loc: bool = False,
        event_dim: int = 1,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.upscale, self.tanh_loc, self._validates = upscale, tanh_loc, validate_args
        loc = parameters.scale_loc(loc, upscale) if tanh_loc else loc
        super().__init__(normal, (loc, _scale(scale, loc)), event_dim, validate_args)

    def update(self, loc: Tensor, scale: Scale) -> None:
        """Take other parameters."""
        IndependentNormal.__init__(
            self, loc, scale, self.upscale, self.tanh_loc, self._options["event_dims"], validate_args=self._validates
        )

    @property
    def base_dist(self) -> Normal:
        """The same of every element, as a `torch.distributions.Normal`."""
        return Normal(self.loc, self.scale, validate_args=False)

    @property
    def support(self) -> Any:
        """All real numbers."""
        return constraints.independent(constraints.real, self._options["event_dims"])


class TanhNormal(FamilyDistribution):
    """Normal distribution squashed by tanh onto the interval (low, high).

    Args:
        loc: The mean before the squashing, of shape (*batch, *event).
        scale: The standard deviation before the squashing: a tensor, a number, or a function of `loc`.
        upscale: With `tanh_loc`, how far from 0 the mean may be.
        low: The lower bound, a number or a tensor.
        high: The upper bound, likewise.
        event_dims: How many trailing axes are one event. Default: 1, or 0 for parameters without axes.
        tanh_loc: Whether to take `upscale * tanh(loc / upscale)` for the mean.
        safe_tanh: Without meaning here: samples lie strictly inside the bounds in any case.
        validate_args: As in `torch.distributions`.

    Raises:
        RuntimeError: a lower bound is not below its upper bound.
        ValueError: the parameters do not broadcast, have fewer axes than an event, or hold invalid numbers.

    >>> TanhNormal(torch.zeros(4, 3), 1.0, low=-2.0, high=2.0).rsample().shape
    torch.Size([4, 3])
    """

    num_params = 2

    def __init__(
        self,
        loc: Tensor | float,
        scale: Scale,
        upscale: Tensor | float = 5.0,
        low: Tensor | float = -1.0,
        high: Tensor | float = 1.0,
        event_dims: int | None = None,
        tanh_loc: bool = False,
        safe_tanh: bool = True,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.upscale, self.tanh_loc, self._validates = upscale, tanh_loc, validate_args
        loc = torch.as_tensor(loc, dtype=None if isinstance(loc, Tensor) else torch.get_default_dtype())
        low, high = (bound if isinstance(bound, Tensor) else loc.new_zeros(()) + bound for bound in (low, high))
        if values_can_be_read() and not (low < high).all():
            raise RuntimeError(f"the lower bound must be below the upper one, got low={low} and high={high}")
        loc = parameters.scale_loc(loc, upscale) if tanh_loc else loc
        super().__init__(tanh_normal, (loc, _scale(scale, loc), low, high), event_dims, validate_args)

    def update(self, loc: Tensor, scale: Scale) -> None:
        """Take another location and scale."""
        TanhNormal.__init__(
            self,
            loc,
            scale,
            self.upscale,
            self.low,
            self.high,
            self._options["event_dims"],
            self.tanh_loc,
            validate_args=self._validates,
        )

    def get_mode(self) -> Tensor:
        """Return the mode, which is exact here."""
        return self.mode

    @property
    def root_dist(self) -> Normal:
        """The normal distribution of every element before the squashing."""
        return Normal(self.loc, self.scale, validate_args=False)

    @property
    def base_dist(self) -> Distribution:
        """The normal distribution before the squashing, with the same events."""
        dims = self._options["event_dims"]
        return Independent(self.root_dist, dims, validate_args=False) if dims else self.root_dist

    @property
    def support(self) -> Any:
        """The interval between the bounds."""
        return constraints.independent(constraints.interval(self.low, self.high), self._options["event_dims"])


def _scale(scale: Scale, loc: Tensor) -> Any:
    if isinstance(scale, Tensor):
        return scale.to(loc.device)
    return scale(loc) if callable(scale) else scale
