"""Kernels of tanh-normal distributions."""

from typing import Any

from functional_dists.kernels import normal
from functional_dists.random import Source


def sample(key: Source, loc: Any, scale: Any, low: Any, high: Any, *, sample_shape: tuple[int, ...] = ()) -> Any:
    """Do what `tanh_normal.sample` does."""
    return normal.draw(key, (loc, scale, low, high), sample_shape, is_pathwise=False)


def rsample(key: Source, loc: Any, scale: Any, low: Any, high: Any, *, sample_shape: tuple[int, ...] = ()) -> Any:
    """Do what `tanh_normal.rsample` does."""
    return normal.draw(key, (loc, scale, low, high), sample_shape, is_pathwise=True)


def sample_and_log_prob(
    key: Source,
    loc: Any,
    scale: Any,
    low: Any,
    high: Any,
    *,
    sample_shape: tuple[int, ...] = (),
    event_dims: int | None = None,
    default_event_dims: int = 1,
) -> Any:
    """Do what `tanh_normal.sample_and_log_prob` does."""
    return normal.draw_and_score(
        key, (loc, scale, low, high), sample_shape, event_dims, default_event_dims, is_pathwise=False
    )


def rsample_and_log_prob(
    key: Source,
    loc: Any,
    scale: Any,
    low: Any,
    high: Any,
    *,
    sample_shape: tuple[int, ...] = (),
    event_dims: int | None = None,
    default_event_dims: int = 1,
) -> Any:
    """Do what `tanh_normal.rsample_and_log_prob` does."""
    return normal.draw_and_score(
        key, (loc, scale, low, high), sample_shape, event_dims, default_event_dims, is_pathwise=True
    )


def log_prob(
    loc: Any, scale: Any, low: Any, high: Any, value: Any, *, event_dims: int | None = None, default_event_dims: int = 1
) -> Any:
    """Do what `tanh_normal.log_prob` does."""
    return normal.score((loc, scale, low, high), value, event_dims, default_event_dims)
