"""Verbs of bijectors whose functions and docstrings have one form: of increasing ones, and of combinators."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from functional_dists.family import Definition, Parameters, Real, Vector
from functional_dists.family.specification import Confine

__all__ = ["increasing_onto", "make_verbs"]

_SENTENCES = {
    "forward": "Return the value of the bijector.",
    "inverse": "Return the x whose value this is.",
    "forward_log_det": "Return the log-determinant at x.",
    "inverse_log_det": "Return the log-determinant of the inverse at a value.",
    "forward_and_log_det": "Return the value of the bijector, and the log-determinant.",
    "is_increasing": "Return whether the map increases, elementwise.",
    "domain": "Return the set that `forward` takes as a constraint.",
    "image": "Return the set of the values of `forward` as a constraint.",
}


def increasing_onto(verb: Definition, onto: Constraint, described: str) -> tuple[Any, Any, Any]:
    """Return the verbs `is_increasing`, `domain` and `image` of an increasing bijector of the line.

    Args:
        verb: What `define` returned for the bijector, which has no parameters.
        onto: The image.
        described: The image in words.
    """

    def is_increasing() -> Tensor:
        return torch.tensor(True)

    def domain() -> Constraint:
        return constraints.real

    def image() -> Constraint:
        return onto

    is_increasing.__doc__ = f"{_SENTENCES['is_increasing'][:-1]}: true.\n\n>>> is_increasing()\ntensor(True)"
    domain.__doc__ = f"{_SENTENCES['domain'][:-1]}: the real numbers.\n\n>>> domain()\n{constraints.real!r}"
    image.__doc__ = f"{_SENTENCES['image'][:-1]}: {described}.\n\n>>> image()\n{onto!r}"
    made = []
    for function in (is_increasing, domain, image):
        function.__module__, function.__qualname__ = verb.params.__module__, function.__name__
        made.append(verb(function))
    return made[0], made[1], made[2]


def make_verbs(
    verb: Definition,
    event_dims: int,
    *,
    of_value: Mapping[str, Callable[[Any, Tensor], Any]],
    of_params: Mapping[str, Callable[[Any], Any]],
    parts_check_shapes: bool = False,
    confine: Callable[..., Tensor] | Confine | None = None,
) -> Definition:
    """Make the verbs of a bijector that a combinator makes.

    Args:
        verb: What `define` returned for the bijector.
        event_dims: Whether it maps vectors, 1, or elements, 0.
        of_value: Functions of `Params` and a value, by the names of the verbs.
        of_params: Functions of `Params`.
        parts_check_shapes: Whether the parameters need not broadcast, because other verbs take them.
        confine: What keeps the values of `forward` off the bounds in half precision.

    Returns:
        `verb`.
    """
    fit = (lambda *_: torch.Size()) if parts_check_shapes else None

    def as_verb(name: str, function: Any) -> None:
        function.__name__ = function.__qualname__ = name
        function.__doc__ = _SENTENCES[name]
        verb(fit=fit, confine=confine if name in ("forward", "forward_and_log_det") else None)(function)

    def make_of_value(name: str, run: Callable[[Any, Tensor], Any]) -> None:
        def function(params: Parameters, value: Real) -> Any:
            return run(params, value)

        function.__annotations__["value"] = Vector if event_dims else Real
        as_verb(name, function)

    def make_of_params(name: str, run: Callable[[Any], Any]) -> None:
        def function(params: Parameters) -> Any:
            return run(params)

        as_verb(name, function)

    for name, run in of_value.items():
        make_of_value(name, run)
    for name, run_of_params in of_params.items():
        make_of_params(name, run_of_params)
    return verb
