"""Expressions of families that hypothesis draws, each with parameters and with its definition as a plain formula.

The formulas are those of a textbook, with no care for tails: they are right to about eight digits in float64, in the
middle of a distribution.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from functional_dists import (
    bijectors,
    bind,
    categorical,
    cauchy,
    clipped,
    exponential,
    greedy,
    gumbel,
    independent,
    laplace,
    logistic,
    masked_event,
    mixture,
    mixture_of,
    normal,
    one_hot,
    quantized,
    repeated,
    softened,
    tanh_normal,
    transformed,
    truncated,
    truncated_normal,
    uniform,
    with_uniform,
)

FLOAT = torch.float64
Parameters = list[Tensor]
Score = Callable[[Sequence[Tensor], Tensor], Tensor]


class Expression(NamedTuple):
    """A family, how its parameters are made, and its definition."""

    family: Any
    make: Callable[["Numbers", tuple[int, ...]], Parameters]  # parameters of a batch
    score: Score  # the log-prob of whole events
    cdf: Score | None = None  # of numbers
    is_positive: bool = False
    is_whole_line: bool = False
    is_heavy: bool = False  # has tails so far out that their exponential overflows, or their tanh is 1
    is_smooth: bool = True  # the density has derivatives everywhere
    has_elements: bool = False  # the scores of single elements have the option `event_dims`
    event: int = 0  # axes
    outcomes: Callable[[Sequence[Tensor]], Tensor] | None = None  # all values of a finite family, of one lane
    has_atoms: bool = False
    is_truncated: bool = False  # once: quantiles within quantiles would take minutes
    lacks: frozenset[str] = frozenset()  # laws that do not hold: "derivatives", "nan"

    def __repr__(self) -> str:  # what hypothesis shows
        return repr(self.family) if not hasattr(self.family, "__name__") else self.family.__name__


class Numbers:
    """Reproducible numbers of moderate size."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def between(self, low: float, high: float, shape: tuple[int, ...]) -> Tensor:
        return low + (high - low) * torch.rand(shape, dtype=FLOAT, generator=self.generator)

    def signs(self, shape: tuple[int, ...]) -> Tensor:
        return torch.where(self.between(-1, 1, shape) < 0, -1.0, 1.0).to(FLOAT)

    def bits(self, shape: tuple[int, ...]) -> Tensor:
        return self.between(0, 1, shape) < 0.7


# --------------------------------------------------------------------------------------------------------------- leaves
def _leaf(family: Any, make: Any, **known: Any) -> Expression:
    return Expression(
        family,
        make,
        lambda params, value: family.log_prob(*params, value, event_dims=0),
        lambda params, value: family.cdf(*params, value),
        has_elements=True,
        **known,
    )


def _loc_scale(numbers: Numbers, shape: tuple[int, ...]) -> Parameters:
    return [numbers.between(-2, 2, shape), numbers.between(-1, 0.7, shape).exp()]


def _low_high(numbers: Numbers, shape: tuple[int, ...]) -> Parameters:
    low = numbers.between(-2, 1, shape)
    return [low, low + numbers.between(0.5, 3, shape)]


def _normal_low_high(numbers: Numbers, shape: tuple[int, ...]) -> Parameters:
    return [*_loc_scale(numbers, shape), *_low_high(numbers, shape)]


LEAVES = [
    _leaf(normal, _loc_scale, is_whole_line=True),
    _leaf(laplace, _loc_scale, is_whole_line=True, is_smooth=False),
    _leaf(logistic, _loc_scale, is_whole_line=True),
    _leaf(gumbel, _loc_scale, is_whole_line=True),
    _leaf(cauchy, _loc_scale, is_whole_line=True, is_heavy=True),
    _leaf(uniform, _low_high),
    _leaf(exponential, lambda numbers, shape: [numbers.between(-1, 1, shape).exp()], is_positive=True, is_smooth=False),
    _leaf(bind(tanh_normal, event_dims=0), _normal_low_high),
    _leaf(bind(truncated_normal, event_dims=0), _normal_low_high),
]


