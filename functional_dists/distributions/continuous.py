"""The classes of the continuous families, with the constructors of TorchRL's classes."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, constraints

from functional_dists.continuous import delta, normal, tanh_delta, tanh_normal, truncated_normal
from functional_dists.distributions.base import FamilyDistribution, Shape, values_can_be_read
from functional_dists.parameters import scale_loc
from functional_dists.random import size_of

__all__ = ["Delta", "IndependentNormal", "TanhDelta", "TanhNormal", "TruncatedNormal"]

_OUT_OF_ORDER = "{} high values must be strictly greater than low values"

Scale = Tensor | float | Callable[[Tensor], Tensor]


class _Independent(FamilyDistribution):
    """Base of the distributions whose elements are independent."""

    @property
    def reinterpreted_batch_ndims(self) -> int:
        """How many trailing axes form one event."""
        return self._options["event_dims"]


class _Bounded(_Independent):
    """Base of the distributions on an interval."""

    @property
    def min(self) -> Tensor:
        """The lower bound."""
        return self.low

    @property
    def max(self) -> Tensor:
        """The upper bound."""
        return self.high


class IndependentNormal(_Independent):
    """Normal distribution whose last axes form one event.

    Args:
        loc: The mean, of shape (*batch, *event).
        scale: The standard deviation: a tensor, a number, or a function of `loc`.
        upscale: With `tanh_loc`, the largest absolute value of the mean.
        tanh_loc: Whether to take `upscale * tanh(loc / upscale)` for the mean.
        event_dim: How many trailing axes form one event; 1 becomes 0 for parameters without axes.
        validate_args: As in `torch.distributions`.

    Raises:
        ValueError: the parameters do not broadcast, have fewer axes than an event, or hold invalid numbers.

    >>> IndependentNormal(torch.zeros(4, 3), 1.0).log_prob(torch.zeros(4, 3)).shape
    torch.Size([4])
    """

    num_params = 2

    def __init__(
        self,
        loc: Tensor | float,
        scale: Scale,
        upscale: Tensor | float = 5.0,
        tanh_loc: bool = False,
        event_dim: int = 1,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.upscale, self.tanh_loc, self._validates = upscale, tanh_loc, validate_args
        self._event_dim = event_dim
        loc = _real(loc)
        loc = scale_loc(loc, upscale) if tanh_loc else loc
        params = (loc, _scale(scale, loc))
        super().__init__(normal, params, _event_dims(event_dim, *params), validate_args)

    def update(self, loc: Tensor, scale: Scale) -> None:
        """Replace the parameters."""
        IndependentNormal.__init__(
            self, loc, scale, self.upscale, self.tanh_loc, self._event_dim, validate_args=self._validates
        )

    @property
    def base_dist(self) -> Normal:
        """The distribution of each element, as a `torch.distributions.Normal`."""
        return Normal(self.loc, self.scale, validate_args=False)


class TanhNormal(_Bounded):
    """Normal distribution squashed by tanh onto the interval (low, high).

    `log_prob` scores a value at a bound, such as a clipped action, as the last number inside: rounding put it there.
    The function `tanh_normal.log_prob` is exact, -inf at the bounds; `tanh_normal.inside` moves such values inside.

    Args:
        loc: The mean before the squashing, of shape (*batch, *event).
        scale: The standard deviation before the squashing: a tensor, a number, or a function of `loc`.
        upscale: With `tanh_loc`, the largest absolute value of the mean.
        low: The lower bound, a number or a tensor.
        high: The upper bound, likewise.
        event_dims: How many trailing axes form one event. Default: 1, or 0 for parameters without axes.
        tanh_loc: Whether to take `upscale * tanh(loc / upscale)` for the mean.
        safe_tanh: Ignored: samples lie strictly inside the bounds in any case.
        validate_args: As in `torch.distributions`.

    Raises:
        RuntimeError: a lower bound is not below its upper bound.
        ValueError: the parameters do not broadcast, have fewer axes than an event, or hold invalid numbers.

    >>> TanhNormal(torch.zeros(4, 3), 1.0, low=-2.0, high=2.0).rsample().shape
    torch.Size([4, 3])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"loc": constraints.real, "scale": constraints.positive}
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
        loc = _real(loc)
        low, high = _bounds(loc, low, high, RuntimeError(_OUT_OF_ORDER.format(type(self).__name__)))
        loc = scale_loc(loc, upscale) if tanh_loc else loc
        super().__init__(tanh_normal, (loc, _scale(scale, loc), low, high), event_dims, validate_args)

    def update(self, loc: Tensor, scale: Scale) -> None:
        """Replace the location and the scale."""
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
        """Return the mode; it is exact, not found by an optimiser as in TorchRL."""
        return self.mode

    @property
    def root_dist(self) -> Normal:
        """The normal distribution of each element before the squashing."""
        return Normal(self.loc, self.scale, validate_args=False)

    @property
    def base_dist(self) -> Distribution:
        """The normal distribution before the squashing, with the same events."""
        dims = self._options["event_dims"]
        return Independent(self.root_dist, dims, validate_args=False) if dims else self.root_dist


