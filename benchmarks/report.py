"""The results as a page, as a plot, and as a file that a later run brings up to date."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import goals
from benchmarks.cases import COPY, Case, work
from benchmarks.contenders import FORMS
from benchmarks.measures import Summary, slope, steepest
from benchmarks.worker import Readiness

OURS = "ours"
PEERS = tuple(framework for framework in FORMS if framework != OURS)
TOO_STEEP = 1.05
LARGE = 2**22  # bytes moved, from which on a fraction of the memory's bandwidth is told
HEADINGS = {
    "ours/eager": "ours, eager",
    "ours/key": "ours, eager, key",
    "ours/compiled": "ours, compiled",
    "torchrl/eager": "torchrl",
    "torchrl/compiled": "torchrl, compiled",
    "torch/eager": "torch",
    "jax/jit": "JAX",
}
PACKAGES = ("torch", "torchrl", "tensordict", "jax", "distrax", "numpy")


@dataclass
class Timed:
    """The times of one case with so many threads."""

    case: Case
    threads: int
    summaries: dict[str, Summary] = field(default_factory=dict)
    readiness: dict[str, Readiness] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def medians(self) -> dict[str, float]:
        return {name: one.median for name, one in self.summaries.items()}

    def best(self, framework: str) -> str | None:
        """Return the contender of a library with the least median."""
        names = [name for name in self.summaries if name.startswith(f"{framework}/")]
        return min(names, key=lambda name: self.summaries[name].median, default=None)

    def ratio(self, peer: str) -> float | None:
        """Return how many times as fast as the best of a peer the best of ours is."""
        ours, theirs = self.best(OURS), self.best(peer)
        return self.medians[theirs] / self.medians[ours] if ours and theirs else None


@dataclass
class Results:
    """All that a run has measured."""

    device: str
    contenders: list[str]
    cases: list[Timed] = field(default_factory=list)
    imports: dict[str, float] = field(default_factory=dict)
    compile_times: dict[Case, dict[str, float]] = field(default_factory=dict)
    memory: str = ""

    @property
    def threads(self) -> list[int]:
        return sorted({timed.threads for timed in self.cases})

    def put(self, timed: Timed) -> None:
        """Add a case, in the place of what was known of it."""
        others = [one for one in self.cases if (one.case, one.threads) != (timed.case, timed.threads)]
        order = {case: i for i, case in enumerate(work(self.device))}
        self.cases = sorted([*others, timed], key=lambda one: (one.threads, order.get(one.case, len(order))))


# ----------------------------------------------------------------------------------------------------------------- file
def load(file: Path) -> Results:
    """Return the results that `save` wrote."""
    told = json.loads(file.read_text())
    results = Results(told["device"], told["contenders"], imports=told["imports"], memory=told["memory"])
    for one in told["cases"]:
        summaries = {name: Summary(*values) for name, values in one["summaries"].items()}
        readiness = {name: Readiness(*values) for name, values in one["readiness"].items()}
        results.cases.append(Timed(_case(one["case"]), one["threads"], summaries, readiness, one["failures"]))
    results.compile_times = {_case(case): times for case, times in told["compile_times"]}
    return results


def save(results: Results, file: Path) -> None:
    told = {**vars(results), "cases": [{**vars(one), "case": asdict(one.case)} for one in results.cases]}
    told["compile_times"] = [(asdict(case), times) for case, times in results.compile_times.items()]
    file.write_text(json.dumps(told, indent=1) + "\n")


def _case(fields: Mapping[str, Any]) -> Case:
    return Case(**{**fields, "shape": tuple(fields["shape"])})


def write(results: Results, folder: Path) -> None:
    save(results, folder / "RESULTS.json")
    parts = [_header(results), _goals(results)]
    parts += [_times(results, threads) for threads in results.threads]
    parts += [_growth(results), _fresh(results), _remarks(results)]
    (folder / "RESULTS.md").write_text("\n\n".join(part for part in parts if part) + "\n")
    plot(results, folder / "RESULTS.png")


# ----------------------------------------------------------------------------------------------------------------- page
def table(headings: list[str], rows: list[list[str]]) -> str:
    """Return a table of Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [headings, ["---"] * len(headings), *rows])


def seconds_as_text(seconds: float) -> str:
    """Return seconds in a unit that suits them.

    >>> seconds_as_text(0.00123), seconds_as_text(12.3e-6), seconds_as_text(4.0)
    ('1.23 ms', '12.3 us', '4.00 s')
    """
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}" if seconds >= 10 * scale else f"{seconds / scale:.2f} {unit}"
    return f"{seconds * 1e6:.3g} us"


