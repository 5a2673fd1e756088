"""Kullback-Leibler divergence between two distributions, of the same or of different families.

Two distributions of one family use its verb `kl`, even if `bind` fixed some parameters. The pairs of univariate
families with a closed form are known. `register` adds a function for another pair of families.
"""

import inspect
from collections.abc import Callable
from typing import Any

import optree
from torch import Tensor

from functional_dists.divergence_pairs import PAIRS
from functional_dists.family import BoundFamily, as_params, name_of

__all__ = ["balanced_kl", "kl", "register"]
__dir__ = __all__.copy  # what tab completion shows

# By id, since a family need not be hashable. The entries hold the families, so that no other object gets the same id.
_REGISTERED: dict[tuple[int, int], tuple[Any, Any, Callable[..., Tensor]]] = {
    (id(p_family), id(q_family)): (p_family, q_family, function) for p_family, q_family, function in PAIRS
}


def kl(p: tuple[Any, Any], q: tuple[Any, Any], **options: Any) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats.

    Args:
        p: The first distribution, a pair of a family and its parameters: `Params`, a tuple or a mapping.
        q: The second distribution, also a pair.
        options: Options of the family's own `kl`, such as `event_dims`.

    Returns:
        A tensor of shape (*batch).

    Raises:
        NotImplementedError: no function is registered for this pair of families.
        TypeError: an argument is not such a pair, or the parameters do not fit the family.

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
    for p_registered, q_registered, function in _REGISTERED.values():  # `torch.compile` of torch 2.11 takes no `id`
        if p_registered is p_family and q_registered is q_family:
            return function(p_params, q_params, **options)
    if p_family is not q_family or not hasattr(p_family, "kl"):
        names = [name_of(family) for family in (p_family, q_family)]
        raise NotImplementedError(
            f"no KL divergence of {names[0]} from {names[1]} is registered; add one with divergence.register"
        )
    return p_family.kl(p_params, q_params, **options)


def balanced_kl(
    family: Any,
    posterior: Any,
    prior: Any,
    *,
    dynamics: float | Tensor = 1.0,
    representation: float | Tensor = 0.1,
    free_nats: float | Tensor = 1.0,
    **options: Any,
) -> Tensor:
    """Return the KL loss of a world model: the divergence of the posterior from the prior, with balanced gradients.

    It is dynamics * max(free_nats, KL(stopped posterior || prior)) plus
    representation * max(free_nats, KL(posterior || stopped prior)), where a stopped distribution has no gradient. Below
    the free nats there is no gradient (Hafner et al., "Mastering diverse domains through world models", 2023, the
    source of the defaults). With weights alpha and 1 - alpha and no free nats it is the loss of DreamerV2.

    Args:
        family: A family with the verb `kl`. For a latent of several categories, such as `independent(categorical)`,
            the free nats are those of their sum.
        posterior: Its parameters that have seen the observation: `Params`, a tuple or a mapping.
        prior: Its parameters that have not.
        dynamics: The weight of the term that trains the prior.
        representation: The weight of the term that trains the posterior.
        free_nats: The divergence below which nothing is trained, in nats.
        options: Options of the family's `kl`, such as `event_dims`.

    Returns:
        A tensor of shape (*batch).

    Raises:
        NotImplementedError: the family has no divergence.
        TypeError: the parameters do not fit the family.

    >>> import torch
    >>> from functional_dists import categorical
    >>> posterior, prior = (torch.tensor([3.0, 0.0]),), (torch.zeros(2),)
    >>> balanced_kl(categorical, posterior, prior, free_nats=0.1)
    tensor(0.5525)
    """
    posterior, prior = (as_params(family.Params, params) for params in (posterior, prior))
    of_prior = kl((family, _stopped(posterior)), (family, prior), **options)
    of_posterior = kl((family, posterior), (family, _stopped(prior)), **options)
    return dynamics * of_prior.clamp(min=free_nats) + representation * of_posterior.clamp(min=free_nats)


def _stopped(params: Any) -> Any:
    """Return parameters without gradient."""

    def stop(leaf: Any) -> Any:
        return leaf.detach() if isinstance(leaf, Tensor) else leaf

    return optree.tree_map(stop, params, namespace="torch")


def register(p_family: Any, q_family: Any) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a function `f(p_params, q_params, **options)` as the divergence of two families; use as a decorator.

    Args:
        p_family: The family of the first distribution, not a bound family.
        q_family: The family of the second distribution, not a bound family.

    Returns:
        A decorator, which returns the function unchanged.

    >>> import torch
    >>> from functional_dists import categorical, masked_categorical
    >>> @register(categorical, masked_categorical)
    ... def kl_of_all_from_some(p, q):
    ...     return masked_categorical.kl((p.logits, True), q)
    >>> kl((categorical, (torch.zeros(2),)), (masked_categorical, (torch.zeros(2), torch.tensor([True, True]))))
    tensor(0.)
    """

    def add(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        _REGISTERED[id(p_family), id(q_family)] = (p_family, q_family, function)
        return function

    return add


def _bound_options(family: Any) -> dict[str, Any]:
    """Return the options of the family's `kl` that `bind` fixed."""
    if not isinstance(family, BoundFamily) or not hasattr(family, "kl"):
        return {}
    known = inspect.signature(family.kl).parameters
    return {name: given for name, given in family.fixed.items() if name in known}


def unbound(family: Any, params: Any) -> tuple[Any, Any]:
    """Return the family without `bind`, and all its parameters.

    >>> from functional_dists import bind, normal
    >>> unbound(bind(normal, scale=1.0), (0.0,))[1]
    Params(loc=0.0, scale=1.0)
    """
    params = as_params(family.Params, params)
    if not isinstance(family, BoundFamily):
        return family, params
    fixed = {name: given for name, given in family.fixed.items() if name in family.family.Params._fields}
    return family.family, family.family.Params(**fixed, **params._asdict())