# ------------------------------------------------------------------------------------------------------------ bijectors
class Move(NamedTuple):
    """A bijector of elements, and what it does to the properties of an expression."""

    bijector: Any
    make: Callable[[Numbers, tuple[int, ...]], Parameters] = lambda numbers, shape: []
    takes_heavy: bool = True
    takes: str = "real"  # or "positive"
    gives_positive: bool = False
    heavy: bool | None = None  # None: as before
    keeps_line: bool = False
    has_kinks: bool = False


def _affine(numbers: Numbers, shape: tuple[int, ...]) -> Parameters:
    return [numbers.between(-1, 1, shape), numbers.between(0.4, 1.5, shape) * numbers.signs(shape)]


def _spline(numbers: Numbers, shape: tuple[int, ...]) -> Parameters:
    rows = [numbers.between(-1, 1, (*shape, size)) for size in (4, 4, 3)]
    return [*rows, numbers.between(3, 5, shape)]


def _exponent(numbers: Numbers, shape: tuple[int, ...]) -> Parameters:
    return [numbers.between(0.4, 1.8, shape) * numbers.signs(shape)]


_LOG = bijectors.invert(bijectors.exp)
MOVES = [
    Move(bijectors.affine, _affine, keeps_line=True),
    Move(bijectors.exp, takes_heavy=False, gives_positive=True, heavy=True),
    Move(bijectors.interval, _low_high, takes_heavy=False, heavy=False),
    Move(bijectors.sigmoid, takes_heavy=False, gives_positive=True, heavy=False),
    Move(bijectors.sigmoid_interval, _low_high, takes_heavy=False, heavy=False),
    Move(bijectors.softplus, gives_positive=True),
    Move(bijectors.symexp, takes_heavy=False, heavy=True, keeps_line=True, has_kinks=True),
    Move(bijectors.symlog, heavy=False, keeps_line=True, has_kinks=True),
    Move(bijectors.tanh, takes_heavy=False, heavy=False),
    Move(bijectors.rational_quadratic_spline, _spline, keeps_line=True, has_kinks=True),
    Move(bijectors.power, _exponent, takes="positive", gives_positive=True, heavy=True),
    Move(_LOG, takes="positive", heavy=False),
    Move(bijectors.invert(bijectors.softplus), takes="positive"),
]


def _applies(move: Move, of: Expression) -> bool:
    return (of.is_positive or move.takes == "real") and (move.takes_heavy or not of.is_heavy)


def _after(move: Move, of: Expression) -> Expression:
    """Return the expression with the properties of a moved one."""
    return of._replace(
        is_positive=move.gives_positive,
        is_whole_line=of.is_whole_line and move.keeps_line,
        is_heavy=of.is_heavy if move.heavy is None else move.heavy,
        is_smooth=of.is_smooth and not move.has_kinks,
    )


@st.composite
def transformed_of(draw: Any, of: Expression) -> Expression:
    found, moves = of, []
    for _ in range(draw(st.integers(1, 2))):
        move = draw(st.sampled_from([move for move in MOVES if _applies(move, found)]))
        found = _after(move, found)
        moves.append(move)
    bijector = moves[0].bijector if len(moves) == 1 else bijectors.chain(*(move.bijector for move in moves))
    if draw(st.integers(0, 3)) == 0:
        bijector = bijectors.chain(bijectors.softplus, bijectors.invert(bijectors.softplus), bijector)
    count = len(of.family.Params._fields)

    def make(numbers: Numbers, shape: tuple[int, ...]) -> Parameters:
        return [*of.make(numbers, shape), *(tensor for move in moves for tensor in move.make(numbers, shape))]

    def score(params: Sequence[Tensor], value: Tensor) -> Tensor:
        own, moving = params[:count], params[count:]
        before = bijector.inverse(*moving, value)
        return of.score(own, before) + bijector.inverse_log_det(*moving, value)

    def cdf(params: Sequence[Tensor], value: Tensor) -> Tensor:
        own, moving = params[:count], params[count:]
        below = of.cdf(own, bijector.inverse(*moving, value))  # type: ignore[misc]
        return torch.where(bijector.is_increasing(*moving), below, 1 - below)

    return found._replace(
        family=transformed(of.family, bijector),
        make=make,
        score=score,
        cdf=cdf if of.has_elements else None,
        has_elements=of.has_elements,
    )