def _header(results: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name in PACKAGES if (version := _version(name)))
    rounds = sorted({one.rounds for timed in results.cases for one in timed.summaries.values()})
    return f"""# Results of `make bench`

{versions}; Python {platform.python_version()}, {results.device}, {_processor()}.

Medians, in brackets the quartiles, of {rounds[-1] if rounds else 0} rounds, or of as many as the column says. `eager`
draws from a Generator where it draws; `log_prob` is forward and backward. A ratio is the best of the peer over the best
of ours: above 1, ours is faster. A peer's result that is wrong is timed all the same, and marked †; ‡ marks code that
`torch.compile` takes in parts only. Both, and what failed (✗), are told at the end; "-" is what a library does not
have. In the ensemble `eager` is a Python loop over the policies, and the others are vmapped. A row is from one run;
different rows may be from different ones (`--update`) on this machine.

![ratios](RESULTS.png)"""


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _goals(results: Results) -> str:
    by_key = {(timed.case, timed.threads): timed for timed in results.cases}
    rows = []
    for goal in goals.GOALS:
        for threads in results.threads:
            timed = by_key.get((goal.case, threads))
            outcome = goal.outcome(timed.medians) if timed else None
            if outcome:
                rows.append(
                    [goal.case.name, str(threads), goal.text, outcome[0], "met" if outcome[1] else "**not met**"]
                )
    return "## Goals\n\n" + table(["work", "threads", "goal", "measured", ""], rows) if rows else ""


def _times(results: Results, threads: int) -> str:
    chosen = [timed for timed in results.cases if timed.threads == threads]
    bandwidth = _bandwidth(results, threads)
    peers = [peer for peer in PEERS if any(name.startswith(f"{peer}/") for name in results.contenders)]
    headings = ["work", *(HEADINGS[name] for name in results.contenders), *(f"/ {peer}" for peer in peers)]
    headings += ["of the bandwidth", "rounds"]
    rows = [_row(timed, results.contenders, peers, bandwidth) for timed in chosen]
    told = f"A copy moves {bandwidth / 1e9:.1f} GB/s, read and written.\n\n" if bandwidth else ""
    return f"## {threads} thread{'s' if threads > 1 else ''}\n\n{told}{table(headings, rows)}"


def _bandwidth(results: Results, threads: int) -> float | None:
    """Return the bytes a second that a copy moves."""
    for timed in results.cases:
        if (timed.case, timed.threads) == (COPY, threads) and "ours/eager" in timed.summaries:
            return timed.readiness["ours/eager"].moved / timed.medians["ours/eager"]
    return None


def _row(timed: Timed, contenders: list[str], peers: list[str], bandwidth: float | None) -> list[str]:
    ratios = [timed.ratio(peer) for peer in peers]
    rounds = str(max((one.rounds for one in timed.summaries.values()), default=0))
    cells = [_cell(timed, name) for name in contenders]
    cells += ["" if ratio is None else f"{ratio:.2f}x" for ratio in ratios]
    return [timed.case.name, *cells, _share(timed, bandwidth), rounds]


def _share(timed: Timed, bandwidth: float | None) -> str:
    """Return at which fraction of the bandwidth the best of ours moves the least it must, where that is much."""
    best = timed.best(OURS)
    if not best or not bandwidth or timed.readiness[best].moved < LARGE:
        return ""
    return f"{timed.readiness[best].moved / timed.medians[best] / bandwidth:.0%}"


def _cell(timed: Timed, name: str) -> str:
    if name in timed.failures:
        return "✗"
    if name not in timed.summaries:
        return "-"
    one, ready = timed.summaries[name], timed.readiness[name]
    marks = ("†" if ready.wrong else "") + ("‡" if ready.note else "")
    return f"{seconds_as_text(one.median)}{marks} ({seconds_as_text(one.low)} - {seconds_as_text(one.high)})"


def _growth(results: Results) -> str:
    rows = []
    for (family, verb, dtype, threads, name), points in series(results).items():
        sizes, seconds = zip(*points, strict=True)
        fit, most = slope(sizes, seconds), steepest(sizes, seconds)
        flag = "**steep**" if max(fit, most) > TOO_STEEP else ""
        work = f"{family} {verb}" + ("" if dtype == "float32" else f" {dtype}")
        rows.append([work, str(threads), HEADINGS[name], f"{fit:.2f}", f"{most:.2f}", flag])
    if not rows:
        return ""
    told = f"The exponent k of time ~ size^k, and the largest from one size to the next; above {TOO_STEEP} it is steep."
    return f"## Growth\n\n{told}\n\n" + table(["work", "threads", "", "k", "largest", ""], rows)


