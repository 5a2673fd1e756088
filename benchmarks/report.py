"""The results as a page, as a picture, and as a file of numbers that a later run can update."""

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import goals
from benchmarks.cases import COPY, Case, work
from benchmarks.contenders import CONTIGUOUS, FORMS, PRODUCTS
from benchmarks.measures import Summary, slope, steepest

OURS = "ours"
PEERS = tuple(framework for framework in FORMS if framework != OURS)
TOO_STEEP = 1.05
LARGE = 2**22  # bytes moved, from which the page shows the fraction of the memory bandwidth
HEADINGS = {
    "ours/eager": "ours, eager",
    "ours/key": "ours, eager, key",
    "ours/compiled": "ours, compiled",
    CONTIGUOUS: "ours, eager, contiguous",
    "torchrl/eager": "torchrl",
    "torchrl/compiled": "torchrl, compiled",
    "torch/eager": "torch",
    PRODUCTS: "products alone",
    "jax/jit": "JAX",
}
PACKAGES = ("torch", "torchrl", "tensordict", "jax", "distrax", "numpy")


@dataclass
class Timed:
    """The times and remarks of one case and one number of threads, by contender.

    moved: The least number of bytes that ours reads and writes.
    wrong: The errors of results.
    """

    case: Case
    threads: int
    moved: int = 0
    summaries: dict[str, Summary] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def medians(self) -> dict[str, float]:
        return {name: one.median for name, one in self.summaries.items()}

    def best(self, framework: str) -> str | None:
        """Return the contender of a library with the least median."""
        no_rivals = (CONTIGUOUS, PRODUCTS)
        names = [name for name in self.summaries if name.startswith(f"{framework}/") and name not in no_rivals]
        return min(names, key=lambda name: self.summaries[name].median, default=None)

    def ratio(self, peer: str) -> float | None:
        """Return the median time of the best of a peer divided by that of the best of ours."""
        ours, theirs = self.best(OURS), self.best(peer)
        return self.medians[theirs] / self.medians[ours] if ours and theirs else None


@dataclass
class Results:
    """All measurements of a run."""

    device: str
    contenders: list[str]
    cases: list[Timed] = field(default_factory=list)
    imports: dict[str, float] = field(default_factory=dict)
    compile_times: dict[Case, dict[str, float]] = field(default_factory=dict)
    machine: str = ""  # of the latest run: versions and processor

    @property
    def threads(self) -> list[int]:
        return sorted({timed.threads for timed in self.cases})

    def put(self, timed: Timed) -> None:
        """Add a case, replacing its earlier result."""
        others = [one for one in self.cases if (one.case, one.threads) != (timed.case, timed.threads)]
        order = {case: i for i, case in enumerate(work(self.device))}
        self.cases = sorted([*others, timed], key=lambda one: (one.threads, order.get(one.case, len(order))))


# ----------------------------------------------------------------------------------------------------------------- file
def load(file: Path) -> Results:
    """Return the results that `save` wrote."""
    found = json.loads(file.read_text())
    results = Results(found["device"], found["contenders"], imports=found["imports"], machine=found["machine"])
    results.cases = [_timed(entry) for entry in found["cases"]]
    results.compile_times = {_case(entry["case"]): entry["seconds"] for entry in found["compile_times"]}
    return results


def save(results: Results, file: Path) -> None:
    """Write the numbers as JSON, one line per case."""
    compile_times = [{"case": _fields(case), "seconds": times} for case, times in results.compile_times.items()]
    entries = {**vars(results), "cases": list(map(_entry, results.cases)), "compile_times": compile_times}
    lines = [f"{json.dumps(name)}: {_lines(entry)}" for name, entry in entries.items()]
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _lines(entry: Any) -> str:
    if not isinstance(entry, list) or not entry or not isinstance(entry[0], dict):
        return json.dumps(entry)
    return "[\n" + ",\n".join(f" {json.dumps(one, ensure_ascii=False)}" for one in entry) + "\n]"


def _entry(timed: Timed) -> dict[str, Any]:
    times = {name: [float(f"{1e6 * seconds:.4g}") for seconds in one[:3]] for name, one in timed.summaries.items()}
    remarks = {name: getattr(timed, name) for name in ("wrong", "notes", "failures") if getattr(timed, name)}
    rounds = max((one.rounds for one in timed.summaries.values()), default=0)
    head = {"case": _fields(timed.case), "threads": timed.threads, "moved": timed.moved, "rounds": rounds}
    return {**head, "us": times, **remarks}


