"""Time ways to draw one outcome of every row of masked logits, interleaved, eager and compiled, on one thread.

2026-11-21, again on 2026-11-30. Found: at (256, 32000) compiled, `integers` takes 0.3 to 0.5 of the time of the other
ways. At (256, 64) it costs 1.3 to 1.5 times `float64`, and gains the same outcome for every order of summation.

    python -m benchmarks.studies.choice_speed

`integers` is what the package does: the inverse cdf of weights rounded to integers. `float64` is the same in floating
point, where a sum in another order is another sum. The other two need a random number for every outcome instead of one
for every row.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.measures import medians
from benchmarks.progress import say, steps
from functional_dists import random
from functional_dists.special import choose, softmax

SHAPES = ((256, 64), (16_384, 64), (256, 32_000))


def integers(key: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
    return choose(softmax.weights(logits, mask), random.uniform(key, logits.shape[:-1], dtype=torch.float64))


def float64(key: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
    sums = softmax.weights(logits, mask).double().cumsum(-1)
    target = random.uniform(key, logits.shape[:-1], dtype=torch.float64) * sums[..., -1]
    return (sums <= target[..., None]).sum(-1)


def gumbel(key: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, logits + random.gumbel(key, logits.shape), -torch.inf).argmax(-1)


def exponential_race(key: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
    return (softmax.weights(logits, mask) / random.exponential(key, logits.shape)).argmax(-1)


def multinomial(key: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
    return torch.multinomial(softmax.weights(logits, mask), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    key, ways = random.key(42), (integers, float64, gumbel, exponential_race)
    print(f"torch {torch.__version__}, 1 thread; median us, eager / compiled\n")
    print(f"| shape | {' | '.join(way.__name__ for way in ways)} | torch.multinomial |\n|{'---|' * (len(ways) + 2)}")
    for shape in steps(SHAPES, "shapes"):
        logits = random.normal(random.fold_in(key, 1), shape)
        mask = random.bernoulli(random.fold_in(key, 2), shape, 0.7)
        calls: dict[str, Callable[[], object]] = {}
        for way in (*ways, multinomial):
            calls[way.__name__] = lambda way=way, logits=logits, mask=mask: way(key, logits, mask)
        for way in ways:
            torch._dynamo.reset()
            compiled = torch.compile(way, fullgraph=True)
            compiled(key, logits, mask)
            calls[f"compiled {way.__name__}"] = lambda f=compiled, logits=logits, mask=mask: f(key, logits, mask)
        median = medians(calls, rounds, max(1, 200_000 // logits.numel()))
        cells = [f"{median[w.__name__]:.0f} / {median[f'compiled {w.__name__}']:.0f}" for w in ways]
        say(f"| {shape} | {' | '.join(cells)} | {median['multinomial']:.0f} |")


if __name__ == "__main__":
    main()
