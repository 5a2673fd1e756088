"""Print the errors as a Markdown table: `python -m tests.accuracy.table [--compiled] [--peer torch] [verb ...]`."""

import argparse
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    Categorical,
    Normal,
    TanhTransform,
    TransformedDistribution,
    kl_divergence,
)

from . import evaluate, meter, stored
from .calls import CALLS, of_tables, one_entry
from .goals import NAMES, limits

Call = Callable[..., Tensor]


def torch_normal(loc: Tensor, scale: Tensor) -> Normal:
    return Normal(loc, scale, validate_args=False)


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


def torch_kl(p_loc: Tensor, p_scale: Tensor, q_loc: Tensor, q_scale: Tensor) -> Tensor:
    return kl_divergence(torch_normal(p_loc, p_scale), torch_normal(q_loc, q_scale))


def torch_categorical(logits: Tensor, mask: Tensor) -> Categorical:
    return Categorical(logits=logits.masked_fill(~mask, -torch.inf), validate_args=False)


@of_tables
def torch_categorical_kl(p_logits: Tensor, q_logits: Tensor, p_mask: Tensor, q_mask: Tensor) -> Tensor:
    return kl_divergence(torch_categorical(p_logits, p_mask), torch_categorical(q_logits, q_mask))


def at_the_end(make: Callable, act: Callable) -> Call:
    """A call whose last argument goes to a method of the distribution made of the others."""
    return lambda *arguments: act(make(*arguments[:-1]), arguments[-1])


PEERS: dict[str, dict[str, Call]] = {
    "torch": {
        "normal.log_prob": at_the_end(torch_normal, Normal.log_prob),
        "normal.cdf": at_the_end(torch_normal, Normal.cdf),
        "normal.survival": at_the_end(torch_normal, lambda made, value: 1 - made.cdf(value)),
        "normal.log_cdf": at_the_end(torch_normal, lambda made, value: made.cdf(value).log()),
        "normal.log_survival": at_the_end(torch_normal, lambda made, value: torch.log(1 - made.cdf(value))),
        "normal.icdf": at_the_end(torch_normal, Normal.icdf),
        "normal.kl": torch_kl,
        "normal.entropy": lambda loc, scale: torch_normal(loc, scale).entropy(),
        "tanh_normal.log_prob": at_the_end(torch_tanh_normal, TransformedDistribution.log_prob),
        "tanh_normal.log_prob_near_loc": at_the_end(torch_tanh_normal, TransformedDistribution.log_prob),
        "tanh_normal.log_prob_pretanh": torch_log_prob_pretanh,
        "tanh_normal.squash": torch_squash,
        "tanh_normal.unsquash": lambda value, low, high: TanhTransform().inv((value - low) / (0.5 * (high - low)) - 1),
        "tanh_normal.median": lambda loc, scale, low, high: torch_squash(loc, low, high) + 0 * scale,
        "tanh_normal.cdf": at_the_end(torch_tanh_normal, TransformedDistribution.cdf),
        "tanh_normal.icdf": at_the_end(torch_tanh_normal, TransformedDistribution.icdf),
        "tanh_normal.kl": torch_kl,
        "masked_categorical.log_prob": of_tables(at_the_end(torch_categorical, Categorical.log_prob)),
        "masked_categorical.normalized_logits": one_entry(lambda *tables: torch_categorical(*tables).logits),
        "masked_categorical.probs": one_entry(lambda *tables: torch_categorical(*tables).probs),
        "masked_categorical.entropy": of_tables(lambda *tables: torch_categorical(*tables).entropy()),
        "masked_categorical.kl_same_mask": torch_categorical_kl,
        "masked_categorical.kl_wider_mask": torch_categorical_kl,
    }
}


def mark(error: meter.Error, ulps: float) -> str:
    """Bold where the goal is missed."""
    return str(error) if error.ulp <= ulps and not error.nonfinite else f"**{error}**"


def of_peer(name: str, dtype: str, peer: str) -> str:
    if name not in PEERS[peer]:
        return "-"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value, _, slope = evaluate.value_and_worst_derivative(evaluate.errors(name, dtype, PEERS[peer][name]))
    return f"{value}; {slope}"


def row(name: str, dtype: str, compiled: bool, peer: str | None) -> str:
    goal = limits(name, dtype)
    value, output, slope = evaluate.value_and_worst_derivative(evaluate.errors(name, dtype, CALLS[name]))
    cells = [name, dtype, mark(value, goal.value), f"d {output}: {mark(slope, goal.slope)}", value.worst]
    if compiled:
        found = evaluate.errors(name, dtype, CALLS[name], compiled=True)
        value, output, slope = evaluate.value_and_worst_derivative(found)
        cells += [f"{mark(value, goal.value)}; d {output}: {mark(slope, goal.slope)}"]
    if peer:
        cells += [of_peer(name, dtype, peer)]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verbs", nargs="*", metavar="verb", help="only these, as in tanh_normal.mode")
    parser.add_argument("--compiled", action="store_true", help="compile each with inductor too (minutes)")
    parser.add_argument(
        "--peer", choices=list(PEERS), help="measure another library beside it: value; worst derivative"
    )
    options = parser.parse_args()
    columns = ["family.verb", "dtype", "max ulp, relative, nf", "its worst derivative", "worst value"]
    columns += ["compiled"] * options.compiled + [options.peer] * bool(options.peer)
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name in options.verbs or NAMES:
        for dtype in stored.DTYPES:
            print(row(name, dtype, options.compiled, options.peer), flush=True)


if __name__ == "__main__":
    main()
