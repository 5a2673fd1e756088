"""Time what compiled functions of the package save eager code on a CPU, beside PyTorch's operations and NumPy.

2026-11-27. Found: draws by keys take a half to a ninth of the time with kernels, the pair of masked_categorical a half
to a third, its log_prob and entropy a third to a sixth.

    python -m benchmarks.studies.kernels

Both columns are of this package, called alternately: with `functional_dists._kernels`, and as it is where there was
no C compiler to build it.
"""

import argparse
import os
import warnings
from collections.abc import Callable

import torch

from benchmarks import cases, report
from benchmarks.cases import Case
from benchmarks.contenders import ours
from benchmarks.measures import medians
from benchmarks.progress import say, steps
from benchmarks.report import HEADINGS, seconds_as_text
from benchmarks.worker import settle
from functional_dists.random import extension

WORK = [
    ("ours/key", Case("random", "normal", (8,))),
    ("ours/key", Case("random", "normal", (256, 6))),
    ("ours/key", Case("random", "normal", (2**20,))),
    ("ours/key", Case("random", "split", (1024,))),
    *(
        (form, Case("tanh_normal", "sample_and_log_prob", shape))
        for form in ("ours/eager", "ours/key")
        for shape in ((256, 6), (16_384, 6))
    ),
    *(("ours/eager", Case("tanh_normal", "log_prob", shape)) for shape in ((256, 6), (16_384, 6))),
    *(
        ("ours/eager", Case("masked_categorical", verb, shape))
        for verb in ("sample_and_log_prob", "log_prob", "entropy")
        for shape in ((256, 64), (16_384, 64), (256, 32_000))
    ),
]


def prepared(contender: str, case: Case) -> Callable[[], object]:
    call = ours.prepare(contender.partition("/")[2], case, cases.inputs(case), "cpu")
    assert call is not None
    return call.call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if extension.kernels is None:
        parser.error("the kernels are not built: pip install -c constraints.txt -e .")
    settle(arguments.threads)
    warnings.simplefilter("ignore")
    print(f"torch {torch.__version__}, {arguments.threads} of {os.cpu_count()} cores; medians\n")
    print(report.table(["work", "", "with kernels", "without", "times as fast"], []))
    for contender, case in steps(WORK, "cases"):
        call = prepared(contender, case)
        calls = {"with": call, "without": extension.without_kernels(call)}
        once = min(medians(calls, 1, 1).values())
        median = medians(calls, arguments.rounds, int(2e3 / once) + 1)
        times = [seconds_as_text(median[name] * 1e-6) for name in calls]
        row = [case.name, HEADINGS[contender], *times, f"{median['without'] / median['with']:.1f}x"]
        say(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
