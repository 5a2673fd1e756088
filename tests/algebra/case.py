"""The table of the families that the generic laws run over: those made by combinators, and those with a closed form.

The contract tests of `tests/test_contract.py` run every cell for the families of `tests/families.py`. Here one test
runs many cells at once, so that a family costs seconds.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from functional_dists import random
from functional_dists.family import verbs


class Case(NamedTuple):
    """A family with examples, all float64 (or bool, or int64) tensors with one axis of the batch, of size 2."""

    name: str
    family: Any
    params: dict[str, Any]  # nested lists, by the names of the parameters
    value: Any  # a nested list: values inside the support
    other: Mapping[str, Any] = MappingProxyType({})  # the parameters of a second distribution that differ, for kl
    values: Callable[[Any], Tensor] | None = None  # all values of a finite family, by its parameters (of one lane)
    mp_log_density: Callable[..., Any] | None = None  # of one element, in mpmath: f(value, *parameters)
    inexact: tuple[str, ...] = ()  # verbs whose result has no derivative: modes found by search, and the like
    no_differences: tuple[str, ...] = ()  # verbs whose arguments cannot be moved alone, or that draw implicitly
    has_atoms: bool = False  # some numbers have a probability
    is_joint: bool = False  # the elements of an event depend on each other
    lacks_vmap: tuple[str, ...] = ()  # parameters that have no axis of the batch


#: Verbs that return a constraint, or nothing.
NOT_TENSORS = ("check", "support")
_OF_VALUE = (
    "log_prob",
    "log_prob_log",
    "log_prob_and_entropy",
    "cdf",
    "log_cdf",
    "survival",
    "log_survival",
    "responsibilities",
)
_PROBABILITY = (0.2, 0.7)
#: Verbs of discrete families whose results are integers.
_POINTS = ("mode", "deterministic", "median", "icdf")


class Call(NamedTuple):
    """A verb as a function of tensors: the parameters, then the value."""

    function: Callable[..., Any]
    tensors: list[Tensor]

    @property
    def real(self) -> tuple[int, ...]:
        """The positions of the arguments that have derivatives."""
        return tuple(i for i, tensor in enumerate(self.tensors) if tensor.is_floating_point())


def verbs_of(case: Case) -> list[str]:
    """Return the verbs that the laws run over."""
    return [name for name in verbs(case.family) if name not in NOT_TENSORS]


def tensors_of(given: Mapping[str, Any], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Return parameters as tensors, real ones of this dtype."""
    return [_tensor(numbers, dtype) for numbers in given.values()]


def _tensor(numbers: Any, dtype: torch.dtype) -> Tensor:
    found = torch.as_tensor(numbers)
    return torch.as_tensor(numbers, dtype=dtype) if found.is_floating_point() else found


def call_of(case: Case, verb: str, dtype: torch.dtype = torch.float64, key: Any = None) -> Call:
    """Return a verb of a family with the example of each of its arguments."""
    function, fields = verbs(case.family)[verb], tuple(case.params)
    params = tensors_of(case.params, dtype)
    if "sample" in verb:
        source = random.key(7) if key is None else key
        return Call(lambda *tensors: function(source, *tensors), params)
    if verb == "kl":
        others = tensors_of({**case.params, **case.other}, dtype)
        make = case.family.Params
        size = len(fields)
        return Call(lambda *tensors: function(make(*tensors[:size]), make(*tensors[size:])), [*params, *others])
    if verb in ("icdf", "log_prob_relaxed"):  # of numbers between 0 and 1
        value = torch.full_like(_tensor(case.value, dtype).to(dtype), 0.7)
        value[0] = 0.2
        return Call(function, [*params, value])
    if verb in _OF_VALUE or verb.endswith("_mass"):
        return Call(function, [*params, _tensor(case.value, dtype)])
    if verb in ("log_prob_logit", "from_logit", "to_logit"):
        bounds = [t for name, t in zip(fields, params, strict=True) if name in ("low", "high")]
        return Call(
            function,
            [
                *(params if verb == "log_prob_logit" else [_tensor(case.value, dtype), *bounds]),
                *([_tensor(case.value, dtype)] if verb == "log_prob_logit" else []),
            ],
        )
    if verb == "log_prob_pre":
        pre = case.family.sample_pre(random.key(3), *params)
        return Call(function, [*params, pre])
    if verb == "encode":  # of bins and a value
        return Call(function, [_tensor(case.params["bins"], dtype), _tensor(case.value, dtype)])
    return Call(function, params)


def parts(result: Any) -> tuple[Tensor, ...]:
    """Return the tensors of a result."""
    return result if isinstance(result, tuple) else (result,)
