"""Kullback-Leibler divergence between families.

Families that are the same, up to what is bound, have a verb for it; a family of your own says by `register` how it
diverges from others.
"""

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor

from functional_dists.family import BoundFamily, as_params

__all__ = ["kl", "register"]

# By identity, since a family need not be hashable; the families are kept, so that no other takes their identity.
_REGISTERED: dict[tuple[int, int], tuple[Any, Any, Callable[..., Tensor]]] = {}


def kl(p: tuple[Any, Any], q: tuple[Any, Any], **options: Any) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats.

    Args:
        p: A family and its parameters: `Params`, a tuple or a mapping.
        q: A family and its parameters.
        options: Those of the family's own `kl`, such as `event_dims`.

    Returns:
        A tensor of shape (*batch).

    Raises:
        NotImplementedError: no divergence between these families is known.
        TypeError: the parameters are not those of their family.

    >>> import torch
    >>> from functional_dists import bind, tanh_normal
    >>> torque = bind(tanh_normal, low=-2.0, high=2.0)
    >>> kl((torque, (torch.zeros(2), 1.0)), (tanh_normal, (torch.zeros(2), 2.0, -2.0, 2.0)), event_dims=0)
    tensor([0.3181, 0.3181])
    """
    for name, side in (("p", p), ("q", q)):
        if not isinstance(side, tuple) or len(side) != 2 or not hasattr(side[0], "Params"):
            raise TypeError(
                f"divergence.kl: {name} must be a pair of a family and its parameters, as in (normal, (loc, scale)), "
                f"got {type(side).__module__}.{type(side).__name__}"
            )
    options = {**_bound_options(p[0]), **options}
    (p_family, p_params), (q_family, q_params) = unbound(*p), unbound(*q)
    registered = _REGISTERED.get((id(p_family), id(q_family)))
    if registered is not None:
        return registered[2](p_params, q_params, **options)
    if p_family is not q_family or not hasattr(p_family, "kl"):
        names = [getattr(family, "__name__", repr(family)) for family in (p_family, q_family)]
        raise NotImplementedError(f"no KL divergence of {names[0]} from {names[1]} is known; `register` one")
    return p_family.kl(p_params, q_params, **options)


def register(p_family: Any, q_family: Any) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Decorate a function `f(p_params, q_params, **options)` that gives the divergence of two families.

    Args:
        p_family: A family, with nothing bound.
        q_family: Another, or the same.

    Returns:
        The decorator, which returns the function unchanged.

    >>> import torch
    >>> from functional_dists import categorical, masked_categorical
    >>> @register(categorical, masked_categorical)
    ... def of_all_from_some(p, q):
    ...     return masked_categorical.kl((p.logits, True), q)
    >>> kl((categorical, (torch.zeros(2),)), (masked_categorical, (torch.zeros(2), torch.tensor([True, True]))))
    tensor(0.)
    """

    def remember(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        _REGISTERED[id(p_family), id(q_family)] = (p_family, q_family, function)
        return function

    return remember


def _bound_options(family: Any) -> dict[str, Any]:
    """Return what `bind` fixed of the options of the family's divergence."""
    if not isinstance(family, BoundFamily) or not hasattr(family, "kl"):
        return {}
    known = inspect.signature(family.kl).parameters
    return {name: given for name, given in family.fixed.items() if name in known}


def unbound(family: Any, params: Any) -> tuple[Any, Any]:
    """Return a family with nothing bound, and all its parameters.

    >>> from functional_dists import bind, normal
    >>> unbound(bind(normal, scale=1.0), (0.0,))[1]
    Params(loc=0.0, scale=1.0)
    """
    params = as_params(family.Params, params)
    if not isinstance(family, BoundFamily):
        return family, params
    fixed = {name: given for name, given in family.fixed.items() if name in family.family.Params._fields}
    return family.family, family.family.Params(**fixed, **params._asdict())
