"""The table of families, over which the generic tests run. To test a new family, add a row."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import pytest
import torch
from torch import Tensor

from functional_dists import (
    bind,
    categorical,
    delta,
    independent,
    independent_normal,
    linear_categorical,
    llm_masked_categorical,
    masked_categorical,
    masked_one_hot_categorical,
    normal,
    one_hot_categorical,
    one_hot_ordinal,
    ordinal,
    random,
    sparse_categorical,
    sparse_one_hot_categorical,
    tanh_delta,
    tanh_normal,
    truncated_normal,
)
from functional_dists.family import verbs

# Where values lie in every dtype, eager and compiled: the two halves, and the two others, share the code for it.
EAGER_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
IN_MODES = [
    *(("eager", dtype) for dtype in EAGER_DTYPES),
    *(("inductor", dtype) for dtype in (torch.float32, torch.bfloat16)),
    *(pytest.param("inductor", dtype, marks=pytest.mark.slow) for dtype in (torch.float64, torch.float16)),
]

EVENT = 3  # the size of the event axis of every example


class Row(NamedTuple):
    """A family with what the generic tests need of it."""

    name: str
    family: Any
    event_dims: int | None  # the default, where there is that option
    parameters: dict[str, tuple[Any, ...]]  # an example of shape (EVENT,)
    value: tuple[float, ...] | int  # inside the support of the example
    mp_log_density: Callable[..., Any] | None = None  # of one element, in mpmath: f(value, *parameters)

    @property
    def is_continuous(self) -> bool:
        return self.mp_log_density is not None

    @property
    def is_point(self) -> bool:
        return "param" in self.parameters

    @property
    def is_one_hot(self) -> bool:
        return "one_hot" in self.name


def _mp_normal(x: Any, loc: Any, scale: Any) -> Any:
    return mpmath.log(mpmath.npdf(x, loc, scale))


def _mp_tanh_normal(y: Any, loc: Any, scale: Any, low: Any = -2.0, high: Any = 3.0) -> Any:
    t = 2 * (y - low) / (high - low) - 1
    return _mp_normal(mpmath.atanh(t), loc, scale) - mpmath.log((1 - t * t) * (high - low) / 2)


def _mp_truncated_normal(x: Any, loc: Any, scale: Any, low: Any, high: Any) -> Any:
    return _mp_normal(x, loc, scale) - mpmath.log(mpmath.ncdf(high, loc, scale) - mpmath.ncdf(low, loc, scale))


_LOC_SCALE = {"loc": (0.3, -1.1, 2.0), "scale": (0.5, 1.4, 0.8)}
_REAL, _BOUNDED = (0.2, -0.4, 2.2), (0.25, -0.4, 0.3)
_LOGITS = {"logits": (0.3, -1.1, 0.8)}
_SCORES = {"scores": (0.4, 0.3, -0.8)}
_MASK, _ONE_HOT = (True, False, True), (0, 0, 1)
_HEAD = {"hidden": (0.3, -0.9), "weight": ((0.5, 0.4), (-1.2, 0.3), (0.8, 1.1)), "bias": (0.2, -0.3, 0.1)}
_BOUNDS = {"low": (-1.0, -2.0, 0.0), "high": (1.0, 3.0, 0.5)}

FAMILIES = [
    Row("normal", normal, 0, _LOC_SCALE, _REAL, _mp_normal),
    Row("independent_normal", independent_normal, 1, _LOC_SCALE, _REAL, _mp_normal),
    Row("tanh_normal", tanh_normal, 1, {**_LOC_SCALE, **_BOUNDS}, _BOUNDED, _mp_tanh_normal),
    Row("bound_tanh_normal", bind(tanh_normal, low=-2.0, high=3.0), 1, _LOC_SCALE, _BOUNDED, _mp_tanh_normal),
    Row("truncated_normal", truncated_normal, 1, {**_LOC_SCALE, **_BOUNDS}, _BOUNDED, _mp_truncated_normal),
    Row("categorical", categorical, None, _LOGITS, 2),
    Row("masked_categorical", masked_categorical, None, {**_LOGITS, "mask": _MASK}, 2),
    Row("one_hot_categorical", one_hot_categorical, None, _LOGITS, _ONE_HOT),
    Row("masked_one_hot_categorical", masked_one_hot_categorical, None, {**_LOGITS, "mask": _MASK}, _ONE_HOT),
    Row("sparse_categorical", sparse_categorical, None, {**_LOGITS, "indices": (2, 0)}, 2),
    Row("sparse_one_hot_categorical", sparse_one_hot_categorical, None, {**_LOGITS, "indices": (2, 0)}, _ONE_HOT),
    Row("llm_masked_categorical", llm_masked_categorical, None, {**_LOGITS, "mask": _MASK}, 2),
    Row("ordinal", ordinal, None, _SCORES, 1),
    Row("one_hot_ordinal", one_hot_ordinal, None, _SCORES, _ONE_HOT),
    Row("delta", delta, 1, {"param": _REAL}, _REAL),
    Row("tanh_delta", tanh_delta, 1, {"param": _REAL, **_BOUNDS}, _BOUNDED),
]
# Examples of another shape than (EVENT,), for the tests of transformations, which know no shapes.
COMBINED = [
    Row(
        "independent_categorical",
        independent(categorical),
        None,
        {"logits": ((0.3, -1.1, 0.8), (0.1, 0.5, -0.7))},
        (2, 0),
    ),
    Row("linear_categorical", linear_categorical, None, _HEAD, 2),
]
# Families some of whose parameters have no axes of the batch: only `vmap` gives these a batch.
SHARED = ("linear_categorical",)
CONTINUOUS = [row.name for row in FAMILIES if row.is_continuous]
POINTS = [row.name for row in FAMILIES if row.is_point]
DISCRETE = [row.name for row in FAMILIES if not row.is_continuous and not row.is_point]
ONE_HOT = [row.name for row in FAMILIES if row.is_one_hot]
BY_NAME = {row.name: row for row in (*FAMILIES, *COMBINED)}

# A second set of parameters for the verbs of two distributions; what is missing is shared.
_OTHER: dict[str, tuple[Any, ...]] = {
    "loc": (0.1, -0.7, 1.5),
    "scale": (0.7, 1.1, 0.6),
    "logits": (0.5, -0.2, -0.4),
    "scores": (0.1, 0.6, -0.3),
    "hidden": (-0.4, 0.6),
    "weight": ((0.1, -0.6), (0.9, 0.2), (-0.3, 0.7)),
    "bias": (-0.2, 0.4, 0.0),
}
# Where the bounds are a part of the divergence: it is infinite on one side of equal ones.
_WIDER = {key: {"low": (-1.5, -2.5, -0.5), "high": (1.5, 3.5, 1.0)} for key in ("tanh_normal", "truncated_normal")}
_PROBABILITY = (0.2, 0.5, 0.97)


class Call(NamedTuple):
    """A verb as a function of a list of tensors, so that a test may transform it without knowing what it is."""

    function: Callable[..., Any]
    tensors: list[Tensor]
    names: list[str]

    @property
    def real(self) -> tuple[int, ...]:
        """The positions of the arguments that have derivatives."""
        return tuple(i for i, tensor in enumerate(self.tensors) if tensor.is_floating_point())


# The costly cells of the matrix run over these alone: what the other rows compute is a part of what these do, or stands
# between the same functions.
DISTINCT = ("tanh_normal", "truncated_normal", "masked_categorical", "ordinal", "linear_categorical")
VERBS = [(row.name, verb) for row in FAMILIES for verb in verbs(row.family) if verb not in ("check", "support")]
COMBINED_VERBS = [
    (row.name, verb) for row in COMBINED for verb in verbs(row.family) if verb not in ("check", "support")
]
_MOVED = ("rsample", "rsample_and_log_prob", "mean", "median", "mode", "deterministic", "icdf")  # of a point
_COUNTED = ("sample", "mode", "deterministic", "median", "icdf")  # integers


def is_differentiable(name: str, verb: str) -> bool:
    if name in POINTS:
        return verb in _MOVED
    return verb not in ("sample", "sample_pretanh") and (BY_NAME[name].is_continuous or verb not in _COUNTED)


DIFFERENTIABLE = [(name, verb) for name, verb in VERBS if is_differentiable(name, verb)]


def call_of(
    name: str,
    verb: str,
    dtype: torch.dtype = torch.float64,
    batch: tuple[int, ...] = (),
    options: dict[str, Any] | None = None,
) -> Call:
    """Return `verb` of a family with an example of each of its arguments, of shape (*batch, EVENT)."""
    row = BY_NAME[name]
    function = functools.partial(verbs(row.family)[verb], **(options or {}))
    parameters = {key: _example(numbers, dtype, batch) for key, numbers in row.parameters.items()}
    if verb == "kl":
        others: dict[str, Any] = {**{key: _OTHER[key] for key in _OTHER if key in parameters}, **_WIDER.get(name, {})}
        if name == "independent_categorical":
            others = {key: (other, other[::-1]) for key, other in others.items()}
        other = {**parameters, **{key: _example(numbers, dtype, batch) for key, numbers in others.items()}}
        size = len(parameters)
        return Call(
            lambda *tensors: function(row.family.Params(*tensors[:size]), row.family.Params(*tensors[size:])),
            [*parameters.values(), *other.values()],
            [f"{side}.{key}" for side in "pq" for key in parameters],
        )
    arguments = dict(parameters)
    if verb == "squash":
        arguments = {"pre": _example((0.2, -0.4, 0.9), dtype, batch), **_bounds(parameters)}
    elif verb in ("unsquash", "inside"):
        arguments = {"value": _example(row.value, dtype, batch), **_bounds(parameters)}
    elif verb == "log_prob_pretanh":
        arguments["pre"] = _example((0.2, -0.4, 0.9), dtype, batch)
    elif verb == "icdf":
        arguments["value"] = _example(_PROBABILITY, dtype, batch)
        if name in DISCRETE:
            arguments["value"] = arguments["value"][..., 0]
    elif verb == "log_prob_relaxed":
        inside = (0.4, 0.0, 0.6) if {"mask", "indices"} & set(parameters) else (0.3, 0.2, 0.5)
        arguments["value"] = torch.tensor(inside, dtype=dtype).expand((*batch, EVENT)).clone()
    elif verb in ("log_prob", "log_prob_and_entropy", "cdf", "log_cdf", "survival", "log_survival"):
        arguments["value"] = _example(row.value, dtype, batch)
    if verb == "normalized_logits":  # -inf has no differences
        return Call(lambda *tensors: function(*tensors).clamp(min=-1e3), list(arguments.values()), list(arguments))
    if "sample" in verb:
        return Call(lambda *tensors: function(random.key(7), *tensors), list(arguments.values()), list(arguments))
    return Call(function, list(arguments.values()), list(arguments))


def keyed_call_of(name: str, verb: str, dtype: torch.dtype = torch.float64, batch: tuple[int, ...] = ()) -> Call:
    """Return a verb that draws as a function whose first tensor is the key."""
    call = call_of(name, verb, dtype, batch)
    return Call(verbs(BY_NAME[name].family)[verb], [random.key(7), *call.tensors], ["key", *call.names])


def _bounds(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: parameters[key] for key in ("low", "high") if key in parameters}


def _example(numbers: tuple[Any, ...] | int, dtype: torch.dtype, batch: tuple[int, ...]) -> Tensor:
    """Return `numbers` for every element of the batch, real ones each with a small shift of its own."""
    example = torch.tensor(numbers)
    if not example.is_floating_point():
        return example.expand((*batch, *example.shape)).clone()
    count = math.prod(batch)
    shift = 0.01 * torch.arange(count, dtype=torch.float64).reshape(*batch, *[1] * example.ndim)
    return (torch.tensor(numbers, dtype=torch.float64) + shift).to(dtype)
