"""This package: eager with a Generator, eager with a key, and compiled with a key; pipelines with a Generator alone.

The ensemble is a Python loop over policies, each with autograd and the Generator; vmapped; and vmapped and compiled.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import functional_dists
from benchmarks.cases import (
    ACTORS,
    BOUNDED,
    DRAWING,
    HEAD,
    HIGH,
    LOW,
    PARAMETERS,
    RATE,
    TARGET,
    TEMPERATURE,
    Arrays,
    Case,
)
from benchmarks.contenders import Prepared, pipelines, tensors
from benchmarks.contenders.tensors import release, time_calls, to_numpy
from functional_dists import bind, parameters, policy, random, tanh_normal

__all__ = ["prepare", "release", "time_calls", "to_numpy"]


def prepare(form: str, case: Case, arrays: Arrays, device: str) -> Prepared | None:
    data = tensors.from_numpy(arrays, case, device)
    if case.is_pipeline:
        return _pipeline(form, case, data) if form in ("eager", "contiguous") else None
    if form == "contiguous":
        return None
    source = torch.Generator(device).manual_seed(0) if form == "eager" else random.key(42).to(device)
    if case.family == "memory":
        return _copy(case, device) if form == "eager" else None
    if case.family == "random":
        return _draw(form, case, source)
    if case.family == "ensemble":
        return _loop(data, source) if form == "eager" else _vmapped(form, data, source, case.shape[0])
    if case.verb in DRAWING:
        inputs = [data[name] for name in PARAMETERS[case.family]]
        return _call(form, _drawing(case), source, *inputs)
    if form == "key":
        return None
    if case.verb == "log_prob":
        return _scored(form, case, data)
    names = PARAMETERS[case.family]
    inputs = [data[name] for name in names]
    if case.verb == "kl":
        inputs += [data.get(f"q_{name}", data[name]) for name in names]
    return _call(form, _describing(case), *inputs)


def _call(form: str, function: Callable[..., Any], *arguments: Any) -> Prepared:
    if form == "compiled":
        function = torch.compile(function, fullgraph=True)
    inputs = [a for a in arguments if isinstance(a, Tensor) and a.dtype != torch.uint64]
    return Prepared(lambda: function(*arguments), inputs)


def _constants(case: Case) -> tuple[float, ...]:
    """Return the parameters that are numbers: bounds, or the bias of a head."""
    if case.family in BOUNDED:
        return LOW, HIGH
    return (0.0,) if case.family == HEAD else ()


def _drawing(case: Case) -> Callable[..., Any]:
    family, constants = getattr(functional_dists, case.family), _constants(case)
    if case.verb == "sample_log_prob_entropy":
        return lambda source, *p: (*family.sample_and_log_prob(source, *p, *constants), family.entropy(*p, *constants))
    draw = getattr(family, case.verb)
    return lambda source, *p: draw(source, *p, *constants)


def _describing(case: Case) -> Callable[..., Any]:
    family, constants = getattr(functional_dists, case.family), _constants(case)
    if case.verb == "entropy":
        return lambda *p: family.entropy(*p, *constants)
    num = len(PARAMETERS[case.family])
    return lambda *both: family.kl(
        family.Params(*both[:num], *constants),
        family.Params(*both[num:], *constants),
    )


def _scored(form: str, case: Case, data: dict[str, Tensor]) -> Prepared:
    family, constants = getattr(functional_dists, case.family), _constants(case)
    inputs = [data[name] for name in PARAMETERS[case.family]]
    leaves = [tensor for tensor in inputs if tensor.is_floating_point()]
    rest = [*inputs[len(leaves) :], data["value"]]
    num = len(leaves)

    def log_prob(*arguments: Tensor) -> Tensor:
        *parameters, value = arguments
        return family.log_prob(*parameters, *constants, value)

    if form == "eager":
        return tensors.with_gradient(log_prob, leaves, *rest)

    def total(*arguments: Tensor) -> tuple[Tensor, Tensor]:
        scores = log_prob(*arguments)
        return scores.sum(), scores

    def step(*arguments: Tensor) -> tuple[Tensor, ...]:
        gradients, (_, scores) = torch.func.grad_and_value(total, argnums=tuple(range(num)), has_aux=True)(*arguments)
        return scores, *gradients

    return _call(form, step, *leaves, *rest)


def _draw(form: str, case: Case, source: Any) -> Prepared | None:
    if case.verb == "split":
        return None if form == "eager" else _call(form, lambda key: random.split(key, case.shape[0]), source)
    draw = getattr(random, case.verb)
    device = source.device
    return _call(form, lambda source: draw(source, case.shape, device=device), source)


def _copy(case: Case, device: str) -> Prepared:
    """Return the copy that measures the memory's bandwidth."""
    source = torch.ones(case.shape, device=device)
    target = torch.zeros_like(source)
    return Prepared(lambda: target.copy_(source), [source])


