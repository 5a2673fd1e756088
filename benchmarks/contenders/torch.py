"""`torch.distributions`, made of their parameters in every call, and PyTorch's own draws."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch import distributions as theirs

from benchmarks.cases import HEAD, IGNORE_INDEX, Arrays, Case
from benchmarks.contenders import Prepared, tensors
from benchmarks.contenders.tensors import release, time_calls, to_numpy

__all__ = ["prepare", "release", "time_calls", "to_numpy"]

theirs.Distribution.set_default_validate_args(False)


def _independent_normal(loc: Tensor, scale: Tensor) -> theirs.Distribution:
    return theirs.Independent(theirs.Normal(loc, scale), 1)


def _tanh_normal(loc: Tensor, scale: Tensor) -> theirs.Distribution:
    squashed = theirs.TransformedDistribution(theirs.Normal(loc, scale), [theirs.TanhTransform(cache_size=1)])
    return theirs.Independent(squashed, 1)


def _masked_categorical(logits: Tensor, mask: Tensor) -> theirs.Distribution:
    return theirs.Categorical(logits=torch.where(mask, logits, -torch.inf))


class _Tokens(theirs.Categorical):
    """A Categorical with a mask of positions."""

    def __init__(self, logits: Tensor, mask: Tensor) -> None:
        super().__init__(logits=logits)
        self.mask = mask

    def sample(self) -> Tensor:
        return torch.where(self.mask, super().sample(), IGNORE_INDEX)

    def log_prob(self, value: Tensor) -> Tensor:
        return torch.where(self.mask, super().log_prob(torch.where(self.mask, value, 0)), 0.0)

    def entropy(self) -> Tensor:
        return torch.where(self.mask, super().entropy(), 0.0)


@theirs.register_kl(_Tokens, _Tokens)
def _(p: _Tokens, q: _Tokens) -> Tensor:
    divergence = theirs.kl_divergence(theirs.Categorical(logits=p.logits), theirs.Categorical(logits=q.logits))
    return torch.where(p.mask, divergence, 0.0)


MAKERS: dict[str, Callable[..., Any]] = {
    "independent_normal": _independent_normal,
    "tanh_normal": _tanh_normal,
    "student_t": theirs.StudentT,
    "von_mises": theirs.VonMises,
    "gamma": theirs.Gamma,
    "beta": theirs.Beta,
    "masked_categorical": _masked_categorical,
    "one_hot_categorical": lambda logits: theirs.OneHotCategorical(logits=logits),
    "llm_masked_categorical": _Tokens,
    "linear_categorical": lambda hidden, weight: theirs.Categorical(logits=hidden @ weight.T),
}


def prepare(form: str, case: Case, arrays: Arrays, device: str) -> Prepared | None:
    torch.manual_seed(0)
    if case.family == "random":
        return _draw(case, device)
    data = tensors.from_numpy(arrays, case, device)
    if form == "products":
        return _products(case, data) if case.family == HEAD else None
    return tensors.of_objects(MAKERS[case.family], form, case, data) if case.family in MAKERS else None


def _products(case: Case, data: dict[str, Tensor]) -> Prepared:
    """Return the products of a head: of its logits, which are computed twice where a gradient is, and of that."""
    hidden, weight = data["hidden"], data["weight"]
    logits, by_hidden, by_weight = hidden @ weight.T, torch.empty_like(hidden), torch.empty_like(weight)

    def call() -> Tensor:
        torch.mm(hidden, weight.T, out=logits)
        if case.verb == "log_prob":
            torch.mm(hidden, weight.T, out=logits)
            torch.mm(logits, weight, out=by_hidden)
            torch.mm(logits.T, hidden, out=by_weight)
        return logits

    return Prepared(call, [hidden, weight])


def _draw(case: Case, device: str) -> Prepared | None:
    draws = {"uniform": torch.rand, "normal": torch.randn}
    if case.verb not in draws:
        return None
    draw, generator = draws[case.verb], torch.Generator(device).manual_seed(0)
    return Prepared(lambda: draw(case.shape, generator=generator, device=device))
