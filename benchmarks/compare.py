"""Time this package beside TorchRL, torch.distributions and jitted JAX with distrax.

    python -m benchmarks.compare
    python -m benchmarks.compare --quick --only "tanh_normal sample" --contenders "ours/*"

Every library has its own process, which keeps the memory that it has allocated. First the result of each contender is
checked against float64. In a round each contender of a case makes one measurement on the same inputs, of as many calls
as fill ten milliseconds, while the others sleep. So other load on the machine affects all contenders alike. A case runs
for the given number of rounds, or for fewer if it would take longer than `--seconds` and no goal names it.

The results are RESULTS.md, RESULTS.png and RESULTS.json. A whole run writes them to benchmarks/, a partial run to
outputs/. With `--update` a partial run replaces the same cases in benchmarks/ and keeps the others.
"""

import argparse
import contextlib
import fnmatch
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from benchmarks import cases, goals, report
from benchmarks.cases import Case
from benchmarks.contenders import CONTENDERS
from benchmarks.measures import summary
from benchmarks.worker import ENOUGH, PAUSE, Failure, Readiness, Worker

LEAST_ROUNDS = 7
COMPILED = (
    Case("tanh_normal", "sample_and_log_prob", (256, 6)),
    Case("tanh_normal", "log_prob", (256, 6)),
    Case("masked_categorical", "sample_and_log_prob", (256, 64)),
)
IMPORTS = {
    "torch": "import torch",
    "torch and ours": "import torch; from functional_dists import tanh_normal",
    "torch and torchrl": "import torch; from torchrl.modules import TanhNormal",
    "jax and distrax": "import jax, distrax",
}


@dataclass
class Settings:
    """The amount of measurement."""

    rounds: int
    seconds: float
    contenders: Sequence[str]
    device: str
    must_have_all_rounds: frozenset[Case] = field(default_factory=lambda: frozenset(goal.case for goal in goals.GOALS))


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", metavar="PATTERN", nargs="+", help="cases whose name has one of these in it, * and ? allowed"
    )
    parser.add_argument("--missing", action="store_true", help="with --update: only what has no result yet")
    parser.add_argument("--rest", action="store_true", help="no case, but import times and compile times")
    parser.add_argument("--contenders", metavar="PATTERN", default="*", help=f"of {', '.join(CONTENDERS)}")
    parser.add_argument("--quick", action="store_true", help="few rounds, one thread and, without --only, few cases")
    parser.add_argument("--rounds", type=int, help="50, or with --quick 5")
    parser.add_argument("--seconds", type=float, default=15.0, help="most for one case no goal speaks of")
    parser.add_argument("--threads", type=int, nargs="+", help="1 2, or with --quick 1")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--update", action="store_true", help="keep the results of other cases that are there")
    parser.add_argument("--output", type=Path, help="folder of the results")
    options = parser.parse_args(given)
    if options.missing and not options.update:
        parser.error("--missing needs --update")
    options.rounds = options.rounds or (5 if options.quick else 50)
    options.threads = options.threads or ([1] if options.quick else [1, 2])
    is_part = options.quick or options.rest or options.missing or options.only is not None
    is_whole = not is_part and options.contenders == "*"
    options.output = options.output or Path("benchmarks" if is_whole or options.update else "outputs")
    return options


def main(given: Sequence[str] | None = None) -> None:
    options = arguments(given)
    everything = cases.work(options.device)
    chosen = cases.matching(everything, options.only) if options.only is not None else everything
    if options.rest:
        chosen = []
    elif options.quick and options.only is None:
        chosen = cases.few(everything)
    contenders = [name for name in CONTENDERS if fnmatch.fnmatchcase(name, options.contenders)]
    if not (chosen or options.rest) or not contenders:
        raise SystemExit("nothing has such a name")
    settings = Settings(options.rounds, options.seconds, contenders, options.device)
    if options.quick:
        settings.must_have_all_rounds = frozenset()
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "RESULTS.json"
    results = report.load(file) if options.update and file.exists() else report.Results(options.device, contenders)
    results.contenders = [name for name in CONTENDERS if name in {*results.contenders, *contenders}]
    results.machine = report.machine(options.device)
    known = {(timed.case, timed.threads) for timed in results.cases} if options.missing else set()
    pending = {threads: [case for case in chosen if (case, threads) not in known] for threads in options.threads}
    try:
        with tqdm(total=sum(map(len, pending.values())), unit="case", mininterval=1, disable=None) as bar:
            for threads in (threads for threads in options.threads if pending[threads]):
                for timed in measure(pending[threads], threads, settings, bar):
                    results.put(timed)
                    report.save(results, file)
    finally:
        report.write(results, options.output)  # also the results of an interrupted run
    has_rest = options.only is None and not options.missing
    if has_rest:
        results.imports = import_times(5 if not options.quick else 1)
        results.compile_times = compile_times(settings, 3 if not options.quick else 1)
    report.write(results, options.output)
    print(f"{options.output}/RESULTS.md, {options.output}/RESULTS.png")


