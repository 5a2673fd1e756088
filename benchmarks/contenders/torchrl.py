"""TorchRL's distributions, made of their parameters in every call; its ensemble is a Python loop."""

from collections.abc import Callable
from typing import Any

import torch
import torchrl.modules as theirs
from torch import Tensor

from benchmarks.cases import ACTORS, HIGH, LOW, TARGET, TEMPERATURE, Arrays, Case
from benchmarks.contenders import Prepared, pipelines, tensors
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
# With the bounds as a pipeline has them; for integers without a mask TorchRL takes PyTorch's class.
PIPELINE_MAKERS: dict[str, Callable[..., Any]] = {
    "tanh_normal": lambda loc, scale, low, high: theirs.TanhNormal(loc, scale, low=low, high=high, event_dims=1),
    "categorical": lambda logits: torch.distributions.Categorical(logits=logits),
    "masked_categorical": MAKERS["masked_categorical"],
}


def prepare(form: str, case: Case, arrays: Arrays, device: str) -> Prepared | None:
    torch.manual_seed(0)
    data = tensors.from_numpy(arrays, case, device)
    if case.is_pipeline:
        if case.verb in ACTORS:
            kwargs = pipelines.bounds(device, case.shape[-1])
            return pipelines.probabilistic_actor(data["raw"], theirs.TanhNormal, kwargs, compiled=form == "compiled")
        return pipelines.of_objects(PIPELINE_MAKERS[case.call.family], form, case, data)
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