class TruncatedNormal(_Bounded):
    """Normal distribution restricted to the interval (low, high), whose last axis, if there is one, is the event.

    Args:
        loc: The mean before the restriction, of shape (*batch, *event).
        scale: The standard deviation before the restriction: a tensor, a number, or a function of `loc`.
        upscale: With `tanh_loc`, the largest absolute value of `loc`.
        low: The lower bound, a number or a tensor.
        high: The upper bound, likewise.
        tanh_loc: Whether to take `upscale * tanh(loc / upscale)` for `loc`.
        validate_args: As in `torch.distributions`.

    Raises:
        RuntimeError: a lower bound is not below its upper bound.
        ValueError: the parameters do not broadcast, or hold invalid numbers.

    >>> TruncatedNormal(torch.zeros(4, 3), 1.0).mean.shape
    torch.Size([4, 3])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"loc": constraints.real, "scale": constraints.positive}
    num_params = 2

    def __init__(
        self,
        loc: Tensor | float,
        scale: Scale,
        upscale: Tensor | float = 5.0,
        low: Tensor | float = -1.0,
        high: Tensor | float = 1.0,
        tanh_loc: bool = False,
        *,
        validate_args: bool | None = None,
    ) -> None:
        loc = _real(loc)
        self.upscale = upscale if isinstance(upscale, Tensor) else loc.new_zeros(()) + upscale
        self.tanh_loc, self._validates = tanh_loc, validate_args
        low, high = _bounds(loc, low, high, RuntimeError(_OUT_OF_ORDER.format(type(self).__name__)))
        loc = scale_loc(loc, upscale) if tanh_loc else loc
        params = (loc, _scale(scale, loc), low, high)
        super().__init__(truncated_normal, params, _event_dims(1, *params), validate_args)

    def update(self, loc: Tensor, scale: Scale) -> None:
        """Replace the location and the scale."""
        TruncatedNormal.__init__(
            self, loc, scale, self.upscale, self.low, self.high, self.tanh_loc, validate_args=self._validates
        )

    @property
    def deterministic_sample(self) -> Tensor:
        """The mean, as in TorchRL."""
        return self.mean

    @property
    def base_dist(self) -> FamilyDistribution:
        """The distribution of each element."""
        return FamilyDistribution(truncated_normal, self.params, 0, validate_args=False)


class Delta(FamilyDistribution):
    """Point mass.

    Args:
        param: The point, of shape (*batch, *event).
        atol: The absolute tolerance within which a value equals the point.
        rtol: The relative tolerance.
        batch_shape: The sizes of the leading axes of `param`. Default: all but the last.
        event_shape: The sizes of the other axes.
        validate_args: As in `torch.distributions`.

    Raises:
        TypeError: `param` is not a floating-point tensor.
        ValueError: the shapes together are not that of `param`.

    >>> Delta(torch.zeros(4, 3)).log_prob(torch.zeros(4, 3))
    tensor([0., 0., 0., 0.])
    """

    num_params = 1

    def __init__(
        self,
        param: Tensor | float,
        atol: float = 1e-6,
        rtol: float = 1e-6,
        batch_shape: Shape = None,
        event_shape: Shape = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.atol, self.rtol = atol, rtol
        param = _real(param)
        if not param.is_floating_point():
            raise TypeError(f"param must be a floating point tensor, got {param.dtype}")
        batch_shape, event_shape = size_of(batch_shape), size_of(event_shape)
        given = bool(batch_shape or event_shape)
        if given:
            param = param.expand(batch_shape + event_shape)
        super().__init__(delta, (param,), len(event_shape) if given else None, validate_args)

    def update(self, param: Tensor) -> None:
        """Replace the point."""
        self.params = delta.Params(param)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return 0 where the value equals the point, else -inf."""
        return delta.log_prob(self.param, self._expand_to_batch(value), atol=self.atol, rtol=self.rtol, **self._options)

    @property
    def support(self) -> Any:
        """The values that equal the point within the tolerance."""
        return delta.support(self.param, atol=self.atol, rtol=self.rtol, **self._options)


