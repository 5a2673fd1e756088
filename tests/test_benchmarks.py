"""The benchmark harness: its statistics, its checks, and one tiny run."""

import contextlib
import importlib
import math
import re
import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import cases, compare, goals, reference, report
from benchmarks.cases import Case
from benchmarks.contenders import CONTENDERS, CONTIGUOUS, ours, pipelines
from benchmarks.measures import slope, steepest, summary
from benchmarks.studies import growth, on_gpu
from benchmarks.worker import Failure, Worker
from functional_dists import parameters

FOLDER = Path(report.__file__).parent
ENTROPY = Case("independent_normal", "entropy", (256, 6))
SAMPLE = Case("independent_normal", "sample", (16_384, 6))
PAIR = Case("tanh_normal", "sample_and_log_prob", (256, 6))
PIPELINE = Case("pipeline tanh_normal", "log_prob", (1, 6))


# ----------------------------------------------------------------------------------------------------------- statistics
def test_summary_is_the_median_and_the_quartiles() -> None:
    seconds = list(np.random.default_rng(0).exponential(size=50))
    assert summary(seconds) == pytest.approx((*np.quantile(seconds, (0.5, 0.25, 0.75)), 50))
    assert summary([2.0]) == (2.0, 2.0, 2.0, 1)


def test_slope_is_the_exponent() -> None:
    sizes = [10, 300, 7000]
    assert slope(sizes, [3e-6 * size**1.3 for size in sizes]) == pytest.approx(1.3)
    assert steepest(sizes, [1.0, 1.0, 7000 / 300]) == pytest.approx(1.0)


@pytest.mark.parametrize(("seconds", "text"), [(4e-7, "0.4 us"), (0.0123, "12.3 ms"), (75.0, "75 s")])
def test_seconds_have_a_unit_that_suits_them(seconds: float, text: str) -> None:
    assert report.seconds_as_text(seconds) == text


def test_steps_that_are_too_steep_are_found() -> None:
    results = report.Results("cpu", ["ours/key"])
    for size, seconds in ((256, 1.0), (16_384, 64.0), (262_144, 64.0 * 16**1.2)):
        timed = report.Timed(Case("normal", "sample", (size, 6)), 1)
        timed.summaries["ours/key"] = summary([seconds])
        results.put(timed)
    assert growth.steep_steps(results, 1) == [
        ("ours/key", Case("normal", "sample", (16_384, 6)), Case("normal", "sample", (262_144, 6)))
    ]
    assert growth.steep_steps(results, 2) == []


def test_work_in_parts_is_that_of_the_whole() -> None:
    case = Case("masked_categorical", "entropy", (8, 5))
    whole = growth.prepared("ours/eager", case, cases.inputs(case))()
    parts = growth.in_parts("ours/eager", case, 2)()
    assert len(parts) == 4
    assert torch.equal(torch.cat(parts), whole)


# ---------------------------------------------------------------------------------------------------------------- cases
def test_the_goals_are_of_cases_that_are_timed_by_contenders_that_are_there() -> None:
    assert {goal.case for goal in goals.GOALS} <= set(cases.work("cpu"))
    for goal in goals.GOALS:
        named = (*goal.ours, *goal.peers) if isinstance(goal, goals.Goal) else (goal.slower, goal.faster)
        assert set(named) <= set(CONTENDERS)


def test_cases_have_names_of_their_own() -> None:
    names = [case.name for case in cases.work("cuda")]
    assert len(set(names)) == len(names)
    assert set(cases.few(cases.work("cpu"))) < set(cases.work("cpu")) < set(cases.work("cuda"))


def test_inputs_are_the_same_every_time() -> None:
    case = Case("masked_categorical", "kl", (8, 5), "bfloat16")
    first, second = cases.inputs(case), cases.inputs(case)
    assert first.keys() == second.keys() == {"logits", "q_logits", "mask", "value"}
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert not (first["logits"].view(np.uint32) & 0xFFFF).any()  # bfloat16 has the upper half of the bits
    assert np.take_along_axis(first["mask"], first["value"][:, None], -1).all()


# --------------------------------------------------------------------------------------------------------------- checks
def test_wrong_numbers_are_found() -> None:
    arrays = cases.inputs(ENTROPY)
    right = (0.5 * math.log(2 * math.pi * math.e) + np.log(arrays["scale"])).sum(-1)
    assert reference.verdict(ENTROPY, arrays, (right,)) == ""
    assert reference.verdict(ENTROPY, arrays, (right * 1.01,)).startswith("entropy off by")
    assert reference.verdict(ENTROPY, arrays, (right[:, None],)) == "entropy of shape (256, 1)"


