"""A discrete family whose values are one-hot vectors of length N.

Probabilities are those of the family. `rsample` has one of two gradients. "straight_through" draws a one-hot vector
with the gradient of the probabilities (Bengio, Leonard, Courville 2013). "relaxed" draws a point inside the simplex of
the possible outcomes: the softmax of perturbed logits divided by a temperature. `log_prob_relaxed` is its log-density
(Maddison, Mnih, Teh, "The Concrete distribution", 2017).
"""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from functional_dists.combinators.values import require_outcomes
from functional_dists.family import (
    Definition,
    OneHot,
    Parameters,
    combinator,
    define,
    fit_of,
    name_of,
    specification_of,
)
from functional_dists.family.options import NOT_NEGATIVE, POSITIVE, Range, fixed, per_row
from functional_dists.random import Shape, Source, draw_entries, gumbel
from functional_dists.special import one_hot as vectors
from functional_dists.special import softmax
from functional_dists.special import support as supports
from functional_dists.special.axis import cuts_of, largest_of_rows, row_size, summed
from functional_dists.special.temperature import positive

__all__ = ["one_hot"]

Gradient = Literal["straight_through", "relaxed"]


@combinator
def one_hot(family: Any) -> Definition:
    """Return a discrete family whose outcomes are one-hot vectors.

    Args:
        family: A discrete family with values 0, ..., N - 1 and the verbs `sample`, `sample_and_log_prob`, `log_prob`,
            `probs` and `mode`. Its function `table` gives the logits of all outcomes and the mask of the possible ones;
            without that function its `normalized_logits` are used.

    Returns:
        A family with the parameters and options of `family`.

    Raises:
        TypeError: `family` is not a discrete family, or its values are not outcomes of a row.

    >>> from functional_dists import categorical, random
    >>> one_hot(categorical).sample(random.key(42), torch.zeros(3))
    tensor([0, 1, 0])
    """
    require_outcomes("one_hot", family, ("probs",))
    name = f"one_hot({name_of(family)})"
    value = "Vectors, of shape (*sample, *batch, N): they may add leading axes to the batch."
    sampled = "One-hot vectors of shape (*sample_shape, *batch, N), int64."
    fit, spec = fit_of(family), specification_of(family.sample)
    verb = define(
        family.Params,
        name,
        takes_dtype=True,
        values_of=OneHot,
        fit=fit,
        knows_cut_rows=fit is None and spec is not None and spec.knows_cut_rows,
        value=value,
        sample=sampled,
    )
    verb.inherit(family, "check", "probs", "normalized_logits", "entropy", "kl")

    def table(params: Any, options: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        if hasattr(family, "table"):
            return family.table(*params, **options)
        return family.normalized_logits(*params, **options), None

    def like(params: Any) -> Tensor:
        """Return a tensor whose last axis is that of the outcomes."""
        return params[0] if fit is None else table(params, {})[0]

    def encoded(outcome: Tensor, params: Any) -> Tensor:
        return vectors.encoded(outcome, like(params))

    def decoded(value: Tensor, params: Any) -> tuple[Tensor, Tensor | None]:
        outcome, is_nan = vectors.decoded(value)
        return torch.where(outcome < 0, row_size(like(params)), outcome), is_nan  # an outcome that does not exist

    # ---------------------------------------------------------------------------------------------------------- draws
    @verb(passes_to=family.sample)
    def sample(key: Source, params: Parameters, *, sample_shape: Shape = (), **options: Any) -> Tensor:
        """Draw one-hot vectors."""
        return encoded(family.sample(key, *params, sample_shape=sample_shape, **options), params)

    @verb(passes_to=family.sample_and_log_prob)
    def sample_and_log_prob(
        key: Source, params: Parameters, *, sample_shape: Shape = (), **options: Any
    ) -> tuple[Tensor, Tensor]:
        """Draw what `sample` draws, with its log-probability, which has the score-function gradient."""
        outcome, log_prob = family.sample_and_log_prob(key, *params, sample_shape=sample_shape, **options)
        return encoded(outcome, params), log_prob

    @verb(passes_to=family.sample)
    def rsample(
        key: Source,
        params: Parameters,
        *,
        sample_shape: Shape = (),
        gradient: Gradient = "straight_through",
        temperature: float | Tensor = 1.0,
        **options: Any,
    ) -> Tensor:
        """Draw vectors with a gradient, in the parameters' dtype: those of `sample`, or relaxed ones."""
        logits, mask = table(params, options)
        row_temperature = _temperature_per_row(f"{name}.rsample", temperature, logits, mask, within=NOT_NEGATIVE)
        if _is_relaxed(gradient):
            return _relaxed_log_draw(key, logits, mask, sample_shape, fixed(temperature) or row_temperature)[1].exp()
        probs = softmax.probs(softmax.terms(logits, mask))
        return vectors.straight_through(sample(key, *params, sample_shape=sample_shape, **options), probs)

    @verb(passes_to=family.sample)
    def rsample_and_log_prob(
        key: Source,
        params: Parameters,
        *,
        sample_shape: Shape = (),
        gradient: Gradient = "straight_through",
        temperature: float | Tensor = 1.0,
        **options: Any,
    ) -> tuple[Tensor, Tensor]:
        """Draw what `rsample` draws, with its log-probability; for relaxed vectors, their log-density."""
        logits, mask = table(params, options)
        within = POSITIVE if _is_relaxed(gradient) else NOT_NEGATIVE
        row_temperature = _temperature_per_row(f"{name}.rsample_and_log_prob", temperature, logits, mask, within=within)
        if _is_relaxed(gradient):
            support, log_value = _relaxed_log_draw(
                key, logits, mask, sample_shape, fixed(temperature) or row_temperature
            )
            return log_value.exp(), vectors.relaxed_log_density(logits, support, log_value, row_temperature)
        hard, log_prob = sample_and_log_prob(key, *params, sample_shape=sample_shape, **options)
        return vectors.straight_through(hard, softmax.probs(softmax.terms(logits, mask))), log_prob

    # ---------------------------------------------------------------------------------------------------- probability
    @verb(passes_to=family.log_prob)
    def log_prob(params: Parameters, value: OneHot, **options: Any) -> Tensor:
        """Return the log-probability of a one-hot vector; -inf for a vector that is not one-hot, or not possible."""
        outcome, is_nan = decoded(value, params)
        return vectors.nan_where(is_nan, family.log_prob(*params, value=outcome, **options))

    if hasattr(family, "log_prob_and_entropy"):

        @verb(passes_to=family.log_prob_and_entropy)
        def log_prob_and_entropy(params: Parameters, value: OneHot, **options: Any) -> tuple[Tensor, Tensor]:
            """Return the log-probability of a one-hot vector, as `log_prob` does, and the entropy."""
            outcome, is_nan = decoded(value, params)
            both = family.log_prob_and_entropy(*params, value=outcome, **options)
            return vectors.nan_where(is_nan, both[0]), both[1]

    elif hasattr(family, "entropy"):
        verb.log_prob_and_entropy(log_prob, family.entropy)

    @verb(passes_to=family.log_prob)
    def log_prob_relaxed(
        params: Parameters, value: OneHot, *, temperature: float | Tensor = 1.0, **options: Any
    ) -> Tensor:
        """Return the log-density of a relaxed vector on the simplex of the possible outcomes.

        At low temperatures entries of relaxed draws round to 0; an entry of 0 counts as the smallest normal number.
        """
        logits, mask = table(params, options)
        row_temperature = _temperature_per_row(f"{name}.log_prob_relaxed", temperature, logits, mask, within=POSITIVE)
        return _relaxed_score(logits, mask, value, row_temperature)

    @verb(passes_to=family.probs)
    def support(params: Parameters, **options: Any) -> Constraint:
        """Return the support as a constraint: the one-hot vectors of finite log-probability."""
        return supports.one_hot_outcomes(supports.allowed(*table(params, options)))

    # -------------------------------------------------------------------------------------------------------- moments
    @verb(passes_to=family.probs)
    def mean(params: Parameters, **options: Any) -> Tensor:
        """Return the mean of the vectors, elementwise: the probabilities of all outcomes."""
        return softmax.probs(softmax.terms(*table(params, options)))

    @verb(passes_to=family.probs)
    def variance(params: Parameters, **options: Any) -> Tensor:
        """Return the variance of the vectors, elementwise: p (1 - p)."""
        return softmax.variance(softmax.terms(*table(params, options)))

    verb.stddev(variance)

    @verb(passes_to=family.mode)
    def mode(params: Parameters, **options: Any) -> Tensor:
        """Return the most probable vector, the first among equals."""
        return encoded(family.mode(*params, **options), params)

    verb.deterministic(mode)
    return verb


def _temperature_per_row(
    function: str, temperature: float | Tensor, logits: Tensor, mask: Tensor | None, *, within: Range
) -> Tensor:
    """Return the checked option `temperature` as a tensor that broadcasts to ``(*B, 1)``."""
    batch = _shape(logits, mask)[:-1]
    wide = per_row(
        function, "temperature", temperature, batch, dtype=torch.float64, device=logits.device, within=within
    )
    return positive(wide, logits.dtype)


def _shape(logits: Tensor, mask: Tensor | None) -> torch.Size:
    return logits.shape if mask is None else torch.broadcast_shapes(logits.shape, mask.shape)


def _is_relaxed(gradient: Gradient) -> bool:
    if gradient not in ("straight_through", "relaxed"):
        raise ValueError(f'gradient must be "straight_through" or "relaxed", got {gradient!r}')
    return gradient == "relaxed"


def _relaxed_log_draw(
    key: Source, logits: Tensor, mask: Tensor | None, sample_shape: Shape, temperature: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Return the support, and the logarithms of drawn relaxed vectors."""
    support = softmax.terms(logits, mask).support
    *batch, count = support.shape
    noise = draw_entries(gumbel, key, sample_shape, batch, (count,), dtype=logits.dtype, device=logits.device)
    return support, vectors.relaxed(logits, support, noise, temperature)


def _relaxed_score(logits: Tensor, mask: Tensor | None, value: Tensor, temperature: Tensor) -> Tensor:
    """Return the log-density of relaxed vectors; -inf outside the simplex of the support."""
    support = softmax.terms(logits, mask).support
    cuts = cuts_of([-1])
    num_outside = summed(((value < 0) | (~support & (value > 0))).sum(-1).to(value.dtype), cuts)
    is_outside = (num_outside > 0) | ((summed(value.sum(-1), cuts) - 1).abs() >= 1e-3)  # False for NaN
    smallest = torch.finfo(value.dtype).tiny
    density = vectors.relaxed_log_density(
        logits, support, torch.where(value <= smallest, smallest, value).log(), temperature
    )
    return vectors.nan_where(largest_of_rows(value)[..., 0].isnan(), torch.where(is_outside, -torch.inf, density))
