"""Print the errors as a Markdown table: `python -m tests.accuracy.table [--compiled] [--peer torch ...] [verb ...]`.

A peer's column says "-" for what it has no such thing for, and "raises" for what is there and fails.
"""

import argparse
import warnings
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    Categorical,
    Distribution,
    Gamma,
    Normal,
    TanhTransform,
    TransformedDistribution,
    kl_divergence,
)
from tqdm import tqdm

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torchrl.modules import distributions as torchrl

from . import evaluate, meter, stored
from .calls import CALLS, MADE, of_scores, of_tables, one_entry
from .goals import NAMES, limits

Call = Callable[..., Tensor]


def torch_normal(loc: Tensor, scale: Tensor) -> Normal:
    return Normal(loc, scale, validate_args=False)


def torch_gamma(concentration: Tensor, rate: Tensor) -> Gamma:
    return Gamma(concentration, rate, validate_args=False)


def torch_tanh_normal(loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> TransformedDistribution:
    half = 0.5 * (high - low)
    squash = [TanhTransform(), AffineTransform(low + half, half)]
    return TransformedDistribution(torch_normal(loc, scale), squash, validate_args=False)


def torch_squash(pre: Tensor, low: Tensor, high: Tensor) -> Tensor:
    half = 0.5 * (high - low)
    return AffineTransform(low + half, half)(TanhTransform()(pre))


def torch_log_prob_pretanh(loc: Tensor, scale: Tensor, low: Tensor, high: Tensor, pre: Tensor) -> Tensor:
    squash_slope = TanhTransform().log_abs_det_jacobian(pre, torch.tanh(pre)) + torch.log(0.5 * (high - low))
    return torch_normal(loc, scale).log_prob(pre) - squash_slope


def torch_categorical(logits: Tensor, mask: Tensor) -> Categorical:
    return Categorical(logits=logits.masked_fill(~mask, -torch.inf), validate_args=False)


@of_tables
def torch_categorical_kl(p_logits: Tensor, q_logits: Tensor, p_mask: Tensor, q_mask: Tensor) -> Tensor:
    return kl_divergence(torch_categorical(p_logits, p_mask), torch_categorical(q_logits, q_mask))


def torchrl_normal(loc: Tensor, scale: Tensor) -> Distribution:
    return torchrl.IndependentNormal(loc, scale, event_dim=0, validate_args=False)


def torchrl_tanh_normal(
    loc: Tensor, scale: Tensor, low: Tensor | float = -1.0, high: Tensor | float = 1.0
) -> TransformedDistribution:
    return torchrl.TanhNormal(loc, scale, low=low, high=high, event_dims=0)


def torchrl_squash(pre: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torchrl_tanh_normal(pre, torch.ones_like(pre), low, high).deterministic_sample


def torchrl_unsquash(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torchrl_tanh_normal(value, torch.ones_like(value), low, high).transforms[0].inv(value)


def torchrl_truncated(act: Callable) -> Call:
    """What `act` makes of theirs, and perhaps of a value; each element is a batch of its own, as theirs has events.

    It refuses all cases where it refuses one, whose bounds are the same after its standardizing: NaN stands for these.
    """

    def call(loc: Tensor, scale: Tensor, low: Tensor, high: Tensor, *value: Tensor) -> Tensor:
        least = scale.clamp(min=1e-6)
        taken = (low - loc) / least < (high - loc) / least
        safe = (torch.where(taken, given, other) for given, other in ((loc, 0), (scale, 1), (low, -1), (high, 1)))
        loc, scale, low, high = (given[..., None] for given in safe)
        made = torchrl.TruncatedNormal(loc, scale, low=low, high=high)
        return torch.where(taken, act(made, *(v[..., None] for v in value)).reshape(taken.shape), torch.nan)

    return call


def torchrl_masked(logits: Tensor, mask: Tensor) -> Categorical:
    return torchrl.MaskedCategorical(logits, mask=mask)


@of_tables
def torchrl_masked_kl(p_logits: Tensor, q_logits: Tensor, p_mask: Tensor, q_mask: Tensor) -> Tensor:
    return kl_divergence(torchrl_masked(p_logits, p_mask), torchrl_masked(q_logits, q_mask))


def pairs_of(make: Callable) -> Call:
    return lambda p_loc, p_scale, q_loc, q_scale: kl_divergence(make(p_loc, p_scale), make(q_loc, q_scale))


def method(name: str) -> Call:
    return lambda made, *arguments: getattr(made, name)(*arguments)


def at_the_end(make: Callable, act: Callable) -> Call:
    """A call whose last argument goes to a method of the distribution made of the others."""
    return lambda *arguments: act(make(*arguments[:-1]), arguments[-1])


TORCH_LINES: dict[str, Callable[..., Distribution]] = {
    "bernoulli": lambda logits: torch.distributions.Bernoulli(logits=logits, validate_args=False),
    "geometric": lambda logits: torch.distributions.Geometric(logits=logits, validate_args=False),
    **{
        name.lower() if name != "LogNormal" else "log_normal": partial(
            getattr(torch.distributions, name), validate_args=False
        )
        for name in ("Laplace", "Gumbel", "Cauchy", "Exponential", "Poisson", "Kumaraswamy", "LogNormal")
    },
}


def torch_line(family: str) -> dict[str, Call]:
    """The verbs of a distribution of `torch.distributions`, with the logarithms that its users take."""
    make = TORCH_LINES[family]
    return {
        "log_prob": at_the_end(make, method("log_prob")),
        "log_cdf": at_the_end(make, lambda made, value: made.cdf(value).log()),
        "log_survival": at_the_end(make, lambda made, value: torch.log(1 - made.cdf(value))),
        "icdf": at_the_end(make, method("icdf")),
        "entropy": lambda *parameters: make(*parameters).entropy(),
    }


PEERS: dict[str, dict[str, Call]] = {
    "torch": {
        "normal.log_prob": at_the_end(torch_normal, Normal.log_prob),
        "normal.cdf": at_the_end(torch_normal, Normal.cdf),
        "normal.survival": at_the_end(torch_normal, lambda made, value: 1 - made.cdf(value)),
        "normal.log_cdf": at_the_end(torch_normal, lambda made, value: made.cdf(value).log()),
        "normal.log_survival": at_the_end(torch_normal, lambda made, value: torch.log(1 - made.cdf(value))),
        "normal.icdf": at_the_end(torch_normal, Normal.icdf),
        "normal.kl": pairs_of(torch_normal),
        "normal.entropy": lambda loc, scale: torch_normal(loc, scale).entropy(),
        "gamma.log_prob": at_the_end(torch_gamma, Gamma.log_prob),
        "gamma.cdf": at_the_end(torch_gamma, Gamma.cdf),
        "gamma.survival": at_the_end(torch_gamma, lambda made, value: 1 - made.cdf(value)),
        "gamma.log_cdf": at_the_end(torch_gamma, lambda made, value: made.cdf(value).log()),
        "gamma.log_survival": at_the_end(torch_gamma, lambda made, value: torch.log(1 - made.cdf(value))),
        "gamma.entropy": lambda concentration, rate: torch_gamma(concentration, rate).entropy(),
        "gamma.kl": pairs_of(torch_gamma),
        "tanh_normal.log_prob": at_the_end(torch_tanh_normal, TransformedDistribution.log_prob),
        "tanh_normal.log_prob_near_loc": at_the_end(torch_tanh_normal, TransformedDistribution.log_prob),
        "tanh_normal.log_prob_pretanh": torch_log_prob_pretanh,
        "tanh_normal.squash": torch_squash,
        "tanh_normal.unsquash": lambda value, low, high: TanhTransform().inv((value - low) / (0.5 * (high - low)) - 1),
        "tanh_normal.median": lambda loc, scale, low, high: torch_squash(loc, low, high) + 0 * scale,
        "tanh_normal.cdf": at_the_end(torch_tanh_normal, TransformedDistribution.cdf),
        "tanh_normal.icdf": at_the_end(torch_tanh_normal, TransformedDistribution.icdf),
        "tanh_normal.kl": pairs_of(torch_normal),
        **{f"{family}.{verb}": call for family in TORCH_LINES for verb, call in torch_line(family).items()},
        "masked_categorical.log_prob": of_tables(at_the_end(torch_categorical, Categorical.log_prob)),
        "masked_categorical.normalized_logits": one_entry(lambda *tables: torch_categorical(*tables).logits),
        "masked_categorical.probs": one_entry(lambda *tables: torch_categorical(*tables).probs),
        "masked_categorical.entropy": of_tables(lambda *tables: torch_categorical(*tables).entropy()),
        "masked_categorical.kl_same_mask": torch_categorical_kl,
        "masked_categorical.kl_wider_mask": torch_categorical_kl,
    },
    "torchrl": {
        "normal.log_prob": at_the_end(torchrl_normal, method("log_prob")),
        "normal.entropy": lambda loc, scale: torchrl_normal(loc, scale).entropy(),
        "normal.kl": pairs_of(torchrl_normal),
        "normal.cdf": at_the_end(torchrl_normal, method("cdf")),
        "normal.log_cdf": at_the_end(torchrl_normal, lambda made, value: made.cdf(value).log()),
        "normal.icdf": at_the_end(torchrl_normal, method("icdf")),
        "tanh_normal.log_prob": at_the_end(torchrl_tanh_normal, method("log_prob")),
        "tanh_normal.log_prob_near_loc": at_the_end(torchrl_tanh_normal, method("log_prob")),
        "tanh_normal.squash": torchrl_squash,
        "tanh_normal.unsquash": torchrl_unsquash,
        "tanh_normal.median": lambda loc, scale, low, high: torchrl_squash(loc, low, high) + 0 * scale,
        **{
            f"tanh_normal.{name}": lambda *arguments, name=name: getattr(torchrl_tanh_normal(*arguments), name)
            for name in ("mode", "mean", "variance")
        },
        "tanh_normal.entropy": lambda *arguments: torchrl_tanh_normal(*arguments).entropy(),
        "tanh_normal.cdf": at_the_end(torchrl_tanh_normal, method("cdf")),
        "tanh_normal.icdf": at_the_end(torchrl_tanh_normal, method("icdf")),
        "tanh_normal.kl": pairs_of(torchrl_tanh_normal),
        "truncated_normal.log_prob": torchrl_truncated(method("log_prob")),
        "truncated_normal.entropy": torchrl_truncated(method("entropy")),
        "truncated_normal.mean": torchrl_truncated(lambda made: made.mean),
        "truncated_normal.variance": torchrl_truncated(lambda made: made.variance),
        # Of the elements, since those of the events raise.
        "truncated_normal.cdf": torchrl_truncated(lambda made, at: made.base_dist.cdf(at)),
        "truncated_normal.survival": torchrl_truncated(lambda made, at: 1 - made.base_dist.cdf(at)),
        "truncated_normal.log_cdf": torchrl_truncated(lambda made, at: made.base_dist.cdf(at).log()),
        "truncated_normal.log_survival": torchrl_truncated(lambda made, at: torch.log(1 - made.base_dist.cdf(at))),
        "truncated_normal.icdf": torchrl_truncated(lambda made, at: made.base_dist.icdf(at)),
        "masked_categorical.log_prob": of_tables(at_the_end(torchrl_masked, method("log_prob"))),
        "masked_categorical.normalized_logits": one_entry(lambda *tables: torchrl_masked(*tables).logits),
        "masked_categorical.probs": one_entry(lambda *tables: torchrl_masked(*tables).probs),
        "masked_categorical.entropy": of_tables(lambda *tables: torchrl_masked(*tables).entropy()),
        "masked_categorical.kl_same_mask": torchrl_masked_kl,
        "masked_categorical.kl_wider_mask": torchrl_masked_kl,
        "ordinal.log_prob": of_scores(at_the_end(torchrl.Ordinal, method("log_prob"))),
        "ordinal.entropy": of_scores(lambda scores: torchrl.Ordinal(scores).entropy()),
    },
}


def mark(error: meter.Error, ulps: float) -> str:
    """Bold where the goal is missed."""
    return str(error) if error.ulp <= ulps and not error.nonfinite else f"**{error}**"


def of_peer(name: str, dtype: str, peer: str) -> str:
    if name not in PEERS[peer]:
        return "-"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = evaluate.errors(name, dtype, PEERS[peer][name])
        except (NotImplementedError, RuntimeError):
            return "raises"
    value, _, slope = evaluate.value_and_worst_derivative(found)
    return f"{value}; {slope}"


def row(shown: str, dtype: str, compiled: bool, peers: Sequence[str]) -> str:
    name, call = MADE[shown] if shown in MADE else (shown, CALLS[shown])
    goal = limits(name, dtype)
    value, output, slope = evaluate.value_and_worst_derivative(evaluate.errors(name, dtype, call))
    cells = [shown, dtype, mark(value, goal.value), f"d {output}: {mark(slope, goal.slope)}", value.worst]
    if compiled:
        found = evaluate.errors(name, dtype, call, compiled=True)
        value, output, slope = evaluate.value_and_worst_derivative(found)
        cells += [f"{mark(value, goal.value)}; d {output}: {mark(slope, goal.slope)}"]
    cells += [of_peer(name, dtype, peer) for peer in peers]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verbs", nargs="*", metavar="verb", help="only these, as in tanh_normal.mode")
    parser.add_argument("--compiled", action="store_true", help="compile each with inductor too (minutes)")
    parser.add_argument(
        "--peer",
        choices=list(PEERS),
        action="append",
        default=[],
        help="measure another library beside it, for each time it is given: value; worst derivative",
    )
    options = parser.parse_args()
    columns = ["family.verb", "dtype", "max ulp, relative, nf", "its worst derivative", "worst value"]
    columns += ["compiled"] * options.compiled + options.peer
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    cases = [(name, dtype) for name in options.verbs or (*NAMES, *MADE) for dtype in stored.DTYPES]
    for name, dtype in tqdm(cases, unit=" rows", disable=None):
        text = row(name, dtype, options.compiled, options.peer)
        with tqdm.external_write_mode():
            print(text, flush=True)


if __name__ == "__main__":
    main()