def test_wrong_draws_are_found() -> None:
    arrays = cases.inputs(SAMPLE)
    noise = np.random.default_rng(1).standard_normal(SAMPLE.shape)
    assert reference.verdict(SAMPLE, arrays, (arrays["loc"] + arrays["scale"] * noise,)) == ""
    assert "sigma" in reference.verdict(SAMPLE, arrays, (arrays["loc"] + 1.05 * arrays["scale"] * noise,))


def test_draws_that_are_masked_are_found() -> None:
    case = Case("masked_categorical", "sample", (16, 5))
    arrays = cases.inputs(case)
    masked = arrays["mask"].argmin(-1)
    assert reference.verdict(case, arrays, (masked,)) == "samples that are masked"


def test_a_goal_is_met_or_not() -> None:
    goal = goals.Goal(PAIR, ("ours/eager",), ("torchrl/eager", "torchrl/compiled"), 3)
    times = {"ours/eager": 1.0, "torchrl/eager": 9.0, "torchrl/compiled": 2.0}
    assert goal.outcome(times) == ("2.00x", False)
    assert goal.outcome({**times, "torchrl/compiled": 4.0}) == ("4.00x", True)
    assert goal.outcome({"ours/eager": 1.0}) is None
    excess = goals.Excess(PAIR, "ours/key", "ours/eager", 150e-6)
    assert excess.outcome({"ours/key": 200e-6, "ours/eager": 100e-6}) == ("100 us", True)


# --------------------------------------------------------------------------------------------------------------- report
def test_the_report_compares_with_the_best_of_a_peer_and_tells_what_is_wrong(tmp_path: Path) -> None:
    timed = report.Timed(PAIR, 1, 10, wrong={"torchrl/compiled": "log-prob off by 1"}, notes={"ours/eager": "in parts"})
    timed.failures["jax/jit"] = "ImportError: no jax"
    for name, seconds in (
        ("ours/eager", 1e-3),
        (CONTIGUOUS, 5e-4),
        ("torchrl/eager", 5e-3),
        ("torchrl/compiled", 2e-3),
    ):
        timed.summaries[name] = summary([seconds] * 3)
    assert timed.ratio("torchrl") == 2
    assert timed.ratio("jax") is None
    results = report.Results("cpu", list(CONTENDERS), [timed], {"torch": 2.0}, {PAIR: {"jax/jit": 1.0}}, "a machine")
    report.write(results, tmp_path)
    assert report.load(tmp_path / "RESULTS.json") == results
    text = (tmp_path / "RESULTS.md").read_text()
    for part in (
        "a machine",
        "2.00 ms†",
        "log-prob off by 1",
        "1.00 ms‡",
        "ImportError: no jax",
        "**not met**",
        "2.00x",
    ):
        assert part in text
    assert (tmp_path / "RESULTS.png").stat().st_size > 1000


def test_the_results_are_a_line_for_each_case_and_a_small_picture() -> None:
    results = report.load(FOLDER / "RESULTS.json")
    cases_of = [(timed.case, timed.threads) for timed in results.cases]
    assert len(set(cases_of)) == len(cases_of)
    assert len((FOLDER / "RESULTS.json").read_text().splitlines()) < len(cases_of) + 20
    assert (FOLDER / "RESULTS.png").stat().st_size < 150_000


# -------------------------------------------------------------------------------------------------------------- studies
def test_the_study_of_gpus_runs_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        assert on_gpu.main(["--device", "cpu", "--tiny", "--no-compile"]) == 0
    text = capsys.readouterr().out
    assert "## Verbs that fail or make the host wait: 0 of" in text
    draws = re.search(r"(\d+) of (\d+) equal to the bit", text)
    assert draws is not None
    assert draws[1] == draws[2]
    for case in on_gpu.timed_cases(tiny=True):
        assert f"| {case.name} |" in text


def test_differences_in_the_last_place_are_counted() -> None:
    ones = torch.ones(3)
    assert on_gpu.ulps(ones, ones) == 0
    assert on_gpu.ulps(torch.nextafter(ones, 2 * ones), ones) == 1
    assert on_gpu.ulps(torch.full((3,), torch.nan), ones) == torch.inf


@pytest.mark.parametrize("file", sorted((FOLDER / "studies").glob("[a-z]*.py")), ids=lambda file: file.stem)
def test_a_study_says_when_it_was_run_and_what_it_found(file: Path) -> None:
    lines = runpy.run_path(str(file), run_name="study")["__doc__"].splitlines()
    assert re.match(r"20\d\d-\d\d-\d\d.* Found: ", lines[2])


