"""Look for the cause where a time grows faster than the size: in what is done, or in what lies in the caches.

2026-11-27. Found: 14 of 17 steep steps with one thread come from the caches that a loop of small work keeps warm. The
other three (exponents 1.09 to 1.11) are tables that outgrow the second cache. No step grows because of more operations.

    python -m benchmarks.studies.growth

`make bench` times one call after the other, all on the same numbers. For every step of RESULTS.json that is steeper
than it should be the larger work is timed as a whole, and in parts as large as the smaller one: the same operations
on the same elements. No part finds anything in the caches that its last call left there, and the operations of a
part leave to each other what is small enough for them. So what is steeper in the loop of the smaller work than from
the parts is the first of these; what is steeper from the parts is the second; and the number of operations has no
share in it.
"""

import argparse
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch

from benchmarks import cases, report
from benchmarks.cases import Arrays, Case
from benchmarks.contenders import ours
from benchmarks.measures import medians
from benchmarks.progress import say, steps
from benchmarks.report import HEADINGS, TOO_STEEP, seconds_as_text
from benchmarks.worker import settle


def steep_steps(results: report.Results, threads: int) -> list[tuple[str, Case, Case]]:
    """Return the contenders and cases between which a time with so many threads grows too fast."""
    found = []
    for (family, verb, dtype, of_threads, name), points in report.series(results).items():
        by_size = {timed.case.size: timed.case for timed in results.cases if _is(timed.case, family, verb, dtype)}
        for (size, seconds), (next_size, next_seconds) in pairwise(sorted(points)):
            step = math.log(next_seconds / seconds) / math.log(next_size / size)
            if of_threads == threads and step > TOO_STEEP:
                found.append((name, by_size[size], by_size[next_size]))
    return found


def _is(case: Case, family: str, verb: str, dtype: str) -> bool:
    return (case.family, case.verb, case.dtype) == (family, verb, dtype)


def in_parts(name: str, case: Case, rows: int) -> Callable[[], object]:
    """Return a call that does the work of a case some rows of the first axis after the others."""
    arrays = cases.inputs(case)
    calls = [
        prepared(name, replace(case, shape=(rows, *case.shape[1:])), {n: a[i : i + rows] for n, a in arrays.items()})
        for i in range(0, case.shape[0], rows)
    ]
    return lambda: [call() for call in calls]


def prepared(name: str, case: Case, arrays: Arrays) -> Callable[[], object]:
    call = ours.prepare(name.partition("/")[2], case, arrays, "cpu")
    assert call is not None
    return call.call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "RESULTS.json")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    settle(arguments.threads)
    warnings.simplefilter("ignore")
    print(f"torch {torch.__version__}, {arguments.threads} of {os.cpu_count()} cores; medians\n")
    headings = ["work", "", "larger", "smaller, in a loop", "in parts", "whole", "slope", "from parts"]
    print(report.table(headings, []))
    for name, small, large in steps(steep_steps(report.load(arguments.results), arguments.threads), "cases"):
        rows = large.shape[0] * small.size // large.size
        while large.shape[0] % rows:
            rows -= 1
        whole, parts = prepared(name, large, cases.inputs(large)), in_parts(name, large, rows)
        median = medians({"parts": parts, "whole": whole}, arguments.rounds, 1)
        share = rows / large.shape[0]
        part = median["parts"] * share
        of_part, of_small = share * large.size, small.size
        loop = medians({"small": prepared(name, small, cases.inputs(small))}, arguments.rounds, int(1e4 / part) + 1)
        slopes = [
            math.log(median["whole"] / us) / math.log(large.size / size)
            for us, size in ((loop["small"], of_small), (part, of_part))
        ]
        times = [seconds_as_text(us * 1e-6) for us in (loop["small"], median["parts"], median["whole"])]
        row = [small.name, HEADINGS[name], str(large.shape), *times, *map("{:.2f}".format, slopes)]
        say(f"| {' | '.join(row)} |")
        torch._dynamo.reset()


if __name__ == "__main__":
    main()
