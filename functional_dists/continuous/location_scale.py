"""What the families of loc + scale z share, for a z of a standard density. They compute in float64 and round once."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

import functional_dists.random as random
from functional_dists.family import Definition, Real, broadcast_shape, docs, require, sum_event
from functional_dists.random import Shape, Source
from functional_dists.special import noise_of_constant_value
from functional_dists.special import support as supports


def require_valid(loc: Tensor, scale: Tensor) -> None:
    """Raise a ValueError that names the parameter and the first bad position."""
    require(loc.isfinite(), "loc", "must be finite")
    require((scale > 0) & scale.isfinite(), "scale", "must be positive and finite")


def tails(key: Source, sample_shape: Shape, *params: Tensor) -> tuple[Tensor, Tensor]:
    """Draw u and 1 - u in float64, for parameters of the same dtype."""
    shape, like = broadcast_shape(*params), params[0]
    options: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
    return random.draw_entries(random.uniform_and_rest, key, sample_shape, shape, **options)


def moved(noise: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Return loc + scale noise, rounded once to the dtype of `loc`.

    >>> moved(torch.tensor(0.5), torch.tensor(1.0), torch.tensor(2.0))
    tensor(2.)
    """
    return (loc.double() + scale.double() * noise.double()).to(loc.dtype)


def standardized(value: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Return (value - loc) / scale in float64; it has no derivative where it is infinite.

    >>> standardized(torch.tensor([2.0, math.inf]), torch.tensor(1.0), torch.tensor(2.0))
    tensor([0.5000,    inf], dtype=torch.float64)
    """
    value, loc, scale = value.double(), loc.double(), scale.double()
    z = ((value - loc) / scale).detach()
    is_far = z.isinf()
    return torch.where(is_far, z, (torch.where(is_far, loc.detach(), value) - loc) / scale)


def score(
    log_density: Callable[[Tensor], Tensor], value: Tensor, loc: Tensor, scale: Tensor, event_dims: int
) -> Tensor:
    """Return the log-density at a value; -inf, with no gradient, where it overflows."""
    density = log_density(standardized(value, loc, scale)) - scale.double().log()
    is_far = density.detach() < -torch.finfo(value.dtype).max
    return sum_event(torch.where(is_far, -math.inf, density), event_dims).to(value.dtype)


def scored_draw(
    log_density: Callable[[Tensor], Tensor],
    noise: Tensor,
    loc: Tensor,
    scale: Tensor,
    event_dims: int,
    *,
    is_constant: bool,
) -> tuple[Tensor, Tensor]:
    """Return the value at a noise, and its log-density from the noise.

    If the value is constant, the log-density has the score-function gradient; else both have the pathwise gradient.
    """
    value, dtype = moved(noise, loc, scale), loc.dtype
    noise, loc, scale = noise.double(), loc.double(), scale.double()
    z = noise_of_constant_value(noise, loc, scale) if is_constant else noise + 0.0 * loc  # NaN if `loc` is not finite
    log_prob = sum_event(log_density(z) - scale.log(), event_dims).to(dtype)
    return (value.detach() if is_constant else value), log_prob


Noise = Callable[[Source, Shape, Tensor, Tensor], Tensor]
Verb = Callable[..., Any]


def shared_verbs(
    verb: Definition, rsample: Verb, noise: Noise, log_density: Callable[[Tensor], Tensor]
) -> tuple[Verb, Verb, Verb, Verb, Verb]:
    """Return the verbs `check`, `sample`, `sample_and_log_prob`, `rsample_and_log_prob` and `support`.

    Args:
        verb: The decorator of the family.
        rsample: Its verb, whose example the docstrings take.
        noise: `noise(key, sample_shape, loc, scale)` draws z.
        log_density: The log-density of z.
    """

    def check(loc: Real, scale: Real) -> None:
        """Raise a ValueError that names the parameter and the first bad position, in eager code only.

        >>> check(torch.zeros(2), torch.tensor([1.0, -1.0]))
        Traceback (most recent call last):
        ...
        ValueError: scale must be positive and finite; this fails at position (1,)
        """
        require_valid(loc, scale)

    def sample_and_log_prob(
        key: Source, loc: Real, scale: Real, *, sample_shape: Shape = (), event_dims: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Draw what `sample` draws, with its log-density, which alone has a gradient, the score-function one."""
        z = noise(key, sample_shape, loc, scale)
        return scored_draw(log_density, z, loc, scale, event_dims, is_constant=True)

    def rsample_and_log_prob(
        key: Source, loc: Real, scale: Real, *, sample_shape: Shape = (), event_dims: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Draw what `rsample` draws, with its log-density from the same noise."""
        z = noise(key, sample_shape, loc, scale)
        return scored_draw(log_density, z, loc, scale, event_dims, is_constant=False)

    def support(loc: Real, scale: Real, *, event_dims: int = 0) -> Constraint:
        """Return the support as a constraint: the real numbers.

        >>> support(torch.zeros(2), 1.0).check(torch.tensor([0.0, torch.nan]))
        tensor([ True, False])
        """
        return supports.of_events(constraints.real, event_dims)

    for pair in (sample_and_log_prob, rsample_and_log_prob):
        draw = pair.__name__.partition("_and_")[0]
        example = f">>> {pair.__name__}({{arguments}})[0].equal({draw}({{arguments}}))\nTrue"
        pair.__doc__ = docs.with_example(pair.__doc__ or "", rsample, example)
    for function in (check, sample_and_log_prob, rsample_and_log_prob, support):
        function.__module__, function.__qualname__ = verb.params.__module__, function.__name__
    sample = verb.sample(rsample)
    return verb(check), sample, verb(sample_and_log_prob), verb(rsample_and_log_prob), verb(support)
