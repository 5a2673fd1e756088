"""Plots of a family: its density, alone or over a histogram of draws. They need matplotlib, the extra `plot`."""

import inspect
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

import functional_dists.random as random
from functional_dists.family import as_params, name_of
from functional_dists.random import Source

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["density", "samples_against_density"]
__dir__ = __all__.copy  # what tab completion shows

_MOST_CURVES = 10  # as many as there are colours


def density(family: Any, params: Any, *, ax: "Axes | None" = None) -> "Axes":
    """Plot the density of every element of the parameters, or the probabilities of every row of outcomes.

    Args:
        family: A family of numbers or of discrete outcomes.
        params: Its `Params`, or a tuple or mapping of its parameters, of at most 10 elements or rows.
        ax: The matplotlib axes to draw on. Default: those of `matplotlib.pyplot.gca()`.

    Returns:
        The axes.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: there are more than 10 elements or rows.

    >>> from functional_dists import normal
    >>> axes = density(normal, normal.Params(torch.tensor([-1.0, 0.0, 1.0]), 1.0))
    >>> len(axes.get_lines())
    3
    """
    return _draw(family, as_params(family.Params, params), None, _axes(ax))


def samples_against_density(
    key: Source, family: Any, params: Any, *, num_samples: int = 10_000, ax: "Axes | None" = None
) -> "Axes":
    """Plot what `density` plots over a histogram of draws; for discrete outcomes, beside their frequencies.

    Args:
        key: A key, or a `torch.Generator`.
        family: A family of numbers or of discrete outcomes.
        params: Its `Params`, or a tuple or mapping of its parameters, of at most 10 elements or rows.
        num_samples: How many values of each element or row are drawn.
        ax: The matplotlib axes to draw on. Default: those of `matplotlib.pyplot.gca()`.

    Returns:
        The axes.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: there are more than 10 elements or rows.

    >>> from functional_dists import categorical
    >>> axes = samples_against_density(random.key(0), categorical, (torch.zeros(3),), num_samples=100)
    >>> axes.get_ylabel()
    'probability'
    """
    axes, params = _axes(ax), as_params(family.Params, params)
    return _draw(family, params, family.sample(key, *params, sample_shape=num_samples).detach().cpu(), axes)


def _axes(ax: "Axes | None") -> "Axes":
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError('functional_dists.plot needs matplotlib: pip install "functional_dists[plot]"') from error
    return pyplot.gca() if ax is None else ax


def _draw(family: Any, params: Any, draws: Tensor | None, axes: "Axes") -> "Axes":
    x, y, kind = _curves(family, params)
    count = len(x)
    if count > _MOST_CURVES:
        raise ValueError(f"params hold {count} distributions, and a plot shows {_MOST_CURVES} at most; select some")
    columns = None if draws is None else draws.reshape(len(draws), count, -1)  # (samples, curves, size of a value)
    for i, label in enumerate(_labels(params, kind, count)):
        values, colour = None if columns is None else columns[:, i], f"C{i}"
        if kind == "density":
            axes.plot(x[i].tolist(), y[i].tolist(), color=colour, label=label)
            if values is not None:
                axes.hist(values.flatten().tolist(), bins=60, density=True, color=colour, alpha=0.3)
            continue
        width = 0.8 / count if kind == "outcomes" else 0.0
        place = (x[i] + width * (i - (count - 1) / 2)).tolist()
        if kind == "outcomes":
            axes.bar(place, y[i].tolist(), width=0.9 * width, color=colour, alpha=0.7, label=label)
        else:
            axes.vlines(place, 0, y[i].tolist(), color=colour, label=label)
        if values is not None:
            is_hit = values[:, x[i].long()] if values.shape[-1] > 1 else values == x[i]
            axes.plot(place, is_hit.double().mean(0).tolist(), "o", color="0.4", markersize=4)
    axes.set(title=name_of(family), ylabel="density" if kind == "density" else "probability", ylim=(0, None))
    axes.set_xlabel("outcome" if kind == "outcomes" else "value")
    axes.margins(x=0.2 if kind == "point" else 0.05)
    axes.locator_params(axis="x", integer=kind == "outcomes")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    return axes


def _curves(family: Any, params: Any) -> tuple[Tensor, Tensor, Literal["density", "outcomes", "point"]]:
    """Return places and heights, both of shape (curves, places), and what they are."""
    if hasattr(family, "probs"):
        probs = torch.atleast_2d(family.probs(*params).detach().cpu())
        outcomes = torch.as_tensor(getattr(params, "indices", torch.arange(probs.shape[-1]))).cpu()
        return outcomes.expand(probs.shape).flatten(0, -2), probs.flatten(0, -2), "outcomes"
    support: Any = family.support(*params) if hasattr(family, "support") else None
    if hasattr(family, "mode") and getattr(support, "is_discrete", False) and hasattr(support, "upper_bound"):
        batch = family.mode(*params).shape  # of a family of outcomes that has no table of them
        outcomes = torch.arange(int(support.upper_bound) + 1)
        value = outcomes.reshape(-1, *(1 for _ in batch)).expand(-1, *batch).to(params[0].device)
        probs = torch.atleast_2d(family.log_prob(*params, value=value).exp().detach().cpu().movedim(0, -1))
        return outcomes.expand(probs.shape).flatten(0, -2), probs.flatten(0, -2), "outcomes"
    shape = torch.broadcast_shapes(*(torch.as_tensor(parameter).shape for parameter in params))
    if hasattr(family, "variance") and not family.variance(*params).any():
        points = family.mean(*params).detach().cpu().reshape(-1, 1)
        return points, torch.ones_like(points), "point"
    x = _grid(family, params, shape)
    options = {"event_dims": 0} if "event_dims" in inspect.signature(family.log_prob).parameters else {}
    y = family.log_prob(*params, value=x, **options).exp().detach()
    if y.shape != x.shape:
        raise ValueError(f"{name_of(family)}: the density must be that of single numbers")
    flat_x, flat_y = (tensor.cpu().reshape(len(x), -1).mT for tensor in (x, y))
    return flat_x, flat_y, "density"


def _grid(family: Any, params: Any, shape: torch.Size) -> Tensor:
    """Return the values at which densities are computed: from one far quantile to the other, and some outside."""
    if hasattr(family, "icdf"):
        low, high = (family.icdf(*params, value=tail).detach() for tail in (0.001, 0.999))
    else:
        low, high = family.sample(random.key(0), *params, sample_shape=1000).aminmax(dim=0)
    steps = torch.linspace(-0.05, 1.05, 1025, dtype=low.dtype, device=low.device)
    return low + (high - low) * steps.reshape(-1, *(1 for _ in shape))


def _labels(params: Any, kind: str, count: int) -> list[str]:
    """Return what tells the curves apart: the parameters that are not all equal, or the number of the row."""
    if count == 1:
        return [""]
    if kind == "outcomes":
        return [f"row {row}" for row in range(count)]
    named = {name: torch.as_tensor(value).detach().cpu().double() for name, value in params._asdict().items()}
    shape = torch.broadcast_shapes(*(value.shape for value in named.values()))
    flat = {name: value.expand(shape).flatten().tolist() for name, value in named.items() if value.unique().numel() > 1}
    return [", ".join(f"{name} {values[i]:.3g}" for name, values in flat.items()) for i in range(count)]
