"""What the libraries that work on PyTorch's tensors have in common."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.cases import PARAMETERS, RATE, Arrays, Case
from benchmarks.contenders import Prepared


def from_numpy(arrays: Arrays, case: Case, device: str) -> dict[str, Tensor]:
    """Return the arrays as tensors on the device, real ones in the dtype of the case."""
    real = getattr(torch, case.dtype)
    tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
    return {name: tensor.to(real) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def to_numpy(result: Any) -> tuple[np.ndarray, ...]:
    parts = result if isinstance(result, tuple) else (result,)
    parts = tuple(part.view(torch.int64) if part.dtype == torch.uint64 else part for part in parts)
    return tuple((part.float() if part.is_floating_point() else part).detach().cpu().numpy() for part in parts)


def with_gradient(log_prob: Callable[..., Tensor], leaves: Sequence[Tensor], *rest: Tensor) -> Prepared:
    """Return a call that gives the log-probs and the gradients of their sum by the leaves."""
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]

    def call() -> tuple[Tensor, ...]:
        scores = log_prob(*leaves, *rest)
        return scores.detach(), *torch.autograd.grad(scores.sum(), leaves)

    return Prepared(call, [*leaves, *rest])


def compiled(function: Callable[..., Any], arguments: Sequence[Any], *, leaves: int = 0) -> tuple[Any, str]:
    """Compile a function whole, or else in parts, as its user would; say so in a note.

    The first `leaves` arguments take part in a gradient.
    """
    example = [a.clone().requires_grad_() if i < leaves else a for i, a in enumerate(arguments)]
    whole = torch.compile(function, fullgraph=True)
    try:
        whole(*example)
    except Exception:
        torch._dynamo.reset()
        return torch.compile(function), "in parts"
    return whole, ""


def time_calls(call: Callable[[], Any], count: int, device: str) -> float:
    """Return the seconds that a call takes, of so many in a row."""
    if device == "cpu":
        start = time.perf_counter()
        for _ in range(count):
            call()
        return (time.perf_counter() - start) / count
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(count):
        call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3 / count


def release() -> None:
    torch._dynamo.reset()


def nets(tensors: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    """Return the weights of one policy of the ensemble, to be differentiated by."""
    return {name: tensors[name][index].clone().requires_grad_() for name in ("w1", "b1", "w2", "b2")}


def policy(weights: dict[str, Tensor], observation: Tensor) -> tuple[Tensor, Tensor]:
    """Return loc and scale of the actions."""
    hidden = torch.tanh(observation @ weights["w1"] + weights["b1"])
    loc, raw = (hidden @ weights["w2"] + weights["b2"]).chunk(2, -1)
    return loc, torch.nn.functional.softplus(raw) + 0.1


# ------------------------------------------------------------------------------------------- libraries of distributions
def of_objects(make: Callable[..., Any], form: str, case: Case, data: dict[str, Tensor]) -> Prepared:
    """Return the call for a library whose `make(*parameters)` gives a `torch.distributions.Distribution`."""
    names = PARAMETERS[case.family]
    inputs = [data[name] for name in names]
    if case.verb == "log_prob":
        return _of_log_prob(make, form, inputs, data["value"])
    if case.verb == "kl":
        inputs += [data.get(f"q_{name}", data[name]) for name in names]
    function = _function(make, case.verb, len(names))
    note = ""
    if form == "compiled":
        function, note = compiled(function, inputs)
    return Prepared(lambda: function(*inputs), inputs, note)


def _function(make: Callable[..., Any], verb: str, num: int) -> Callable[..., Any]:
    def sample_and_log_prob(*parameters: Tensor) -> tuple[Tensor, Tensor]:
        distribution = make(*parameters)
        if hasattr(distribution, "sample_and_log_prob"):
            return distribution.sample_and_log_prob()
        value = distribution.sample()
        return value, distribution.log_prob(value)

    def sample_log_prob_entropy(*parameters: Tensor) -> tuple[Tensor, ...]:
        distribution = make(*parameters)
        value = distribution.sample()
        return value, distribution.log_prob(value), distribution.entropy()

    functions: dict[str, Callable[..., Any]] = {
        "sample": lambda *p: make(*p).sample(),
        "sample_and_log_prob": sample_and_log_prob,
        "sample_log_prob_entropy": sample_log_prob_entropy,
        "entropy": lambda *p: make(*p).entropy(),
        "kl": lambda *both: torch.distributions.kl_divergence(make(*both[:num]), make(*both[num:])),
    }
    return functions[verb]


def _of_log_prob(make: Callable[..., Any], form: str, inputs: Sequence[Tensor], value: Tensor) -> Prepared:
    leaves = [tensor for tensor in inputs if tensor.is_floating_point()]
    rest = [*inputs[len(leaves) :], value]

    def log_prob(*arguments: Tensor) -> Tensor:
        return make(*arguments[:-1]).log_prob(arguments[-1])

    if form == "eager":
        return with_gradient(log_prob, leaves, *rest)
    function, note = compiled(log_prob, [*leaves, *rest], leaves=len(leaves))
    return with_gradient(function, leaves, *rest)._replace(note=note)


def loop(
    loss_of: Callable[[dict[str, Tensor], Tensor], Tensor], policies: list[dict[str, Tensor]], observations: Tensor
) -> tuple[Tensor, Tensor]:
    """Update one policy after the other by a step of gradient descent; return their losses and second weights."""
    losses, moved = [], []
    for weights, observation in zip(policies, observations, strict=True):
        loss = loss_of(weights, observation)
        gradients = torch.autograd.grad(loss, list(weights.values()))
        new = [w.detach() - RATE * gradient for w, gradient in zip(weights.values(), gradients, strict=True)]
        losses.append(loss.detach())
        moved.append(new[2])
    return torch.stack(losses), torch.stack(moved)
