"""The plots of families: what they draw, read back from the axes."""

import builtins
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from functional_dists import bind, categorical, independent, normal, plot, random, tanh_normal, truncated_normal
from functional_dists.family import sum_event
from tests.families import BY_NAME, FAMILIES, SHARED, Row

pytest.importorskip("matplotlib")
import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

ROWS = [*FAMILIES, *(BY_NAME[name] for name in SHARED)]


@pytest.fixture
def ax() -> Iterator[Axes]:
    figure, axes = pyplot.subplots()
    yield axes
    pyplot.close(figure)


def params_of(row: Row) -> Any:
    return row.family.Params(**{name: torch.tensor(numbers) for name, numbers in row.parameters.items()})


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_every_family_is_drawn(row: Row, ax: Axes) -> None:
    assert plot.density(row.family, params_of(row), ax=ax) is ax
    if row.is_continuous:
        assert len(ax.get_lines()) == 3
        for line in ax.get_lines():
            x, y = torch.as_tensor(line.get_xdata()), torch.as_tensor(line.get_ydata())
            assert torch.trapezoid(y, x).item() == pytest.approx(1.0, abs=0.03)
    elif row.is_point:
        assert len(ax.collections) == 3
    else:
        assert sum(bar.get_height() for bar in ax.patches) == pytest.approx(1.0)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_draws_fit_what_is_drawn(row: Row, ax: Axes) -> None:
    plot.samples_against_density(random.key(3), row.family, params_of(row), num_samples=2000, ax=ax)
    if row.is_continuous:
        assert sum(bar.get_height() * bar.get_width() for bar in ax.patches) == pytest.approx(3.0, abs=1e-3)
    else:
        heights = [bar.get_height() for bar in ax.patches] or [1.0]
        for line in ax.get_lines():
            torch.testing.assert_close(
                torch.as_tensor(line.get_ydata()), torch.tensor(heights).double(), atol=0.05, rtol=0
            )


def test_the_legend_names_what_differs(ax: Axes) -> None:
    params = tanh_normal.Params(torch.tensor([0.0, 1.0]), 0.5)
    plot.density(tanh_normal, params, ax=ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["loc 0", "loc 1"]


def test_rows_of_outcomes_and_bound_families(ax: Axes) -> None:
    plot.density(independent(categorical), (torch.zeros(2, 4),), ax=ax)
    assert [bar.get_height() for bar in ax.patches] == [0.25] * 8
    ax.clear()
    plot.density(bind(normal, scale=2.0), {"loc": torch.zeros(())}, ax=ax)
    assert max(ax.get_lines()[0].get_ydata()) == pytest.approx(0.1995, abs=1e-4)
    assert ax.get_legend() is None


def test_a_family_of_ones_own_without_quantiles(ax: Axes) -> None:
    class Own:
        Params = normal.Params
        sample, log_prob = staticmethod(normal.sample), staticmethod(normal.log_prob)

    plot.density(Own(), normal.Params(torch.zeros(2), 1.0), ax=ax)
    assert len(ax.get_lines()) == 2


def test_without_axes_it_draws_on_the_current_ones(ax: Axes) -> None:
    assert plot.density(truncated_normal, (torch.zeros(()), 1.0, -1.0, 1.0)) is ax


def test_errors_name_the_cure(ax: Axes, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="params hold 11 distributions"):
        plot.density(normal, (torch.zeros(11), 1.0), ax=ax)

    class OfVectors:
        Params = normal.Params
        sample = staticmethod(normal.sample)

        @staticmethod
        def log_prob(*params: Any, value: Any) -> Any:
            return sum_event(normal.log_prob(*params, value=value), 1)

    with pytest.raises(ValueError, match="single numbers"):
        plot.density(OfVectors(), (torch.zeros(2), 1.0), ax=ax)

    original = builtins.__import__

    def without_matplotlib(name: str, *rest: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    with pytest.raises(ImportError, match=r'pip install "functional_dists\[plot\]"'):
        plot.density(normal, (torch.zeros(2), 1.0))
