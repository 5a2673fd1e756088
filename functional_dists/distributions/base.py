"""The base class of the shim: a `torch.distributions.Distribution` whose methods are the verbs of a family."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from functional_dists.continuous import tanh_normal
from functional_dists.divergence import unbound
from functional_dists.family import as_params, bind, from_pickle, is_tensordict, name_of, specification_of, to_pickle
from functional_dists.family.kinds import Kind
from functional_dists.family.reprs import shown
from functional_dists.family.shapes import value_shape
from functional_dists.random import Source, size_of
from functional_dists.special import off_bounds
from functional_dists.special import support as supports

__all__ = ["FamilyDistribution", "wrap"]

Shape = int | Sequence[int] | None


class FamilyDistribution(Distribution):
    """A distribution of a family with its parameters.

    A verb that the family lacks raises a NotImplementedError, as in `torch.distributions`. Each parameter is an
    attribute, and `params` holds all of them.

    Args:
        family: A family.
        params: Its parameters: `Params`, a tuple or a mapping of tensors and numbers.
        event_dims: How many trailing axes form one event. Default: the family's own, 0 for parameters without axes.
        validate_args: Whether to check the parameters and the values that are scored. Default: the parameters alone, if
            `Distribution.set_default_validate_args` says so. Nothing is checked inside `torch.vmap` or `torch.compile`.

    Raises:
        ValueError: the parameters do not broadcast, have too few axes, or hold invalid numbers.

    >>> from functional_dists import normal
    >>> FamilyDistribution(normal, (torch.zeros(3), 1.0)).sample((2,)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self, family: Any, params: Any, event_dims: int | None = None, validate_args: bool | None = None
    ) -> None:
        self.family = family
        self.params = _as_tensors(as_params(family.Params, params))
        shape = self._parameter_shape()
        spec = specification_of(family.log_prob)
        value = Kind("Real", "floating point") if spec is None else spec.value_kind
        layout, default = value.layout, None if spec is None else spec.event_dims
        self._options = {}
        if default is not None:
            self._options = {"event_dims": event_dims if event_dims is not None else default if shape else 0}
        self._scores_indices = value.holds == "integer"
        parameter_dims = self._options.get("event_dims", 0) if layout == "per element" else 1
        if parameter_dims > len(shape):
            raise ValueError(f"event_dims={parameter_dims} does not fit parameters of shape {tuple(shape)}")
        batch_shape, rest = shape[: len(shape) - parameter_dims], shape[len(shape) - parameter_dims :]
        self._parameter_event = rest
        super().__init__(batch_shape, value_shape(value, shape)[len(batch_shape) :], validate_args=False)
        self._checks_values = bool(validate_args)
        if (Distribution._validate_args if validate_args is None else validate_args) and values_can_be_read():
            self._verb("check")(*self.params)

    def _parameter_shape(self) -> Size:
        spec = specification_of(self.family.log_prob)
        if spec is None or spec.fit is None:
            return _shared_shape(self.params, self._layouts(spec))
        return spec.fit(*(param.shape for param in self.params))  # of parameters that do not broadcast

    def _layouts(self, spec: Any) -> list[str]:
        """Return how the axes of each parameter match those of the others."""
        by_name = {} if spec is None else {argument.name: argument.kind.layout for argument in spec.arguments}
        own = ("per element" if p.is_floating_point() or p.dtype == torch.bool else "per row" for p in self.params)
        return [by_name.get(name, layout) for name, layout in zip(self.params._fields, own, strict=True)]

    def __getattr__(self, name: str) -> Any:
        params = self.__dict__.get("params")
        if params is not None and name in params._fields:
            return getattr(params, name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name}")

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}: {tuple(value.shape)}" for name, value in self.params._asdict().items())
        family = f"{name_of(self.family)}, " if type(self) is FamilyDistribution else ""
        return f"{type(self).__name__}({family}{shapes})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "family": to_pickle(self.family), "params": tuple(self.params)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        family = from_pickle(state["family"])
        self.__dict__.update(state, family=family, params=family.Params(*state["params"]))

    @property
    def _fixed(self) -> dict[str, Any]:
        """Options passed to every verb; `bind` would fix them, but it cannot run inside `torch.compile`."""
        return {}

    def _verb(self, name: str) -> Any:
        verb = getattr(self.family, name, None)
        if verb is None:
            family = name_of(self.family)
            message = f"{type(self).__name__} has no {name}, as the family {family} has no function {name}"
            raise NotImplementedError(message)
        fixed = self._fixed
        return functools.partial(verb, **fixed) if fixed else verb

    # ---------------------------------------------------------------------------------------------------------- draws
    # `generator` is an alias of `key`, the name that PyTorch uses.
    def sample(self, sample_shape: Shape = (), *, key: Source | None = None, generator: Source | None = None) -> Tensor:
        """Draw a value, detached from the graph. Without a key, PyTorch's global generator is used."""
        return self._draw("sample", sample_shape, one_source(key, generator))

    def rsample(
        self, sample_shape: Shape = (), *, key: Source | None = None, generator: Source | None = None
    ) -> Tensor:
        """Draw a value with the pathwise gradient. Without a key, PyTorch's global generator is used."""
        return self._draw("rsample", sample_shape, one_source(key, generator))

    def sample_and_log_prob(
        self, sample_shape: Shape = (), *, key: Source | None = None, generator: Source | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw the value of `sample` and its log-probability, scored from the noise."""
        return self._draw("sample_and_log_prob", sample_shape, one_source(key, generator), **self._options)

    def rsample_and_log_prob(
        self, sample_shape: Shape = (), *, key: Source | None = None, generator: Source | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw the value of `rsample` and its log-probability, scored from the noise."""
        return self._draw("rsample_and_log_prob", sample_shape, one_source(key, generator), **self._options)

    def _draw(self, name: str, sample_shape: Shape, key: Source | None, **options: Any) -> Any:
        verb = self._verb(name)
        source = _global_source(self.device) if key is None else key
        return verb(source, *self.params, sample_shape=size_of(sample_shape), **options)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether the family has pathwise gradients."""
        return hasattr(self.family, "rsample")

    # -------------------------------------------------------------------------------------------------------- scoring
    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of a value; -inf outside the support.

        Outcomes may be floats: a float that equals an integer is that outcome, any other is outside the support.
        A tanh-normal scores a value at a bound as the last number inside, because rounding put it there.
        """
        verb = self._verb("log_prob")
        if self._checks_values and values_can_be_read():
            self._validate_sample(value)
        value = self._expand_to_batch(value)
        if self._scores_indices:
            return self._log_prob_of_outcomes(verb, value)
        bounds = self._tanh_bounds
        if bounds is not None:
            value = off_bounds(value if isinstance(value, Tensor) else _as_tensor(value, bounds[0]), *bounds)
        return verb(*self.params, value, **self._options)

    def _log_prob_of_outcomes(self, verb: Any, value: Any) -> Tensor:
        if not isinstance(value, (Tensor, int)):
            value = torch.as_tensor(value, device=self.device)
        if isinstance(value, int) or not (value.is_floating_point() or value.dtype == torch.bool):
            return verb(*self.params, value, **self._options)
        log_prob = verb(*self.params, _as_integers(value), **self._options)
        is_nan = value.isnan().any(-1) if self.event_shape else value.isnan()
        return torch.where(is_nan & (log_prob == -math.inf), math.nan, log_prob)

    @property
    def _tanh_bounds(self) -> tuple[Tensor, Tensor] | None:
        """The bounds of a tanh-normal, bound by `bind` or not; None for any other family."""
        family, params = unbound(self.family, self.params)
        if family is not tanh_normal:
            return None
        params = params if family is self.family else _as_tensors(params)
        return params.low, params.high

    def entropy(self) -> Tensor:
        """Return the entropy in nats."""
        return self._verb("entropy")(*self.params, **self._options)

    def cdf(self, value: Tensor) -> Tensor:
        """Return the cumulative probability of every element."""
        value = self._expand_to_batch(value)
        if self._scores_indices and isinstance(value, Tensor) and value.is_floating_point():
            return torch.where(value.isnan(), math.nan, self._verb("cdf")(*self.params, _floor(value)))
        return self._verb("cdf")(*self.params, value)

    def icdf(self, value: Tensor) -> Tensor:
        """Return the quantile of every element."""
        return self._verb("icdf")(*self.params, self._expand_to_batch(value))

    def _expand_to_batch(self, value: Any) -> Any:
        """Expand a value to the leading axes of the batch, because `torch.distributions` broadcasts there."""
        shape = self.batch_shape + self.event_shape
        if not isinstance(value, Tensor) or not len(self.event_shape) <= value.ndim < len(shape):
            return value
        return value.expand(shape) if value.shape == shape[len(shape) - value.ndim :] else value

    # -------------------------------------------------------------------------------------------------------- moments
    @property
    def mean(self) -> Tensor:
        """The mean."""
        return self._verb("mean")(*self.params)

    @property
    def variance(self) -> Tensor:
        """The variance of every element."""
        return self._verb("variance")(*self.params)

    @property
    def stddev(self) -> Tensor:
        """The standard deviation of every element."""
        return self._verb("stddev")(*self.params)

    @property
    def mode(self) -> Tensor:
        """The value of the highest probability or density."""
        return self._verb("mode")(*self.params)

    @property
    def median(self) -> Tensor:
        """The median of every element."""
        return self._verb("median")(*self.params)

    @property
    def deterministic_sample(self) -> Tensor:
        """What a policy plays when it does not explore."""
        return self._verb("deterministic")(*self.params)

    # ---------------------------------------------------------------------------------------------------------- torch
    @property
    def device(self) -> torch.device:
        """The device of the parameters and of the draws."""
        return self.params[0].device

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """Empty: `check` of the family tests the parameters together, which constraints on each cannot express."""
        return {}

    @property
    def support(self) -> Any:
        """The set on which the log-probability is finite, as a constraint: what the family's `support` returns.

        Raises:
            NotImplementedError: the family has no such function.
        """
        verb = self._verb("support")
        spec = specification_of(self.family.support)
        options = self._options if spec is not None and spec.event_dims is not None else {}
        bounds = self._tanh_bounds
        if bounds is None:
            return verb(*self.params, **options)
        return supports.of_events(supports.rounded_interval(*bounds), options["event_dims"])

    def expand(self, batch_shape: int | Sequence[int], _instance: Any = None) -> Any:
        """Return the distribution with its parameters expanded to a batch shape."""
        batch_shape = Size(size_of(batch_shape))
        new = type(self).__new__(type(self)) if _instance is None else _instance
        new.__dict__.update(self.__dict__)
        new._batch_shape = batch_shape
        event, expanded = self._parameter_event, []
        for param, layout in zip(self.params, self._layouts(specification_of(self.family.log_prob)), strict=True):
            own = _split(param, layout)[1]
            expanded.append(param.expand(*batch_shape, *(own if layout == "per row" else (*event, *own))))
        new.params = type(self.params)(*expanded)
        return new


def wrap(
    family: Any, *params: Any, event_dims: int | None = None, validate_args: bool | None = None, **options: Any
) -> FamilyDistribution:
    """Make a `torch.distributions.Distribution` of any family, or of your own module with the same verbs.

    Args:
        family: A family: a module, or what `bind` gives.
        params: Its parameters, in its order.
        event_dims: How many trailing axes form one event. Default: the family's own.
        validate_args: As in `torch.distributions`.
        options: Parameters by name, and options of the family's verbs, as `bind` takes them. Options cannot be fixed
            inside `torch.compile`: pass a family that `bind` made outside.

    Returns:
        A distribution whose methods are the verbs.

    Raises:
        TypeError: a parameter is missing, a name is neither a parameter nor an option, or `family` is no family.
        ValueError: the parameters do not broadcast, have too few axes, or hold invalid numbers.

    >>> from functional_dists import categorical, random
    >>> wrap(categorical, torch.zeros(3)).sample((4,), key=random.key(42))
    tensor([1, 2, 2, 1])
    """
    fields = getattr(getattr(family, "Params", None), "_fields", None)
    if fields is None:
        raise TypeError(f"wrap: family must be a module such as `normal`, or what `bind` gives, got {shown(family)}")
    named = {name: options.pop(name) for name in fields if name in options}
    if options:
        family = bind(family, **options)
    if len(params) == 1 and not named and _holds_all_params(params[0], family):
        return FamilyDistribution(family, params[0], event_dims, validate_args)
    try:
        made = family.Params(*params, **named)
    except TypeError:
        got = f"{len(params)} by position and {list(named)} by name"
        raise TypeError(
            f"wrap: the parameters of {name_of(family)} are {fields}, got {got}; give each of them once"
        ) from None
    return FamilyDistribution(family, made, event_dims, validate_args)


def _holds_all_params(given: Any, family: Any) -> bool:
    """Return whether one object holds all parameters of a family."""
    return isinstance(given, (family.Params, Mapping)) or is_tensordict(given)


def _as_tensors(params: Any) -> Any:
    tensors = [param for param in params if isinstance(param, Tensor)]
    real = next((tensor for tensor in tensors if tensor.is_floating_point()), None)
    like = torch.empty(()) if real is None else real
    return type(params)(*(p if isinstance(p, Tensor) else _as_tensor(p, like) for p in params))


def _as_tensor(number: Any, like: Tensor) -> Tensor:
    if isinstance(number, bool):
        return torch.full((), number, device=like.device)
    return like.new_zeros(()) + number


_NO_OUTCOME = 2**40  # far from all outcomes, and from any `start` or `ignore_index`


def _as_integers(value: Tensor) -> Tensor:
    """Return outcomes as int64; a float that is no integer becomes an outcome that does not exist."""
    if value.dtype == torch.bool:
        return value.long()
    is_integer = (value == value.trunc()) & (value.abs() < 2.0**31)
    return torch.where(is_integer, torch.where(is_integer, value, 0.0).long(), _NO_OUTCOME)


def _floor(value: Tensor) -> Tensor:
    """Return the numbers rounded down, as int64; 0 for NaN."""
    return value.nan_to_num(0.0).floor().clamp(-(2.0**31), 2.0**31).long()


def one_source(key: Source | None, generator: Source | None) -> Source | None:
    """Return the source of randomness, given as `key` or as `generator`.

    >>> one_source(None, torch.Generator().manual_seed(3)).initial_seed()
    3
    """
    if key is not None and generator is not None:
        raise TypeError("sample: `generator` is a second name of `key`, got both; give one of them")
    return generator if key is None else key


def _split(param: Tensor, layout: str) -> tuple[Size, Size]:
    """Return the shape of a parameter that broadcasts with those of the others, and the axis that the others lack."""
    if layout == "per row":
        return Size((*param.shape[:-1], 1)), param.shape[-1:]
    return (param.shape[:-1], param.shape[-1:]) if layout == "matrix" else (param.shape, Size())


def _shared_shape(params: Any, layouts: Sequence[str]) -> Size:
    try:
        return torch.broadcast_shapes(*(_split(*pair)[0] for pair in zip(params, layouts, strict=True)))
    except RuntimeError:
        shapes = ", ".join(f"{name} {tuple(param.shape)}" for name, param in params._asdict().items())
        raise ValueError(f"the shapes of the parameters do not broadcast: {shapes}") from None


def values_can_be_read() -> bool:
    """Return whether Python may branch on values: not inside `torch.compile` or a transform of `torch.func`."""
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is None


def _global_source(device: torch.device) -> Source:
    """Return PyTorch's global generator; in compiled code and on other devices a key drawn from it."""
    if not torch.compiler.is_compiling():
        if device.type == "cpu":
            return torch.default_generator
        if device.type == "cuda":
            index = torch.cuda.current_device() if device.index is None else device.index
            return torch.cuda.default_generators[index]
    return torch.randint(-(2**63), 2**63 - 1, (2,), device=device).view(torch.uint64)
