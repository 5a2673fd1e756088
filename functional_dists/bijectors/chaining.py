"""Bijectors one after the other, as one bijector."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from functional_dists.bijectors.derived import make_verbs
from functional_dists.bijectors.images import image_through
from functional_dists.bijectors.inversion import invert
from functional_dists.bijectors.structure import (
    are_equal,
    event_dims_of,
    has_block,
    num_params,
    require_bijector,
    same,
    split,
    sum_vector,
)
from functional_dists.family import Definition, combinator, define, joined_params, made_by, name_of, specification_of
from functional_dists.family.specification import Confine, function_and_bounds
from functional_dists.special import nan_of

__all__ = ["chain", "confine_of_last"]


class _Step(NamedTuple):
    """A bijector of a chain; or one and its inverse, which are neighbours and have as many parameters."""

    first: Any
    second: Any = None

    @property
    def parts(self) -> tuple[Any, ...]:
        return (self.first,) if self.second is None else (self.first, self.second)


@combinator
def chain(*bijectors: Any) -> Definition:
    """Return the bijector that applies several, the first one first.

    A bijector and its inverse, side by side, are the identity to the last bit, with log-determinant 0: wherever their
    parameters are equal. Without parameters they are left out.

    Args:
        bijectors: Bijectors; a chain among them stands for its own.

    Returns:
        A bijector with the parameters of all, in their order. It maps vectors if one of them does. Then the
        log-determinants of elements are summed over the last axis.

    Raises:
        TypeError: an argument is no bijector.

    >>> import torch
    >>> from functional_dists.bijectors import affine, exp, tanh
    >>> chain(affine, exp).forward(torch.zeros(2), 2.0, torch.tensor([0.0, 1.0]))
    tensor([1.0000, 7.3891])
    >>> chain(tanh, invert(tanh)).forward(torch.tensor(100.0))
    tensor(100.)
    """
    for bijector in bijectors:
        require_bijector("chain", bijector)
    steps = _steps(bijectors)
    event_dims = max(map(event_dims_of, bijectors), default=0)
    parts = [part for step in steps for part in step.parts]
    params_class = joined_params(*(part.Params for part in parts))
    counts, counts_of_parts = [num_params(*step.parts) for step in steps], list(map(num_params, parts))
    checked_by_parts = event_dims > 0 or any(map(has_block, parts))

    def with_params(params: Any) -> list[tuple[Any, Sequence[Any]]]:
        return list(zip(parts, split(params, counts_of_parts), strict=True))

    def run(params: Any, value: Tensor, *, is_inverse: bool) -> Tensor:
        value = value if checked_by_parts else _expanded(params, params_class, value)
        given = list(zip(steps, split(params, counts), strict=True))
        for step, own in reversed(given) if is_inverse else given:
            value = _run_step(step, own, value, is_inverse)
        return value if steps else value.clone()

    def run_with_log_det(params: Any, value: Tensor, *, is_inverse: bool) -> tuple[Tensor, Tensor]:
        value = value if checked_by_parts else _expanded(params, params_class, value)
        zero = nan_of(torch.zeros_like(value), value)
        total = zero.sum(-1) if event_dims else zero
        given = list(zip(steps, split(params, counts), strict=True))
        for step, own in reversed(given) if is_inverse else given:
            value, log_det = _run_step_with_log_det(step, own, value, is_inverse)
            total = total + sum_vector(step.first, event_dims, log_det)
        return value if steps else value.clone(), total

    def is_increasing(params: Any) -> Tensor:
        result = torch.tensor(True)
        for part, own in with_params(params):
            result = part.is_increasing(*own) == result
        return result

    def image(params: Any) -> Constraint:
        return image_through(with_params(params), event_dims)

    def domain(params: Any) -> Constraint:
        given = [(invert(part), own) for part, own in with_params(params)]
        return image_through(given[::-1], event_dims)

    of_params: dict[str, Callable[[Any], Any]] = {"domain": domain, "image": image}
    if all(hasattr(part, "is_increasing") for part in parts) and not event_dims:
        of_params["is_increasing"] = is_increasing
    return make_verbs(
        define(params_class, f"chain({', '.join(map(name_of, bijectors))})"),
        event_dims,
        of_value={
            "forward": lambda params, value: run(params, value, is_inverse=False),
            "inverse": lambda params, value: run(params, value, is_inverse=True),
            "forward_log_det": lambda params, value: run_with_log_det(params, value, is_inverse=False)[1],
            "inverse_log_det": lambda params, value: run_with_log_det(params, value, is_inverse=True)[1],
            "forward_and_log_det": lambda params, value: run_with_log_det(params, value, is_inverse=False),
        },
        of_params=of_params,
        parts_check_shapes=checked_by_parts,
        confine=confine_of_last(parts, params_class._fields),
    )


def _steps(bijectors: Sequence[Any]) -> list[_Step]:
    """Return the steps of a chain: bijectors that are no chains, and pairs of a bijector and its inverse."""
    steps: list[_Step] = []
    for step in _paired([_Step(bijector) for bijector in bijectors]):
        steps += _steps(_parts_of(step.first)) if step.second is None and _parts_of(step.first) else [step]
    return _paired(steps)


def _parts_of(bijector: Any) -> tuple[Any, ...]:
    """Return the bijectors of a chain, and of the inverse of one without parameters, whose order is free."""
    function, arguments = made_by(bijector)
    if function == "invert" and not bijector.Params._fields:
        return tuple(invert(part) for part in reversed(_parts_of(arguments[0])))
    return arguments if function == "chain" else ()


def _paired(steps: Sequence[_Step]) -> list[_Step]:
    found: list[_Step] = []
    for step in steps:
        last = found[-1] if found else None
        if last is None or last.second is not None or step.second is not None or not _undoes(step.first, last.first):
            found.append(step)
            continue
        found.pop()
        if step.first.Params._fields:
            found.append(_Step(last.first, step.first))
    return found


def _undoes(bijector: Any, other: Any) -> bool:
    return any(
        function == "invert" and same(arguments[0], inverted)
        for (function, arguments), inverted in ((made_by(bijector), other), (made_by(other), bijector))
    )


def _with_params(step: _Step, params: Sequence[Any]) -> list[tuple[Any, Sequence[Any]]]:
    count = len(params) // len(step.parts)
    return [(part, params[i * count : (i + 1) * count]) for i, part in enumerate(step.parts)]


def _run_step(step: _Step, params: Sequence[Any], value: Tensor, is_inverse: bool) -> Tensor:
    name, given, result = "inverse" if is_inverse else "forward", _with_params(step, params), value
    for part, own in reversed(given) if is_inverse else given:
        result = getattr(part, name)(*own, result)
    return result if step.second is None else _with_digits(value, result, _is_identity(step, params, result))


def _run_step_with_log_det(
    step: _Step, params: Sequence[Any], value: Tensor, is_inverse: bool
) -> tuple[Tensor, Tensor]:
    given, result, log_dets = _with_params(step, params), value, []
    for part, own in reversed(given) if is_inverse else given:
        before = result
        if is_inverse:
            result = part.inverse(*own, before)
            log_dets.append(part.inverse_log_det(*own, before))
        else:
            result, log_det = part.forward_and_log_det(*own, before)
            log_dets.append(log_det)
    if step.second is None:
        return result, log_dets[0]
    where, log_det = _is_identity(step, params, result), log_dets[0] + log_dets[1]
    result = _with_digits(value, result, where)
    where = where.all(-1) if event_dims_of(step.first) else where
    return result, _with_digits(torch.zeros_like(log_det), log_det, where)


def _is_identity(step: _Step, params: Sequence[Any], result: Tensor) -> Tensor:
    """Return where both bijectors of a step have the same parameters; not where the value is outside of their sets."""
    (_, some), (_, others) = _with_params(step, params)
    return are_equal(step.first, some, others) & ~result.isnan()


def _with_digits(digits: Tensor, result: Tensor, where: Tensor) -> Tensor:
    """Return a result with these digits at some places, and its own derivatives at all."""
    growth = torch.where(result.isfinite(), result - result.detach(), 0.0)
    return torch.where(where, digits.detach() + growth, result)


def _expanded(params: Any, params_class: Any, value: Tensor) -> Tensor:
    """Return a value without axes at every position of the parameters."""
    if value.ndim:
        return value
    layouts = (kind.layout for kind in params_class.__annotations__.values())
    shapes = [
        tensor.shape[:-1] if layout == "matrix" else tensor.shape
        for tensor, layout in zip(params, layouts, strict=True)
    ]
    return value.expand(torch.broadcast_shapes(*shapes)) if shapes else value


def confine_of_last(parts: Sequence[Any], fields: tuple[str, ...]) -> Confine | None:
    """Return what keeps values of the chain off the bounds of its last bijector, with the names of these bounds."""
    spec = specification_of(parts[-1].forward) if parts else None
    if spec is None or spec.confine is None:
        return None
    (inner, bounds), fixed = function_and_bounds(spec.confine), getattr(parts[-1], "fixed", {})
    own = dict(zip(parts[-1].Params._fields, fields[len(fields) - len(parts[-1].Params._fields) :], strict=True))

    def confine(value: Tensor, *given: Tensor) -> Tensor:
        left = iter(given)
        all_bounds = [
            next(left) if name in own else torch.as_tensor(fixed[name], dtype=value.dtype, device=value.device)
            for name in bounds
        ]
        return inner(value, *all_bounds)

    return Confine(confine, tuple(own[name] for name in bounds if name in own))