# --------------------------------------------------------------------------------------------------------------- timing
def measure(chosen: Iterable[Case], threads: int, settings: Settings, bar: "tqdm[object]") -> Iterable[report.Timed]:
    frameworks = {name.partition("/")[0] for name in settings.contenders}
    workers = {framework: Worker(framework, threads, settings.device) for framework in sorted(frameworks)}
    try:
        for case in chosen:
            bar.set_postfix_str(f"{case.name}, {threads} threads")
            yield of_case(case, threads, workers, settings)
            bar.update()
    finally:
        for worker in workers.values():
            worker.stop()


def of_case(case: Case, threads: int, workers: dict[str, Worker], settings: Settings) -> report.Timed:
    """Prepare a case with every contender, and time in turns those that support it."""
    timed = report.Timed(case, threads)
    seconds: dict[str, list[float]] = {}
    counts: dict[str, int] = {}
    round_takes = 0.0
    for name in settings.contenders:
        framework, form = name.split("/")
        try:
            ready: Readiness | None = workers[framework].ask("prepare", form, case)
        except Failure as failure:
            timed.failures[name] = str(failure)
            continue
        if ready is not None:
            seconds[name] = []
            counts[name] = max(1, math.ceil(ENOUGH / ready.seconds))
            round_takes += ready.seconds * counts[name]
            _note(timed, name, ready)
    for _ in range(rounds_of(case, round_takes, settings)):
        for name in list(seconds):
            framework, form = name.split("/")
            time.sleep(PAUSE)
            try:
                seconds[name].append(workers[framework].ask("time", form, counts[name]))
            except Failure as failure:
                timed.failures[name] = str(failure)
                del seconds[name]
    for worker in workers.values():
        with contextlib.suppress(Failure):  # the library is not installed
            worker.ask("release")
    timed.summaries = {name: summary(values) for name, values in seconds.items()}
    return timed


def _note(timed: report.Timed, name: str, ready: Readiness) -> None:
    if name.startswith(report.OURS):
        timed.moved = timed.moved or ready.moved
    if ready.wrong:
        timed.wrong[name] = ready.wrong
    if ready.note:
        timed.notes[name] = ready.note


def rounds_of(case: Case, round_takes: float, settings: Settings) -> int:
    if case in settings.must_have_all_rounds or round_takes * settings.rounds <= settings.seconds:
        return settings.rounds
    return max(min(LEAST_ROUNDS, settings.rounds), int(settings.seconds / round_takes))


# -------------------------------------------------------------------------------------------- measured in new processes
def import_times(rounds: int) -> dict[str, float]:
    """Return the median seconds of imports, each in a new process; imports that fail are left out."""
    times: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(rounds):
        for name, statement in IMPORTS.items():
            program = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
            run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
            if run.returncode == 0:
                times[name].append(float(run.stdout.split()[-1]))
    return {name: statistics.median(values) for name, values in times.items() if values}


def compile_times(settings: Settings, rounds: int) -> dict[Case, dict[str, float]]:
    """Return the median seconds of compilation and first call, with a compiler that is warm but has no cache."""
    times: dict[Case, dict[str, list[float]]] = {case: {} for case in COMPILED}
    warm_up = Case("independent_normal", "sample_and_log_prob", (256, 6))
    for _ in tqdm(range(rounds), desc="compile times", unit="round", disable=None):
        for name in settings.contenders:
            framework, form = name.split("/")
            if form not in ("compiled", "jit"):
                continue
            worker = Worker(framework, 1, settings.device, TORCHINDUCTOR_FORCE_DISABLE_CACHES="1")
            try:
                worker.ask("prepare", form, warm_up)
                for case, by_name in times.items():
                    worker.ask("release")
                    by_name.setdefault(name, []).append(worker.ask("prepare", form, case).compiled)
            except Failure:
                pass
            worker.stop()
    return {case: {name: statistics.median(t) for name, t in by_name.items()} for case, by_name in times.items()}


if __name__ == "__main__":
    main()