def _timed(entry: dict[str, Any]) -> Timed:
    rounds = entry.pop("rounds")
    times = entry.pop("us")
    summaries = {name: Summary(*(one / 1e6 for one in us), rounds) for name, us in times.items()}
    return Timed(**{**entry, "case": _case(entry["case"])}, summaries=summaries)


def _fields(case: Case) -> list[Any]:
    return [case.family, case.verb, case.shape, case.dtype]


def _case(fields: Sequence[Any]) -> Case:
    family, verb, shape, dtype = fields
    return Case(family, verb, tuple(shape), dtype)


def write(results: Results, folder: Path) -> None:
    save(results, folder / "RESULTS.json")
    parts = [_header(results), _goals(results)]
    parts += [_times(results, threads, pipelines) for threads in results.threads for pipelines in (True, False)]
    parts += [_growth(results), _fresh(results), _remarks(results)]
    (folder / "RESULTS.md").write_text("\n\n".join(part for part in parts if part) + "\n")
    plot(results, folder / "RESULTS.png")


# ----------------------------------------------------------------------------------------------------------------- page
def table(headings: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [headings, ["---"] * len(headings), *rows])


def seconds_as_text(seconds: float) -> str:
    """Return a time as text with a suitable unit.

    >>> seconds_as_text(0.00123), seconds_as_text(12.3e-6), seconds_as_text(4.0)
    ('1.23 ms', '12.3 us', '4.00 s')
    """
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}" if seconds >= 10 * scale else f"{seconds / scale:.2f} {unit}"
    return f"{seconds * 1e6:.3g} us"


def machine(device: str) -> str:
    """Return the versions and the processor of this process."""
    versions = ", ".join(f"{name} {version}" for name in PACKAGES if (version := _version(name)))
    return f"{versions}; Python {platform.python_version()}, {device}, {_processor()}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _header(results: Results) -> str:
    rounds = max((one.rounds for timed in results.cases for one in timed.summaries.values()), default=0)
    return f"""# Results of `make bench`

{results.machine}.

A cell is the median, with the quartiles in brackets, of {rounds} rounds or of as many as the column says.

- `eager` draws from a Generator, `key` and `compiled` from a key. `log_prob` is forward and backward.
- A ratio is the best time of the peer over the best of ours: above 1, ours is faster.
- A pipeline is what users run: views of a network's output, bounds as tensors, a mask of shape `(N,)`. The column
  `contiguous` is the same call of ours on contiguous arrays with bounds as floats.
- The shape of a head, linear_categorical, is rows, hidden size and vocabulary. The column `products alone` is the
  floor: the matrix products of the verb into memory that is there. Peers compute the table of logits.
- In the ensemble `eager` is a Python loop over the policies, and the others are vmapped.
- "†" marks a wrong result, "‡" code that `torch.compile` takes in parts only, "✗" a failure; the remarks at the end
  say more. "-" is what a library does not have.
- A row is from one run. Different rows may be from different runs (`--update`) on this machine.

![ratios](RESULTS.png)"""


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


def _times(results: Results, threads: int, pipelines: bool) -> str:
    chosen = [timed for timed in results.cases if timed.threads == threads and timed.case.is_pipeline == pipelines]
    if not chosen:
        return ""
    bandwidth = _bandwidth(results, threads)
    contenders = [name for name in results.contenders if any(_cell(timed, name) != "-" for timed in chosen)]
    peers = [peer for peer in PEERS if any(name.startswith(f"{peer}/") for name in contenders)]
    headings = ["work", *(HEADINGS[name] for name in contenders), *(f"/ {peer}" for peer in peers)]
    headings += ["of the bandwidth", "rounds"]
    rows = [_row(timed, contenders, peers, bandwidth) for timed in chosen]
    title = f"{'Pipelines, ' if pipelines else ''}{threads} thread{'s' if threads > 1 else ''}"
    copied = f"A copy moves {bandwidth / 1e9:.1f} GB/s, read and written.\n\n" if bandwidth and not pipelines else ""
    return f"## {title}\n\n{copied}{table(headings, rows)}"


def _bandwidth(results: Results, threads: int) -> float | None:
    """Return the bandwidth of a copy in bytes per second."""
    for timed in results.cases:
        if (timed.case, timed.threads) == (COPY, threads) and "ours/eager" in timed.summaries:
            return timed.moved / timed.medians["ours/eager"]
    return None


def _row(timed: Timed, contenders: list[str], peers: list[str], bandwidth: float | None) -> list[str]:
    ratios = [timed.ratio(peer) for peer in peers]
    rounds = str(max((one.rounds for one in timed.summaries.values()), default=0))
    cells = [_cell(timed, name) for name in contenders]
    cells += ["" if ratio is None else f"{ratio:.2f}x" for ratio in ratios]
    return [timed.case.name, *cells, _bandwidth_used(timed, bandwidth), rounds]