# ------------------------------------------------------------------------------------------------------------ intervals
def _window(of: Expression, numbers: Numbers, shape: tuple[int, ...]) -> Parameters:
    own = of.make(numbers, shape)
    low, width = numbers.between(0.02, 0.6, shape), numbers.between(0.05, 0.38, shape)
    return [*own, of.family.icdf(*own, low), of.family.icdf(*own, low + width)]


def truncated_of(of: Expression) -> Expression:
    def parts(params: Sequence[Tensor]) -> tuple[Any, Tensor, Tensor]:
        *own, low, high = params
        return own, of.cdf(own, low), of.cdf(own, high)  # type: ignore[misc]

    def score(params: Sequence[Tensor], value: Tensor) -> Tensor:
        own, below, up_to_high = parts(params)
        return of.score(own, value) - (up_to_high - below).log()

    def cdf(params: Sequence[Tensor], value: Tensor) -> Tensor:
        own, below, up_to_high = parts(params)
        return (of.cdf(own, value) - below) / (up_to_high - below)  # type: ignore[misc]

    return of._replace(
        family=truncated(of.family),
        make=lambda numbers, shape: _window(of, numbers, shape),
        score=score,
        cdf=cdf,
        is_whole_line=False,
        is_smooth=False,
        is_truncated=True,
    )


def clipped_of(of: Expression) -> Expression:
    def score(params: Sequence[Tensor], value: Tensor) -> Tensor:
        *own, low, high = params
        safe = torch.where((value > low) & (value < high), value, (low + high) / 2)
        at_high = torch.log(1 - of.cdf(own, high))  # type: ignore[misc]
        at_end = torch.where(value == low, of.cdf(own, low).log(), at_high)  # type: ignore[misc]
        return torch.where(value == safe, of.score(own, safe), at_end)

    def cdf(params: Sequence[Tensor], value: Tensor) -> Tensor:
        *own, _, high = params
        return torch.where(value < high, of.cdf(own, value), 1.0)  # type: ignore[misc]

    return of._replace(
        family=clipped(of.family),
        make=lambda numbers, shape: _window(of, numbers, shape),
        score=score,
        cdf=cdf,
        has_atoms=True,
        is_whole_line=False,
        is_smooth=False,
    )


def quantized_of(of: Expression) -> Expression:
    def make(numbers: Numbers, shape: tuple[int, ...]) -> Parameters:
        own = of.make(numbers, shape)
        centre = of.family.median(*own).clamp(-5, 5).round()
        return [*own, centre - numbers.between(0, 4, shape).round(), centre + numbers.between(1, 4, shape).round()]

    def cdf(params: Sequence[Tensor], value: Tensor) -> Tensor:
        *own, low, high = params
        at = value.floor() + 0.5
        # An edge between two integers may lie outside the support, where a plain formula has no number.
        below = of.family.cdf(*own, at)
        return torch.where(value < low, 0.0, torch.where(value >= high, 1.0, below))

    return of._replace(
        family=quantized(of.family),
        make=make,
        score=lambda params, value: torch.log(cdf(params, value.to(FLOAT)) - cdf(params, value.to(FLOAT) - 1)),
        cdf=cdf,
        outcomes=lambda params: torch.arange(float(params[-2]), float(params[-1]) + 1, dtype=FLOAT),
        has_atoms=True,
    )


