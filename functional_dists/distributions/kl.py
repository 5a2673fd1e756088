"""Kullback-Leibler divergences between the classes of the shim, PyTorch's and TorchRL's."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    Beta,
    Categorical,
    Chi2,
    ComposeTransform,
    Dirichlet,
    Distribution,
    Gamma,
    Independent,
    IndependentTransform,
    InverseGamma,
    LogNormal,
    Normal,
    OneHotCategorical,
    TanhTransform,
    TransformedDistribution,
    register_kl,
)

from functional_dists.combinators import (
    log_normal,
    masked_one_hot_categorical,
    one_hot_categorical,
    one_hot_ordinal,
    sparse_one_hot_categorical,
)
from functional_dists.continuous import (
    beta,
    chi2,
    dirichlet,
    gamma,
    inverse_gamma,
    normal,
    tanh_normal,
    truncated_normal,
)
from functional_dists.discrete import (
    categorical,
    llm_masked_categorical,
    masked_categorical,
    ordinal,
    sparse_categorical,
)
from functional_dists.discrete.indices import mask_from_indices
from functional_dists.discrete.ordinal import logits_of
from functional_dists.distributions.base import FamilyDistribution
from functional_dists.divergence import kl, unbound
from functional_dists.special import softmax

__all__ = ["as_family"]


_SPARSE = (sparse_categorical, sparse_one_hot_categorical)
_ONE_HOT = (one_hot_categorical, masked_one_hot_categorical, sparse_one_hot_categorical, one_hot_ordinal)


def _is_in(families: tuple[Any, ...], family: Any) -> bool:
    """Return whether it is one of these; `torch.compile` of torch 2.11 cannot compare families by `in`."""
    return any(family is other for other in families)


def _kl_of_families(p: FamilyDistribution, q: FamilyDistribution) -> Tensor:
    p_family, p_params = unbound(p.family, p.params)
    q_family, q_params = unbound(q.family, q.params)
    if p_family is not q_family or _is_in(_SPARSE, p_family):  # padding values may differ
        p_table, q_table = _table(p, p_family, p_params), _table(q, q_family, q_params)
        if p_table is not None and q_table is not None:
            if _is_in(_ONE_HOT, p_family) != _is_in(_ONE_HOT, q_family):
                raise NotImplementedError("there is no KL divergence between vectors and integers")
            _check_events(p, q)
            found = categorical.kl(categorical.Params(p_table), categorical.Params(q_table))
            for family, params in ((p_family, p_params), (q_family, q_params)):
                if family is llm_masked_categorical and params.mask.ndim < params.logits.ndim:
                    found = torch.where(params.mask, found, 0.0)
            return found
    else:
        _check_events(p, q)
    options = {**q._fixed, **p._fixed, **p._options}
    return kl((p.family, p.params), (q.family, q.params), **options)


def _table(dist: FamilyDistribution, family: Any, params: Any) -> Tensor | None:
    """Return log-probabilities of all outcomes up to a constant, -inf for those outside the support."""
    if family in (categorical, one_hot_categorical):
        return params.logits
    if family in (ordinal, one_hot_ordinal):
        return logits_of(params.scores)
    if family in (masked_categorical, masked_one_hot_categorical):
        return softmax.masked(*torch.broadcast_tensors(*params))
    if _is_in(_SPARSE, family):
        padding_value = {**getattr(dist.family, "fixed", {}), **dist._fixed}.get("padding_value")
        mask = mask_from_indices(params.indices, params.logits.shape[-1], padding_value=padding_value)
        return softmax.masked(*torch.broadcast_tensors(params.logits, mask))
    if family is llm_masked_categorical:
        of_tokens = params.mask.ndim == params.logits.ndim
        return softmax.masked(*params) if of_tokens else params.logits
    return None


def _check_events(p: FamilyDistribution, q: FamilyDistribution) -> None:
    if (p._options, p.event_shape) != (q._options, q.event_shape):
        raise ValueError(
            f"kl_divergence: the distributions have different events: p of shape {tuple(p.event_shape)}, q of shape "
            f"{tuple(q.event_shape)}; give both the same trailing axes (`event_dims`, `Independent`)"
        )
    counts = [dist.params[0].shape[-1:] for dist in (p, q)]
    if p._scores_indices and counts[0] != counts[1]:
        raise ValueError(
            f"kl_divergence: the distributions have different numbers of outcomes: p {counts[0][0]}, q {counts[1][0]}"
        )
    try:
        torch.broadcast_shapes(p.batch_shape, q.batch_shape)
    except RuntimeError:
        raise ValueError(
            f"kl_divergence: the batches do not broadcast: p of shape {tuple(p.batch_shape)}, "
            f"q of shape {tuple(q.batch_shape)}"
        ) from None


# --------------------------------------------------------------------------------------------------- other libraries
#: PyTorch's classes of distributions of every element: the family, and the names of its parameters. A class stands
#: behind its subclasses.
_OF_ELEMENTS: dict[type[Distribution], tuple[Any, tuple[str, ...]]] = {
    Normal: (normal, ("loc", "scale")),
    Beta: (beta, ("concentration1", "concentration0")),
    Chi2: (chi2, ("df",)),
    Gamma: (gamma, ("concentration", "rate")),
    InverseGamma: (inverse_gamma, ("concentration", "rate")),
    LogNormal: (log_normal, ("loc", "scale")),
}


def as_family(dist: Distribution) -> FamilyDistribution | None:
    """Convert a distribution of PyTorch or TorchRL to one of a family; return None where no family equals it.

    >>> as_family(Independent(Normal(torch.zeros(2, 3), 1.0), 1))
    FamilyDistribution(normal, loc: (2, 3), scale: (2, 3))
    """
    if isinstance(dist, FamilyDistribution):
        return dist
    for made, (family, names) in _OF_ELEMENTS.items():
        if isinstance(dist, made):
            return FamilyDistribution(family, tuple(getattr(dist, name) for name in names), 0, validate_args=False)
    if isinstance(dist, Dirichlet):
        return FamilyDistribution(dirichlet, (dist.concentration,), validate_args=False)
    if isinstance(dist, (Categorical, OneHotCategorical)):
        return _from_table(dist)
    if isinstance(dist, Independent):
        return _from_independent(dist)
    return _from_transformed(dist) if isinstance(dist, TransformedDistribution) else None


def _from_table(dist: Any) -> FamilyDistribution | None:
    if getattr(dist, "_sparse_mask", False):
        return None  # a class of TorchRL, whose logits are those of listed outcomes
    # TorchRL's one-hot classes are subclasses of Categorical.
    is_one_hot = any("OneHot" in made.__name__ for made in type(dist).__mro__)
    return FamilyDistribution(one_hot_categorical if is_one_hot else categorical, (dist.logits,), validate_args=False)


def _from_independent(dist: Any) -> FamilyDistribution | None:
    if type(dist).__name__ == "TruncatedNormal":  # the class of TorchRL
        return FamilyDistribution(truncated_normal, (dist.loc, dist.scale, dist.low, dist.high), 1, validate_args=False)
    base = as_family(dist.base_dist)
    if base is None or "event_dims" not in base._options:
        return None
    dims = base._options["event_dims"] + dist.reinterpreted_batch_ndims
    return FamilyDistribution(base.family, base.params, dims, validate_args=False)


def _from_transformed(dist: Any) -> FamilyDistribution | None:
    """Convert a normal distribution under affine transforms and at most one tanh, in any order."""
    base = as_family(dist.base_dist)
    if base is None or base.family is not normal:
        return None
    loc, scale = base.params
    bounds: list[Tensor] = []
    for transform in _flat_transforms(dist.transforms):
        if isinstance(transform, TanhTransform) and not bounds:
            bounds = [torch.full_like(loc, -1.0), torch.full_like(loc, 1.0)]
        elif not isinstance(transform, AffineTransform):
            return None
        elif bounds:
            ends = [transform.loc + transform.scale * bound for bound in bounds]
            loc = torch.where(ends[0] > ends[1], -loc, loc)  # tanh is odd
            bounds = [torch.minimum(*ends), torch.maximum(*ends)]
        else:
            loc, scale = transform.loc + transform.scale * loc, abs(transform.scale) * scale
    if not bounds:
        return FamilyDistribution(normal, (loc, scale), len(dist.event_shape), validate_args=False)
    if all(hasattr(dist, name) for name in ("low", "high")):  # of TorchRL, whose transform has rounded them
        bounds = [bound.to(loc) for bound in (dist.low, dist.high)]
    return FamilyDistribution(tanh_normal, (loc, scale, *bounds), len(dist.event_shape), validate_args=False)


def _flat_transforms(transforms: Any) -> list[Any]:
    found: list[Any] = []
    for transform in transforms:
        if isinstance(transform, ComposeTransform):
            found += _flat_transforms(transform.parts)
        elif isinstance(transform, IndependentTransform):
            found += _flat_transforms([transform.base_transform])
        else:
            found.append(transform)
    return found


def _kl_of_any(p: Distribution, q: Distribution) -> Tensor:
    p_converted, q_converted = as_family(p), as_family(q)
    if p_converted is None or q_converted is None:
        raise NotImplementedError(f"no KL divergence of {type(p).__name__} from {type(q).__name__} is known")
    if p_converted is p:
        return _kl_of_families(p_converted, _with_equal_bounds(q_converted, p_converted))
    return _kl_of_families(_with_equal_bounds(p_converted, q_converted), q_converted)


def _with_equal_bounds(converted: FamilyDistribution, given: FamilyDistribution) -> FamilyDistribution:
    """Return a tanh-normal with the bounds of another where both differ by the rounding of an affine transform."""
    family, params = unbound(converted.family, converted.params)
    given_family, wanted = unbound(given.family, given.params)
    if family is not tanh_normal or given_family is not tanh_normal:
        return converted
    tolerance = 4 * torch.finfo(params.low.dtype).eps * torch.maximum(params.low.abs(), params.high.abs())
    low, high = (
        torch.where((bound - other).abs() <= tolerance, other, bound)
        for bound, other in ((params.low, wanted.low), (params.high, wanted.high))
    )
    dims = converted._options["event_dims"]
    return FamilyDistribution(tanh_normal, params._replace(low=low, high=high), dims, validate_args=False)


# One pair at most is registered for two classes: `torch.compile` cannot trace how PyTorch chooses among several.
register_kl(FamilyDistribution, FamilyDistribution)(_kl_of_families)
for _other in (*_OF_ELEMENTS, Independent, Categorical, OneHotCategorical, Dirichlet, TransformedDistribution):
    register_kl(FamilyDistribution, _other)(_kl_of_any)
    register_kl(_other, FamilyDistribution)(_kl_of_any)