def _bandwidth_used(timed: Timed, bandwidth: float | None) -> str:
    """Return the fraction of the bandwidth that the best of ours uses; "" for small cases."""
    best = timed.best(OURS)
    if not best or not bandwidth or timed.moved < LARGE:
        return ""
    return f"{timed.moved / timed.medians[best] / bandwidth:.0%}"


def _cell(timed: Timed, name: str) -> str:
    if name in timed.failures:
        return "✗"
    if name not in timed.summaries:
        return "-"
    one = timed.summaries[name]
    marks = ("†" if name in timed.wrong else "") + ("‡" if name in timed.notes else "")
    return f"{seconds_as_text(one.median)}{marks} ({seconds_as_text(one.low)} - {seconds_as_text(one.high)})"


def _growth(results: Results) -> str:
    rows = []
    for (family, verb, dtype, threads, name), points in series(results).items():
        sizes, seconds = zip(*points, strict=True)
        fit, most = slope(sizes, seconds), steepest(sizes, seconds)
        work = f"{family} {verb}" + ("" if dtype == "float32" else f" {dtype}")
        if max(fit, most) > TOO_STEEP:
            rows.append([work, str(threads), HEADINGS[name], f"{fit:.2f}", f"{most:.2f}"])
    if not rows:
        return ""
    count = len(series(results))
    text = f"""The exponent k of time ~ size^k, and the largest from one size to the next. Of our {count} series these
are above {TOO_STEEP}; `benchmarks/studies/growth.py` says why."""
    return f"## Growth\n\n{text}\n\n" + table(["work", "threads", "", "k", "largest"], rows)


def series(results: Results) -> dict[tuple[str, str, str, int, str], list[tuple[int, float]]]:
    """Return sizes and times of ours by family, verb, dtype, threads and contender, if there are several sizes."""
    series: dict[tuple[str, str, str, int, str], list[tuple[int, float]]] = {}
    for timed in results.cases:
        for name, seconds in timed.medians.items():
            if name.startswith(f"{OURS}/") and name != CONTIGUOUS:
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
        text = "Compilation and first call, nothing cached, by a compiler that has run before; one thread, medians."
        parts.append(f"## Compile time\n\n{text}\n\n" + table(["work", *(HEADINGS[name] for name in names)], rows))
    return "\n\n".join(parts)


def _remarks(results: Results) -> str:
    """Return a table of errors, notes and failures, each once with its cases."""
    cases_of: dict[tuple[str, str, str], list[str]] = {}
    for timed in results.cases:
        for mark, remarks in (("✗", timed.failures), ("†", timed.wrong), ("‡", timed.notes)):
            for name, text in remarks.items():
                cases_of.setdefault((name, mark, text), []).append(timed.case.name)
    rows = [
        [HEADINGS[name], mark, text.replace("|", "\\|"), "; ".join(dict.fromkeys(names))]
        for (name, mark, text), names in cases_of.items()
    ]
    return "## Remarks\n\n" + table(["contender", "", "what", "where"], rows) if rows else ""


# -------------------------------------------------------------------------------------------------------------- picture
def plot(results: Results, file: Path) -> None:
    """Draw the ratios with the fewest threads: a row for each family and verb, a point for each shape and dtype."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    threads = results.threads[0] if results.threads else 0
    chosen = [timed for timed in results.cases if timed.threads == threads and any(map(timed.ratio, PEERS))]
    names = list(dict.fromkeys(f"{timed.case.family} {timed.case.verb}" for timed in chosen))
    figure, axis = pyplot.subplots(figsize=(9, 1.5 + 0.17 * len(names)), layout="constrained")
    for peer, colour in zip(PEERS, ("tab:red", "tab:orange", "tab:blue"), strict=True):
        points = [(timed.ratio(peer), names.index(f"{timed.case.family} {timed.case.verb}")) for timed in chosen]
        points = [point for point in points if point[0]]
        if points:
            axis.scatter(*zip(*points, strict=True), label=f"against {peer}", color=colour, s=14)
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_xscale("log")
    axis.set_ylim(len(names), -1)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.set_xlabel("how many times as fast the best of ours is")
    axis.set_title(f"{threads} thread{'s' if threads > 1 else ''}, all shapes")
    axis.grid(alpha=0.3)
    if names:
        axis.legend(loc="upper right", fontsize=8)
    figure.savefig(file, dpi=80)
    pyplot.close(figure)