# ------------------------------------------------------------------------------------------------------------- mixtures
def mixture_expression(of: Expression, size: int) -> Expression:
    def make(numbers: Numbers, shape: tuple[int, ...]) -> Parameters:
        return [numbers.between(-1, 1, (*shape, size)), *of.make(numbers, (*shape, size))]

    def weights(params: Sequence[Tensor]) -> Tensor:
        return params[0].log_softmax(-1)

    def spread(value: Tensor) -> Tensor:
        wide = value.unsqueeze(-1 - of.event)
        return wide.expand(*value.shape[: value.ndim - of.event], size, *value.shape[value.ndim - of.event :])

    def cdf(params: Sequence[Tensor], value: Tensor) -> Tensor:
        return (weights(params).exp() * of.cdf(params[1:], spread(value))).sum(-1)  # type: ignore[misc]

    def outcomes(params: Sequence[Tensor]) -> Tensor:
        lanes = [of.outcomes([tensor[i] for tensor in params[1:]]) for i in range(size)]  # type: ignore[misc]
        return torch.cat(lanes).unique() if lanes[0].ndim == 1 else lanes[0]

    return of._replace(
        family=mixture(of.family),
        make=make,
        score=lambda params, value: torch.logsumexp(
            weights(params) + of.score(params[1:], spread(value)).nan_to_num(-torch.inf, neginf=-torch.inf), -1
        ),
        cdf=None if of.cdf is None or of.event else cdf,
        outcomes=None if of.outcomes is None else outcomes,
        has_elements=False,
        is_smooth=of.is_smooth and of.is_whole_line,
    )


def mixture_of_expression(one: Expression, other: Expression) -> Expression:
    count = 1 + len(one.family.Params._fields)

    def make(numbers: Numbers, shape: tuple[int, ...]) -> Parameters:
        return [numbers.between(-1, 1, (*shape, 2)), *one.make(numbers, shape), *other.make(numbers, shape)]

    def both(params: Sequence[Tensor], value: Tensor, name: str) -> Tensor:
        parts = [getattr(one, name)(params[1:count], value), getattr(other, name)(params[count:], value)]
        return torch.stack(parts, -1)

    return one._replace(
        family=mixture_of(one.family, other.family),
        make=make,
        score=lambda params, value: torch.logsumexp(
            params[0].log_softmax(-1) + both(params, value, "score").nan_to_num(-torch.inf, neginf=-torch.inf), -1
        ),
        cdf=lambda params, value: (params[0].softmax(-1) * both(params, value, "cdf")).sum(-1),
        is_heavy=one.is_heavy or other.is_heavy,
        is_smooth=one.is_smooth and other.is_smooth,
        has_elements=False,
    )


# --------------------------------------------------------------------------------------------------------------- tables
def _table(family: Any, probs: Callable[[Tensor], Tensor], **known: Any) -> Expression:
    def score(params: Sequence[Tensor], value: Tensor) -> Tensor:
        table = probs(params[0]).log()
        return table.expand(*value.shape, table.shape[-1]).gather(-1, value.long()[..., None]).squeeze(-1)

    return Expression(
        family,
        lambda numbers, shape: [numbers.between(-2, 2, (*shape, 4))],
        score,
        outcomes=lambda params: torch.arange(4),
        has_atoms=True,
        **known,
    )


