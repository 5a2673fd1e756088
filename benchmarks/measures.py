"""Medians, quartiles, and the exponent with which a time grows."""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Summary(NamedTuple):
    """Statistics of the seconds per call, over the rounds."""

    median: float
    low: float
    high: float
    rounds: int


def summary(seconds: Sequence[float]) -> Summary:
    """Return the median and the quartiles.

    >>> summary([3.0, 1.0, 2.0, 5.0, 4.0])
    Summary(median=3.0, low=2.0, high=4.0, rounds=5)
    """
    if len(seconds) == 1:
        return Summary(seconds[0], seconds[0], seconds[0], 1)
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return Summary(median, low, high, len(seconds))


def medians(calls: Mapping[str, Callable[[], object]], rounds: int, repeats: int) -> dict[str, float]:
    """Return the median microseconds per call of each function, called in turns, without the first round.

    >>> list(medians({"nothing": lambda: None}, rounds=3, repeats=10))
    ['nothing']
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(repeats):
                call()
            times[name].append((time.perf_counter() - start) / repeats * 1e6)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return the exponent k of time ~ size^k by least squares on logarithms.

    >>> round(slope([1, 10, 100], [2, 20, 200]), 6)
    1.0
    """
    fit = statistics.linear_regression([math.log(size) for size in sizes], [math.log(s) for s in seconds])
    return fit.slope


def steepest(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return the largest exponent between neighbouring sizes.

    >>> round(steepest([1, 10, 100], [1, 1, 100]), 6)
    2.0
    """
    points = sorted(zip(sizes, seconds, strict=True))
    return max(slope((a[0], b[0]), (a[1], b[1])) for a, b in itertools.pairwise(points))
