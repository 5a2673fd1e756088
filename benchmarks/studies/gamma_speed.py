"""Time draws of gamma distributions with their gradient, and densities with theirs, beside other libraries.

    python -m benchmarks.studies.gamma_speed

One thread, 16,384 float32 elements, concentrations log-uniform from 0.1 to 1000. `torch.distributions` draws by
rejection, and its gradient has errors of 1e-3; JAX is jitted, and left out where it is not installed.
"""

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.measures import medians
from benchmarks.report import seconds_as_text
from functional_dists import gamma, random

COUNT = 16_384


def with_gradient(function: Callable[[Tensor, Tensor], Tensor], a: Tensor, rate: Tensor) -> Callable[[], object]:
    leaves = [t.clone().requires_grad_() for t in (a, rate)]
    return lambda: torch.autograd.grad(function(*leaves).sum(), leaves)


def calls() -> dict[str, Callable[[], object]]:
    generator = torch.Generator().manual_seed(0)
    a = torch.exp(torch.empty(COUNT).uniform_(math.log(0.1), math.log(1000), generator=generator))
    rate, key = torch.ones(COUNT), random.key(0)
    value = gamma.sample(key, a, rate)

    def draw(a: Tensor, rate: Tensor) -> Tensor:
        return gamma.rsample(key, a, rate)

    def score(a: Tensor, rate: Tensor) -> Tensor:
        return gamma.log_prob(a, rate, value)

    def theirs(a: Tensor, rate: Tensor) -> torch.distributions.Gamma:
        return torch.distributions.Gamma(a, rate, validate_args=False)

    functions: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "rsample, eager": draw,
        "rsample, compiled": torch.compile(draw, fullgraph=True),
        "rsample, torch.distributions": lambda a, rate: theirs(a, rate).rsample(),
        "log_prob, eager": score,
        "log_prob, compiled": torch.compile(score, fullgraph=True),
        "log_prob, torch.distributions": lambda a, rate: theirs(a, rate).log_prob(value),
    }
    found = {name: with_gradient(function, a, rate) for name, function in functions.items()}
    return found | _of_jax(a, value)


def _of_jax(a: Tensor, value: Tensor) -> dict[str, Callable[[], object]]:
    try:
        import jax
    except ImportError:
        return {}
    given, at, key = jax.numpy.asarray(a.numpy()), jax.numpy.asarray(value.numpy()), jax.random.key(0)
    draw = jax.jit(jax.grad(lambda a: jax.random.gamma(key, a).sum()))
    score = jax.jit(jax.grad(lambda a: jax.scipy.stats.gamma.logpdf(at, a).sum()))
    return {
        "rsample, JAX": lambda: jax.block_until_ready(draw(given)),
        "log_prob, JAX": lambda: jax.block_until_ready(score(given)),
    }


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    timed = calls()
    for name, microseconds in medians(timed, rounds=30, repeats=3).items():
        print(f"{name}: {seconds_as_text(1e-6 * microseconds)}")


if __name__ == "__main__":
    main()
