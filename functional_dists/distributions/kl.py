"""Kullback-Leibler divergences of the classes here, from each other and from PyTorch's and TorchRL's classes."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    Categorical,
    ComposeTransform,
    Distribution,
    Independent,
    IndependentTransform,
    Normal,
    OneHotCategorical,
    TanhTransform,
    TransformedDistribution,
    register_kl,
)

from functional_dists import divergence
from functional_dists.combinators import (
    masked_one_hot_categorical,
    one_hot_categorical,
    one_hot_ordinal,
    sparse_one_hot_categorical,
)
from functional_dists.continuous import normal, tanh_normal, truncated_normal
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
from functional_dists.special import softmax

__all__ = ["as_family"]


_SPARSE = (sparse_categorical, sparse_one_hot_categorical)
_ONE_HOT = (one_hot_categorical, masked_one_hot_categorical, sparse_one_hot_categorical, one_hot_ordinal)


def _of_families(p: FamilyDistribution, q: FamilyDistribution) -> Tensor:
    p_family, p_params = divergence.unbound(p.family, p.params)
    q_family, q_params = divergence.unbound(q.family, q.params)
    if p_family is not q_family or p_family in _SPARSE:  # whose padding values may differ
        p_table, q_table = _table(p, p_family, p_params), _table(q, q_family, q_params)
        if p_table is not None and q_table is not None:
            if (p_family in _ONE_HOT) != (q_family in _ONE_HOT):
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
    return divergence.kl((p.family, p.params), (q.family, q.params), **options)


def _table(dist: FamilyDistribution, family: Any, params: Any) -> Tensor | None:
    """Return log-probabilities of all outcomes up to a constant, -inf for those outside the support."""
    if family in (categorical, one_hot_categorical):
        return params.logits
    if family in (ordinal, one_hot_ordinal):
        return logits_of(params.scores)
    if family in (masked_categorical, masked_one_hot_categorical):
        return softmax.masked(*torch.broadcast_tensors(*params))
    if family in _SPARSE:
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
def as_family(dist: Distribution) -> FamilyDistribution | None:
    """Return a distribution of PyTorch or TorchRL as one of a family; None where no family here is the same.

    >>> as_family(Independent(Normal(torch.zeros(2, 3), 1.0), 1))
    FamilyDistribution(loc: (2, 3), scale: (2, 3))
    """
    if isinstance(dist, FamilyDistribution):
        return dist
    if isinstance(dist, Normal):
        return FamilyDistribution(normal, (dist.loc, dist.scale), 0, validate_args=False)
    if isinstance(dist, (Categorical, OneHotCategorical)):
        return _of_table(dist)
    if isinstance(dist, Independent):
        return _independent(dist)
    return _squashed(dist) if isinstance(dist, TransformedDistribution) else None


def _of_table(dist: Any) -> FamilyDistribution | None:
    if getattr(dist, "_sparse_mask", False):
        return None  # TorchRL's, whose logits are those of listed outcomes
    # TorchRL's classes of vectors are kinds of Categorical.
    is_one_hot = any("OneHot" in made.__name__ for made in type(dist).__mro__)
    return FamilyDistribution(one_hot_categorical if is_one_hot else categorical, (dist.logits,), validate_args=False)


def _independent(dist: Any) -> FamilyDistribution | None:
    if type(dist).__name__ == "TruncatedNormal":  # TorchRL's
        return FamilyDistribution(truncated_normal, (dist.loc, dist.scale, dist.low, dist.high), 1, validate_args=False)
    base = as_family(dist.base_dist)
    if base is None or "event_dims" not in base._options:
        return None
    dims = base._options["event_dims"] + dist.reinterpreted_batch_ndims
    return FamilyDistribution(base.family, base.params, dims, validate_args=False)


def _squashed(dist: Any) -> FamilyDistribution | None:
    """Return a normal distribution mapped by affine transforms and one tanh, in any order, as one of a family."""
    base = as_family(dist.base_dist)
    if base is None or base.family is not normal:
        return None
    loc, scale = base.params
    bounds: list[Tensor] = []
    for transform in _parts(dist.transforms):
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
    if all(hasattr(dist, name) for name in ("low", "high")):  # TorchRL's, whose transform has rounded them
        bounds = [bound.to(loc) for bound in (dist.low, dist.high)]
    return FamilyDistribution(tanh_normal, (loc, scale, *bounds), len(dist.event_shape), validate_args=False)


def _parts(transforms: Any) -> list[Any]:
    found: list[Any] = []
    for transform in transforms:
        if isinstance(transform, ComposeTransform):
            found += _parts(transform.parts)
        else:
            found += _parts([transform.base_transform]) if isinstance(transform, IndependentTransform) else [transform]
    return found


def _kl(p: Distribution, q: Distribution) -> Tensor:
    p_made, q_made = as_family(p), as_family(q)
    if p_made is None or q_made is None:
        raise NotImplementedError(f"no KL divergence of {type(p).__name__} from {type(q).__name__} is known")
    return _of_families(*((_near(p_made, q_made), q_made) if p_made is not p else (p_made, _near(q_made, p_made))))


def _near(made: FamilyDistribution, given: FamilyDistribution) -> FamilyDistribution:
    """Return a tanh-normal with the bounds of another, where they differ by the rounding of an affine transform."""
    of_made, of_given = (divergence.unbound(dist.family, dist.params) for dist in (made, given))
    if of_made[0] is not tanh_normal or of_given[0] is not tanh_normal:
        return made
    params, wanted = of_made[1], of_given[1]
    tolerance = 4 * torch.finfo(params.low.dtype).eps * torch.maximum(params.low.abs(), params.high.abs())
    low, high = (
        torch.where((mine - other).abs() <= tolerance, other, mine)
        for mine, other in ((params.low, wanted.low), (params.high, wanted.high))
    )
    dims = made._options["event_dims"]
    return FamilyDistribution(tanh_normal, params._replace(low=low, high=high), dims, validate_args=False)


# For two classes at most one pair is registered: `torch.compile` cannot trace PyTorch's choice among several.
register_kl(FamilyDistribution, FamilyDistribution)(_of_families)
for _other in (Normal, Independent, Categorical, OneHotCategorical, TransformedDistribution):
    register_kl(FamilyDistribution, _other)(_kl)
    register_kl(_other, FamilyDistribution)(_kl)
