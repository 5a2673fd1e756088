"""Distributions of PyTorch and of TorchRL as distributions of families."""

from typing import Any

import torch
from torch import Tensor
from torch import distributions as theirs
from torch.distributions import (
    AffineTransform,
    Categorical,
    ComposeTransform,
    Distribution,
    Independent,
    IndependentTransform,
    OneHotCategorical,
    TanhTransform,
    TransformedDistribution,
)

from functional_dists.combinators import (
    half_cauchy,
    half_normal,
    log_normal,
    one_hot_categorical,
    pareto,
    weibull,
)
from functional_dists.continuous import (
    beta,
    cauchy,
    chi2,
    dirichlet,
    exponential,
    fisher_snedecor,
    gamma,
    gumbel,
    inverse_gamma,
    kumaraswamy,
    laplace,
    low_rank_normal,
    multivariate_normal,
    normal,
    student_t,
    tanh_normal,
    truncated_normal,
    uniform,
    von_mises,
)
from functional_dists.discrete import bernoulli, categorical, geometric, poisson
from functional_dists.distributions.base import FamilyDistribution

__all__ = ["CLASSES", "as_family"]
__dir__ = __all__.copy  # what tab completion shows

# The family of a class, and the attributes that are its parameters.
_SAME: dict[type[Distribution], tuple[Any, tuple[str, ...]]] = {
    theirs.Bernoulli: (bernoulli, ("logits",)),
    theirs.Beta: (beta, ("concentration1", "concentration0")),
    theirs.Cauchy: (cauchy, ("loc", "scale")),
    theirs.Chi2: (chi2, ("df",)),
    theirs.Dirichlet: (dirichlet, ("concentration",)),
    theirs.Exponential: (exponential, ("rate",)),
    theirs.FisherSnedecor: (fisher_snedecor, ("df1", "df2")),
    theirs.Gamma: (gamma, ("concentration", "rate")),
    theirs.Geometric: (geometric, ("logits",)),
    theirs.Gumbel: (gumbel, ("loc", "scale")),
    theirs.HalfCauchy: (half_cauchy, ("scale",)),
    theirs.HalfNormal: (half_normal, ("scale",)),
    theirs.InverseGamma: (inverse_gamma, ("concentration", "rate")),
    theirs.Kumaraswamy: (kumaraswamy, ("concentration1", "concentration0")),
    theirs.Laplace: (laplace, ("loc", "scale")),
    theirs.LogNormal: (log_normal, ("loc", "scale")),
    theirs.LowRankMultivariateNormal: (low_rank_normal, ("loc", "cov_factor", "cov_diag")),
    theirs.MultivariateNormal: (multivariate_normal, ("loc", "scale_tril")),
    theirs.Normal: (normal, ("loc", "scale")),
    theirs.Pareto: (pareto, ("scale", "alpha")),
    theirs.Poisson: (poisson, ("rate",)),
    theirs.StudentT: (student_t, ("df", "loc", "scale")),
    theirs.Uniform: (uniform, ("low", "high")),
    theirs.VonMises: (von_mises, ("loc", "concentration")),
    theirs.Weibull: (weibull, ("scale", "concentration")),
}
_OTHERS = (Categorical, Independent, OneHotCategorical, TransformedDistribution)
#: The classes that are converted, without those whose base class is one of them.
CLASSES = tuple(made for made in (*_SAME, *_OTHERS) if not any(base in (*_SAME, *_OTHERS) for base in made.__mro__[1:]))


def as_family(dist: Distribution) -> FamilyDistribution | None:
    """Convert a distribution of PyTorch or TorchRL to one of a family; return None where no family equals it.

    >>> as_family(Independent(theirs.Normal(torch.zeros(2, 3), 1.0), 1))
    FamilyDistribution(normal, loc: (2, 3), scale: (2, 3))
    """
    if isinstance(dist, FamilyDistribution):
        return dist
    for made in type(dist).__mro__:
        if made in _SAME:
            family, names = _SAME[made]
            params = tuple(getattr(dist, name) for name in names)
            return FamilyDistribution(family, params, 0, validate_args=False)
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