def with_uniform_of(probs: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda logits: 0.9 * probs(logits) + 0.1 / logits.shape[-1]


def greedy_of(probs: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda logits: (probs(logits) == probs(logits).amax(-1, keepdim=True)).to(FLOAT)


def softened_of(probs: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda logits: probs(logits) ** (1 / 0.7) / (probs(logits) ** (1 / 0.7)).sum(-1, keepdim=True)


@st.composite
def tables(draw: Any) -> Expression:
    family: Any = categorical
    probs: Callable[[Tensor], Tensor] = lambda logits: logits.softmax(-1)  # noqa: E731
    known: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from(["uniform", "greedy", "softened"]), max_size=2)):
        if name == "uniform":
            family, probs = with_uniform(family, 0.1), with_uniform_of(probs)
        elif name == "greedy":
            family, probs, known = greedy(family), greedy_of(probs), {"lacks": frozenset(["derivatives", "nan"])}
        else:
            family, probs = softened(family, 0.7), softened_of(probs)
    found = _table(family, probs, **known)
    if not draw(st.booleans()):
        return found
    return found._replace(
        family=one_hot(family),
        score=lambda params, value: found.score(params, value.argmax(-1)),
        outcomes=lambda params: torch.eye(4, dtype=FLOAT),
        event=1,
    )


# --------------------------------------------------------------------------------------------------------------- events
def independent_of(of: Expression) -> Expression:
    return of._replace(
        family=independent(of.family),
        make=lambda numbers, shape: of.make(numbers, (*shape, 3)),
        score=lambda params, value: of.score(params, value).sum(-1),
        cdf=None,
        outcomes=None,
        event=of.event + 1,
    )


def repeated_of(of: Expression, n: int) -> Expression:
    return of._replace(
        family=repeated(of.family, n),
        score=lambda params, value: of.score(params, value.movedim(-1 - of.event, 0)).sum(0),
        cdf=None,
        outcomes=None,
        event=of.event + 1,
        has_elements=False,
    )


def masked_event_of(of: Expression) -> Expression:
    """Events that are padding as a whole, or not."""

    def score(params: Sequence[Tensor], value: Tensor) -> Tensor:
        *own, mask = params
        wide = mask[(..., *[None] * of.event)]
        inside = of.family.sample(torch.Generator().manual_seed(0), *own)
        safe = torch.where(wide, value, inside.to(value.dtype))
        return torch.where(mask, of.score(own, safe), 0.0)

    return of._replace(
        family=masked_event(of.family),
        make=lambda numbers, shape: [*of.make(numbers, shape), numbers.bits(shape)],
        score=score,
        cdf=None,
        outcomes=None,
        is_whole_line=False,
        lacks=of.lacks | {"nan", "padding"},
    )


# -------------------------------------------------------------------------------------------------------------- grammar
def may_be_truncated(of: Expression) -> bool:
    """Return whether the mass of a short interval can be integrated, which a kink inside of it spoils."""
    return of.is_smooth and not of.is_truncated


@st.composite
def numbers_with_elements(draw: Any, depth: int) -> Expression:
    """Continuous families with a cdf, of which combinators may take single elements."""
    if depth == 0:
        return draw(st.sampled_from(LEAVES))
    of = draw(numbers_with_elements(depth - 1))
    return draw(transformed_of(of)) if not may_be_truncated(of) or draw(st.integers(0, 2)) else truncated_of(of)


def _on_the_line(found: Expression) -> bool:
    """Return whether `mixture_of` takes the family: it takes no parameters that are rows."""
    return found.is_whole_line and "widths" not in found.family.Params._fields


@st.composite
def lines(draw: Any, depth: int = 3) -> Expression:
    """Continuous families of numbers with a cdf."""
    kind = draw(st.sampled_from(["plain", "plain", "mixture", "mixture_of"]))
    if kind == "plain":
        return draw(numbers_with_elements(draw(st.integers(0, depth))))
    if kind == "mixture":
        of = draw(numbers_with_elements(draw(st.integers(0, depth - 1))))
        return mixture_expression(of, 1 if of.is_truncated else draw(st.integers(1, 3)))
    on_the_line = numbers_with_elements(draw(st.integers(0, 1))).filter(_on_the_line)
    return mixture_of_expression(draw(on_the_line), draw(on_the_line))


@st.composite
def finite(draw: Any) -> Expression:
    """Families with finitely many values."""
    found = draw(st.one_of(tables(), numbers_with_elements(draw(st.integers(0, 2))).map(quantized_of)))
    return mixture_expression(found, 2) if draw(st.integers(0, 2)) == 0 and not found.event else found


@st.composite
def clipped_lines(draw: Any) -> Expression:
    return clipped_of(draw(numbers_with_elements(draw(st.integers(0, 2)))))


@st.composite
def anything(draw: Any) -> Expression:
    """All of the grammar."""
    found = draw(st.one_of(lines(), lines(), finite(), clipped_lines()))
    # Other combinators do not see that `independent`, of families without `event_dims`, and `repeated` have vectors.
    for name in draw(st.lists(st.sampled_from(["independent", "repeated", "masked"]), max_size=1)):
        if name == "independent":
            found = independent_of(found)
        elif name == "repeated":
            found = repeated_of(found, draw(st.integers(1, 2)))
        elif not found.event or not found.has_elements:
            found = masked_event_of(found)
    if (
        draw(st.booleans())
        and found.event
        and found.has_elements
        and not found.has_atoms
        and "padding" not in found.lacks
    ):
        found = mixture_expression(found, 2)
    return found
