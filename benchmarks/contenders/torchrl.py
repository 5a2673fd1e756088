"""TorchRL's distributions, made of their parameters in every call; its ensemble is a Python loop."""

from collections.abc import Callable
from typing import Any

import torch
import torchrl.modules as theirs
from torch import Tensor

from benchmarks.cases import HIGH, LOW, TARGET, TEMPERATURE, Arrays, Case
from benchmarks.contenders import Prepared, tensors
from benchmarks.contenders.tensors import release, time_calls, to_numpy

__all__ = ["prepare", "release", "time_calls", "to_numpy"]

MOST_GUARDED = 10_000  # elements of a truncated normal that is compiled
MAKERS: dict[str, Callable[..., Any]] = {
    "independent_normal": theirs.IndependentNormal,
    "tanh_normal": lambda loc, scale: theirs.TanhNormal(loc, scale, low=LOW, high=HIGH, event_dims=1),
    "truncated_normal": lambda loc, scale: theirs.TruncatedNormal(loc, scale, low=LOW, high=HIGH),
    "masked_categorical": lambda logits, mask: theirs.MaskedCategorical(logits=logits, mask=mask),
    "one_hot_categorical": lambda logits: theirs.OneHotCategorical(logits=logits),
    "ordinal": theirs.Ordinal,
    "llm_masked_categorical": theirs.LLMMaskedCategorical,
}


def prepare(form: str, case: Case, arrays: Arrays, device: str) -> Prepared | None:
    torch.manual_seed(0)
    data = tensors.from_numpy(arrays, case, device)
    if case.family == "ensemble":
        return _loop(data) if form == "eager" else None
    if form == "compiled" and case.family == "truncated_normal" and case.size > MOST_GUARDED:
        raise RuntimeError("compiles in parts, with a guard for every element of a list: minutes at this size")
    return tensors.of_objects(MAKERS[case.family], form, case, data) if case.family in MAKERS else None


def _loop(data: dict[str, Tensor]) -> Prepared:
    policies = [tensors.nets(data, index) for index in range(len(data["w1"]))]
    return Prepared(lambda: tensors.loop(_loss, policies, data["observation"]))


def _loss(weights: dict[str, Tensor], observation: Tensor) -> Tensor:
    action, log_prob = MAKERS["tanh_normal"](*tensors.policy(weights, observation)).rsample_and_log_prob()
    return (TEMPERATURE * log_prob + (action - TARGET).square().sum(-1)).mean()
