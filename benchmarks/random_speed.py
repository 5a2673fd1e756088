"""Time draws against PyTorch's own, interleaved, so that whatever else the machine does befalls both alike.

Run it once with one thread and once with several; ``torch.rand`` and ``torch.randn`` use one in any case:

    OMP_NUM_THREADS=1 python benchmarks/random_speed.py
    OMP_NUM_THREADS=2 python benchmarks/random_speed.py

The medians are what a busy machine gives, the minima what an idle one would.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from functional_dists import random

MANY = 2**20

Rows = list[tuple[str, Callable[[], object], int, str]]


def rows() -> Rows:
    """Name, function, calls per measurement, and the name of the row to compare with."""
    key, generator = random.key(42), torch.Generator().manual_seed(0)
    uniform = torch.compile(lambda key: random.uniform(key, MANY), fullgraph=True)
    normal = torch.compile(lambda key: random.normal(key, MANY), fullgraph=True)
    return [
        ("torch.rand, 2^20", lambda: torch.rand(MANY), 20, ""),
        ("compiled uniform, 2^20", lambda: uniform(key), 20, "torch.rand, 2^20"),
        ("torch.randn, 2^20", lambda: torch.randn(MANY), 20, ""),
        ("compiled normal, 2^20", lambda: normal(key), 20, "torch.randn, 2^20"),
        ("torch.randn(generator=), 8", lambda: torch.randn((8,), generator=generator), 1000, ""),
        ("normal(generator, 8)", lambda: random.normal(generator, (8,)), 1000, "torch.randn(generator=), 8"),
        ("normal(key, 8)", lambda: random.normal(key, (8,)), 200, "torch.randn(generator=), 8"),
        ("normal(key, (256, 6))", lambda: random.normal(key, (256, 6)), 50, ""),
        ("uniform(key, 8)", lambda: random.uniform(key, (8,)), 200, ""),
        ("split(key)", lambda: random.split(key), 200, ""),
        ("fold_in(key, 3)", lambda: random.fold_in(key, 3), 200, ""),
    ]


def measure(rows: Rows, rounds: int) -> dict[str, list[float]]:
    """Microseconds per call, one number for each round."""
    times: dict[str, list[float]] = {name: [] for name, *_ in rows}
    for _ in range(rounds):
        for name, function, calls, _ in rows:
            start = time.perf_counter()
            for _ in range(calls):
                function()
            times[name].append((time.perf_counter() - start) / calls * 1e6)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    table = rows()
    measure(table, 3)  # compiles, and warms up
    times = measure(table, options.rounds)
    median = {name: statistics.median(values) for name, values in times.items()}
    least = {name: min(values) for name, values in times.items()}
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}\n")
    print("| draw | median, us | least, us | faster than PyTorch: median | least |")
    print("|---|---|---|---|---|")
    for name, _, _, other in table:
        ratios = [f"{values[other] / values[name]:.2f}" if other else "" for values in (median, least)]
        print(f"| {name} | {median[name]:.1f} | {least[name]:.1f} | {ratios[0]} | {ratios[1]} |")


if __name__ == "__main__":
    main()