# ------------------------------------------------------------------------------------------------------------ pipelines
def _pipeline(form: str, case: Case, data: dict[str, Tensor]) -> Prepared:
    contiguous = form == "contiguous"
    generator = torch.Generator(data["raw"].device).manual_seed(0)
    if case.verb in ACTORS:
        return _actor(case, data["raw"], generator, contiguous)
    given = pipelines.inputs(case, data, parameters.normal_params, contiguous=contiguous)
    verb = getattr(getattr(functional_dists, case.call.family), case.verb)
    return pipelines.prepared(case, verb if case.verb == "log_prob" else functools.partial(verb, generator), given)


def _actor(case: Case, raw: Tensor, generator: torch.Generator, contiguous: bool) -> Prepared:
    size = case.shape[-1]
    bounds: dict[str, Any] = {"low": LOW, "high": HIGH} if contiguous else dict(pipelines.bounds(str(raw.device), size))
    if case.verb == "ProbabilisticActor":
        from functional_dists.distributions import TanhNormal

        return pipelines.probabilistic_actor(raw, TanhNormal, bounds, contiguous=contiguous)
    network = pipelines.ContiguousParams(parameters.normal_params) if contiguous else torch.nn.Identity()
    family = bind(tanh_normal, **bounds)
    params, act = policy.actor(network, family, in_keys=["observation"], return_log_prob=True)

    def call() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            after = act(params, generator, {"observation": raw})
        return after["action"], after["sample_log_prob"]

    return Prepared(call, [raw])


# ------------------------------------------------------------------------------------------------------------- ensemble
def _loss(weights: dict[str, Tensor], source: Any, observation: Tensor) -> Tensor:
    loc, scale = tensors.policy(weights, observation)
    action, log_prob = tanh_normal.rsample_and_log_prob(source, loc, scale, LOW, HIGH)
    return (TEMPERATURE * log_prob + (action - TARGET).square().sum(-1)).mean()


def _update(weights: dict[str, Tensor], source: Any, observation: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    gradients, loss = torch.func.grad_and_value(_loss)(weights, source, observation)
    return loss, {name: weights[name] - RATE * gradients[name] for name in weights}


def _vmapped(form: str, data: dict[str, Tensor], key: Tensor, num: int) -> Prepared:
    keys = random.split(key, num)
    weights = {name: data[name] for name in ("w1", "b1", "w2", "b2")}
    update = torch.vmap(_update)
    if form == "compiled":
        update = torch.compile(update, fullgraph=True)

    def call() -> tuple[Tensor, Tensor]:
        losses, moved = update(weights, keys, data["observation"])
        return losses, moved["w2"]

    return Prepared(call)


def _loop(data: dict[str, Tensor], generator: torch.Generator) -> Prepared:
    policies = [tensors.nets(data, index) for index in range(len(data["w1"]))]

    def loss_of(weights: dict[str, Tensor], observation: Tensor) -> Tensor:
        return _loss(weights, generator, observation)

    return Prepared(lambda: tensors.loop(loss_of, policies, data["observation"]))