class TanhDelta(_Bounded):
    """Point mass at tanh(param), mapped onto the interval (low, high).

    Args:
        param: The point before the squashing, of shape (*batch, *event).
        low: The lower bound, a number or a tensor.
        high: The upper bound, likewise.
        event_dims: How many trailing axes form one event; 1 becomes 0 for parameters without axes.
        atol: The absolute tolerance within which a value equals the point.
        rtol: The relative tolerance.
        safe: Ignored: the point lies strictly inside the bounds in any case.
        validate_args: As in `torch.distributions`.

    Raises:
        ValueError: a lower bound is not below its upper bound, or `param` has fewer axes than an event.

    >>> TanhDelta(torch.zeros(1), low=-2.0, high=3.0).mode
    tensor([0.5000])
    """

    num_params = 1

    def __init__(
        self,
        param: Tensor | float,
        low: Tensor | float = -1.0,
        high: Tensor | float = 1.0,
        event_dims: int = 1,
        atol: float = 1e-6,
        rtol: float = 1e-6,
        safe: bool = True,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.atol, self.rtol = atol, rtol
        param = _real(param)
        low, high = _bounds(
            param, low, high, ValueError("high value has been found to be equal or less than low value")
        )
        params = (param, low, high)
        super().__init__(tanh_delta, params, _event_dims(event_dims, *params), validate_args)

    def update(self, net_output: Tensor) -> None:
        """Replace the point."""
        self.params = tanh_delta.Params(net_output, self.low, self.high)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return 0 where the value equals the point, else -inf."""
        value = self._expand_to_batch(value)
        options: dict[str, Any] = {"atol": self.atol, "rtol": self.rtol, **self._options}
        return tanh_delta.log_prob(self.param, self.low, self.high, value, **options)

    @property
    def support(self) -> Any:
        """The values that equal the point within the tolerance."""
        return tanh_delta.support(*self.params, atol=self.atol, rtol=self.rtol, **self._options)

    @property
    def base_dist(self) -> Delta:
        """The point before the squashing."""
        return Delta(self.param, self.atol, self.rtol, self.batch_shape, self.event_shape, validate_args=False)


def _real(given: Tensor | float) -> Tensor:
    return given if isinstance(given, Tensor) else torch.as_tensor(given, dtype=torch.get_default_dtype())


def _event_dims(given: int, *params: Any) -> int:
    """Return how many trailing axes form one event: 0 for the default 1 and parameters without axes."""
    has_axes = any(isinstance(param, Tensor) and param.ndim for param in params)
    return given if has_axes or given != 1 else 0


def _bounds(like: Tensor, low: Tensor | float, high: Tensor | float, error: Exception) -> tuple[Tensor, Tensor]:
    bounds = _bound(like, low), _bound(like, high)
    first, last = bounds if like.is_cpu else (low, high)  # numbers that are on a GPU already are for `check` to read
    if values_can_be_read() and not any(isinstance(end, Tensor) and not end.is_cpu for end in (first, last)):
        is_ordered = first < last
        if not (is_ordered.all() if isinstance(is_ordered, Tensor) else is_ordered):
            raise error
    return bounds


def _bound(like: Tensor, bound: Tensor | float) -> Tensor:
    if not isinstance(bound, Tensor):
        return like.new_zeros(()) + bound
    return bound.to(like.device if bound.is_floating_point() else like)


def _scale(scale: Scale, loc: Tensor) -> Any:
    if isinstance(scale, Tensor):
        return scale.to(loc.device)
    return scale(loc) if callable(scale) else scale
