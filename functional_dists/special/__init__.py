"""Special functions that are accurate, with accurate derivatives, in every transform of PyTorch."""

from functional_dists.special import one_hot, softmax, support, tokens, truncated, vectorized
from functional_dists.special.choice import choose, choose_and_score, choose_by_logits
from functional_dists.special.constant import is_constant, is_transformed
from functional_dists.special.density import log_normal_density_at, log_tanh_normal_density_at
from functional_dists.special.elementary import (
    expm1,
    log_sech2,
    nan_of,
    one_minus_tanh,
    plus_scaled,
    root,
    row_is_nan,
    sech2,
    softplus,
    tanh,
    x_minus_log1p,
)
from functional_dists.special.gaussian import (
    HALF_LOG_2PI,
    log_ndtr,
    log_normal_density,
    log_pushforward_density,
    log_pushforward_density_at,
    ndtr,
    ndtri,
    noise_of_constant_value,
    normal_kl,
)
from functional_dists.special.interval import (
    log_growth,
    log_growth_of_distances,
    log_squash_slope,
    next_above,
    off_bounds,
    pre_image,
    squash,
    strictly_inside,
    unsquash,
)
from functional_dists.special.quadrature import fine_normal_rule, half_line_rule, normal_rule
from functional_dists.special.softmax_divergence import softmax_kl

__all__ = [
    "HALF_LOG_2PI",
    "choose",
    "choose_and_score",
    "choose_by_logits",
    "expm1",
    "fine_normal_rule",
    "half_line_rule",
    "is_constant",
    "is_transformed",
    "log_growth",
    "log_growth_of_distances",
    "log_ndtr",
    "log_normal_density",
    "log_normal_density_at",
    "log_pushforward_density",
    "log_pushforward_density_at",
    "log_sech2",
    "log_squash_slope",
    "log_tanh_normal_density_at",
    "nan_of",
    "ndtr",
    "ndtri",
    "next_above",
    "noise_of_constant_value",
    "normal_kl",
    "normal_rule",
    "off_bounds",
    "one_hot",
    "one_minus_tanh",
    "plus_scaled",
    "pre_image",
    "root",
    "row_is_nan",
    "sech2",
    "softmax",
    "softmax_kl",
    "softplus",
    "squash",
    "strictly_inside",
    "support",
    "tanh",
    "tokens",
    "truncated",
    "unsquash",
    "vectorized",
    "x_minus_log1p",
]
__dir__ = __all__.copy  # what tab completion shows