# -------------------------------------------------------------------------------------------------------------- process
def test_a_library_that_is_not_there_is_told() -> None:
    worker = Worker("nothing", 1, "cpu")
    with pytest.raises(Failure, match="ModuleNotFoundError"):
        worker.ask("prepare", "eager", ENTROPY)
    worker.stop()


def test_a_process_that_died_is_told_and_started_again() -> None:
    worker = Worker("ours", 1, "cpu")
    worker.process.kill()
    with pytest.raises(Failure, match="died"):
        worker.ask("prepare", "eager", ENTROPY)
    with pytest.raises(Failure, match="lost with its process"):
        worker.ask("time", "eager", 1)
    assert worker.ask("prepare", "eager", ENTROPY).wrong == ""
    assert worker.ask("time", "eager", 1) > 0
    worker.stop()


def test_one_run(tmp_path: Path) -> None:
    only = ["--only", ENTROPY.name, "--contenders", "ours/eager"]
    compare.main(["--quick", "--rounds", "3", *only, "--output", str(tmp_path)])
    text = (tmp_path / "RESULTS.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith(f"| {ENTROPY.name}"))
    assert row.endswith("| 3 |")
    assert "us" in row
    assert "## Remarks" not in text


def test_a_pipeline_is_timed_beside_contiguous_arrays(tmp_path: Path) -> None:
    run = ["--quick", "--rounds", "2", "--only", PIPELINE.name, "--contenders", "ours/*", "--output", str(tmp_path)]
    compare.main(run)
    (timed,) = report.load(tmp_path / "RESULTS.json").cases
    assert set(timed.summaries) == {"ours/eager", CONTIGUOUS}
    assert not timed.wrong
    assert not timed.failures
    text = (tmp_path / "RESULTS.md").read_text()
    assert "## Pipelines, 1 thread" in text
    assert f"ours/eager at most 1.3x the time of {CONTIGUOUS}" in text


@pytest.mark.parametrize("case", [case for case in cases.PIPELINES if case.shape[0] == 1], ids=lambda case: case.name)
def test_pipelines_give_what_the_formulas_give(case: Case) -> None:
    arrays = cases.inputs(case)
    makers = [(ours, "eager"), (ours, "contiguous")]
    with contextlib.suppress(ImportError):
        makers.append((importlib.import_module("benchmarks.contenders.torchrl"), "eager"))
    for library, form in makers:
        prepared = library.prepare(form, case, arrays, "cpu")
        for _ in range(2):  # a call leaves nothing behind that the next one needs
            assert reference.verdict(case, arrays, ours.to_numpy(prepared.call())) == ""


def test_inputs_of_a_pipeline_are_views_and_those_beside_them_are_not() -> None:
    case = Case("pipeline tanh_normal", "log_prob", (256, 6))
    data = {name: torch.from_numpy(array) for name, array in cases.inputs(case).items()}
    views = pipelines.inputs(case, data, parameters.normal_params)
    arrays = pipelines.inputs(case, data, parameters.normal_params, contiguous=True)
    assert not views.leaves[0].is_contiguous()
    assert [bound.shape for bound in views.rest] == [(6,), (6,)]
    assert all(leaf.is_contiguous() for leaf in arrays.leaves)
    assert arrays.rest == [cases.LOW, cases.HIGH]
    for view, array, name in zip(views.leaves, arrays.leaves, ("loc", "scale"), strict=True):
        assert torch.equal(view, array)
        torch.testing.assert_close(view, data[name], check_dtype=True)


def test_what_is_missing_is_measured_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["--quick", "--rounds", "2", "--contenders", "ours/eager", "--output", str(tmp_path)]
    compare.main([*run, "--only", ENTROPY.name])
    first = report.load(tmp_path / "RESULTS.json").cases
    compare.main([*run, "--update", "--missing", "--only", ENTROPY.name, SAMPLE.name])
    both = report.load(tmp_path / "RESULTS.json").cases
    assert {one.case for one in both} == {ENTROPY, SAMPLE}
    assert first[0] in both
    with pytest.raises(SystemExit):
        compare.main([*run, "--missing"])
    assert "--missing needs --update" in capsys.readouterr().err


def test_a_later_run_takes_the_place_of_the_same_cases() -> None:
    results = report.Results("cpu", list(CONTENDERS), [report.Timed(PAIR, 1), report.Timed(ENTROPY, 2)])
    newer = report.Timed(PAIR, 1, failures={"jax/jit": "gone"})
    results.put(newer)
    results.put(report.Timed(ENTROPY, 1))
    assert [(one.case, one.threads) for one in results.cases] == [(ENTROPY, 1), (PAIR, 1), (ENTROPY, 2)]
    assert results.cases[1] is newer