def series(results: Results) -> dict[tuple[str, str, str, int, str], list[tuple[int, float]]]:
    """Return sizes and times of ours by family, verb, dtype, threads and contender, where there are several."""
    series: dict[tuple[str, str, str, int, str], list[tuple[int, float]]] = {}
    for timed in results.cases:
        for name, seconds in timed.medians.items():
            if name.startswith(f"{OURS}/"):
                key = (timed.case.family, timed.case.verb, timed.case.dtype, timed.threads, name)
                series.setdefault(key, []).append((timed.case.size, seconds))
    return {key: points for key, points in series.items() if len(points) > 1}


def _fresh(results: Results) -> str:
    parts = []
    if results.imports:
        rows = [[name, seconds_as_text(seconds)] for name, seconds in results.imports.items()]
        parts.append("## Import time\n\nIn a fresh process, medians.\n\n" + table(["what", "time"], rows))
    if results.compile_times:
        names = [name for name in results.contenders if any(name in times for times in results.compile_times.values())]
        rows = [
            [case.name, *(seconds_as_text(times[name]) if name in times else "✗" for name in names)]
            for case, times in results.compile_times.items()
        ]
        told = "Compilation and first call, nothing cached, by a compiler that has run before; one thread, medians."
        parts.append(f"## Compile time\n\n{told}\n\n" + table(["work", *(HEADINGS[name] for name in names)], rows))
    if results.memory:
        parts.append(f"## Peak memory of llm_masked_categorical\n\n{results.memory.strip()}")
    return "\n\n".join(parts)


def _remarks(results: Results) -> str:
    """Return what is wrong, noteworthy or failed, each once with the cases it befell."""
    befell: dict[tuple[str, str, str], list[str]] = {}
    for timed in results.cases:
        for name, text in timed.failures.items():
            befell.setdefault((name, "✗", text), []).append(timed.case.name)
        for name, ready in timed.readiness.items():
            for mark, text in (("†", ready.wrong), ("‡", ready.note)):
                if text:
                    befell.setdefault((name, mark, text), []).append(timed.case.name)
    rows = [
        [HEADINGS[name], mark, text.replace("|", "\\|"), "; ".join(dict.fromkeys(names))]
        for (name, mark, text), names in befell.items()
    ]
    return "## Remarks\n\n" + table(["contender", "", "what", "where"], rows) if rows else ""


# ----------------------------------------------------------------------------------------------------------------- plot
def plot(results: Results, file: Path) -> None:
    """Draw the ratios of all cases, a panel for each number of threads, and the growth of our times."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = len(results.threads)
    rows = max((sum(t.threads == threads for t in results.cases) for threads in results.threads), default=1)
    height = max(4.0, 0.22 * rows + 1.5)
    figure, axes = pyplot.subplots(1, panels + 1, figsize=(9 * panels + 8, height), squeeze=False, layout="constrained")
    for axis, threads in zip(axes[0], results.threads, strict=False):
        _draw_ratios(axis, [timed for timed in results.cases if timed.threads == threads], threads)
    _draw_growth(axes[0][-1], results)
    figure.savefig(file, dpi=80)
    pyplot.close(figure)


def _draw_ratios(axis: Any, chosen: list[Timed], threads: int) -> None:
    shown = [timed for timed in chosen if any(timed.ratio(peer) for peer in PEERS)]
    for peer, colour in zip(PEERS, ("tab:red", "tab:orange", "tab:blue"), strict=True):
        points = [(timed.ratio(peer), row) for row, timed in enumerate(shown) if timed.ratio(peer)]
        if points:
            axis.scatter(*zip(*points, strict=True), label=f"against {peer}", color=colour, s=24)
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_xscale("log")
    axis.set_ylim(len(shown), -1)
    axis.set_yticks(range(len(shown)), [timed.case.name for timed in shown], fontsize=7)
    axis.set_xlabel("how many times as fast the best of ours is")
    axis.set_title(f"{threads} thread{'s' if threads > 1 else ''}")
    axis.grid(axis="both", alpha=0.3)
    if shown:
        axis.legend(loc="upper right", fontsize=8)


def _draw_growth(axis: Any, results: Results) -> None:
    for (family, verb, dtype, threads, name), points in series(results).items():
        if threads == results.threads[0] and name == "ours/compiled" and dtype == "float32":
            axis.plot(*zip(*sorted(points), strict=True), marker=".", label=f"{family} {verb}")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("numbers in the first parameter, or policies")
    axis.set_ylabel("seconds")
    axis.set_title(f"growth, compiled, {results.threads[0]} thread{'s' if results.threads[0] > 1 else ''}")
    axis.grid(alpha=0.3)
    if axis.lines:
        axis.legend(fontsize=7)
    else:
        axis.set_visible(False)
