"""Use the installed package: `python -I use.py`. Kernels run, and give what PyTorch's operations give."""

import shutil
import sys
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor

import functional_dists
from functional_dists import categorical, normal, random, tanh_normal
from functional_dists.__main__ import lines
from functional_dists.random import extension

KEY = random.key(42)
LOC, SCALE, VALUE = torch.linspace(-2, 2, 24).view(8, 3), torch.linspace(0.1, 2, 24).view(8, 3), torch.full((8, 3), 0.5)


def slopes() -> tuple[Tensor, ...]:
    parameters = [LOC.clone().requires_grad_(), SCALE.clone().requires_grad_()]
    log_prob = tanh_normal.log_prob(*parameters, -1.0, 1.0, VALUE)
    return (log_prob, *torch.autograd.grad(log_prob.sum(), parameters))


CALLS: dict[str, Callable[[], Tensor | tuple[Tensor, ...]]] = {
    "a draw and its log-prob": lambda: tanh_normal.sample_and_log_prob(KEY, LOC, SCALE, -1.0, 1.0),
    "a log-prob and its gradient": slopes,
    "a choice": lambda: categorical.sample(KEY, LOC),
    "normals": lambda: random.normal(KEY, (1000,)),
}


def counting(calls: Counter[str], name: str) -> Callable[..., object]:
    function = getattr(extension.kernels, name)

    def call(*arguments: object) -> object:
        calls[name] += 1
        return function(*arguments)

    return call


def main() -> None:
    assert Path(functional_dists.__file__).is_relative_to(sys.prefix), functional_dists.__file__
    found = [name for name in ("cc", "gcc", "clang", "c++", "g++") if shutil.which(name)]
    assert not found, f"C compilers: {found}"
    assert extension.kernels is not None, "the extension is not in the wheel"
    print(*islice(lines(), 4), sep="\n")

    calls: Counter[str] = Counter()
    names = [name for name in dir(extension.kernels) if not name.startswith("_")]
    extension.kernels = SimpleNamespace(**{name: counting(calls, name) for name in names})
    for label, call in CALLS.items():
        calls.clear()
        result = call()
        assert calls, f"no kernel ran for {label}"
        print(f"{label}: {', '.join(sorted(calls))} ran")
        torch.testing.assert_close(result, extension.without_kernels(call)())

    keys = random.split(KEY, 8)
    lanes = [normal.sample(key, loc, scale) for key, loc, scale in zip(keys, LOC, SCALE, strict=True)]
    torch.testing.assert_close(torch.vmap(normal.sample)(keys, LOC, SCALE), torch.stack(lanes))
    print("vmap over keys, locs and scales gives what a loop over the lanes gives")


if __name__ == "__main__":
    main()
