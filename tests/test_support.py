"""`support` says where the log-probability is finite, and `tanh_normal.inside` moves what is clipped there."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import biject_to, constraints, transform_to
from torch.func import grad, jvp, vmap

from functional_dists import (
    bind,
    categorical,
    delta,
    llm_masked_categorical,
    masked_categorical,
    normal,
    ordinal,
    sparse_categorical,
    sparse_one_hot_categorical,
    tanh_delta,
    tanh_normal,
    truncated_normal,
)
from tests.families import BY_NAME, EVENT, FAMILIES, Row

INF, NAN = math.inf, math.nan
NAMES = [row.name for row in FAMILIES]


def parameters_of(row: Row, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    return tuple(
        table.to(dtype) if table.is_floating_point() else table for table in map(torch.tensor, row.parameters.values())
    )


def values_for(row: Row, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return values inside, at the bounds, outside and NaN, along the first axis."""
    if row.is_one_hot:
        made = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [1, 0, 1], [1, 1, -1], [0, 0.5, 0.5], [0, 0, NAN]]
        return torch.tensor(made, dtype=dtype)
    if not row.is_continuous and not row.is_point:
        return torch.tensor([-100.0, -2, -1, 0, 1, 2, 3, 4, 1e6], dtype=torch.float64).long()
    inside = torch.tensor(row.value, dtype=dtype)
    near = [inside + shift for shift in (0.0, 1e-9, 1e-2, 0.1, -9.0, 9.0, NAN)]
    parameters = dict(zip(row.parameters, parameters_of(row, dtype), strict=True))
    low, high = (parameters.get(name, torch.tensor(end)) for name, end in (("low", -2.0), ("high", 3.0)))
    steps = [torch.nextafter(bound, bound + sign) for bound in (low, high) for sign in (-1.0, 1.0)]
    if row.is_point:
        near.append(row.family.mode(*parameters.values()))
    return torch.stack([value.expand(EVENT) for value in (*near, low, high, *steps)])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", NAMES)
def test_support_is_where_the_log_prob_is_finite(name: str, dtype: torch.dtype) -> None:
    row = BY_NAME[name]
    parameters, values = parameters_of(row, dtype), values_for(row, dtype)
    for options in ({}, {"event_dims": 0}) if row.event_dims is not None else ({},):
        found = row.family.support(*parameters, **options)
        wanted = row.family.log_prob(*parameters, values, **options).isfinite()
        assert isinstance(found, constraints.Constraint)
        assert torch.equal(found.check(values), wanted)
        assert wanted.any()
        assert not wanted.all()
        assert found.is_discrete == (not row.is_continuous and not row.is_point)
        assert found.event_dim == (1 if row.is_one_hot else options.get("event_dims", row.event_dims or 0))


@pytest.mark.parametrize("name", NAMES)
def test_support_in_batches_and_inside_vmap(name: str) -> None:
    row = BY_NAME[name]
    parameters, values = parameters_of(row), values_for(row)
    wide = tuple(p.expand(2, *p.shape) for p in parameters)
    wanted = row.family.support(*parameters).check(values)
    shape = (len(values), 2, *values.shape[1:])
    batched = values.reshape(len(values), 1, *values.shape[1:]).expand(shape)
    assert torch.equal(row.family.support(*wide).check(batched), wanted[:, None].expand(-1, 2, *wanted.shape[1:]))
    lanes = vmap(lambda *p: row.family.support(*p).check(values))(*wide)
    assert torch.equal(lanes, wanted.expand(2, *wanted.shape))


def test_support_of_pytrees_is_a_pytree() -> None:
    found = normal.support({"arm": torch.zeros(2), "leg": torch.zeros(3)}, 1.0)
    assert found == {"arm": constraints.real, "leg": constraints.real}
    bounded = tanh_normal.support({"arm": torch.zeros(2)}, 1.0, {"arm": -2.0}, 3.0)["arm"].base_constraint
    assert (bounded.lower_bound, bounded.upper_bound) == (-2.0, 3.0)


def test_bounds_are_outside_of_an_open_interval_and_inside_of_a_closed_one() -> None:
    at_bounds = torch.tensor([-1.0, 1.0])
    of_tanh = tanh_normal.support(torch.zeros(2), 1.0, -1.0, 1.0, event_dims=0)
    of_cut = truncated_normal.support(torch.zeros(2), 1.0, -1.0, 1.0, event_dims=0)
    assert of_tanh.check(at_bounds).tolist() == [False, False]
    assert of_cut.check(at_bounds).tolist() == [True, True]
    unbounded = truncated_normal.support(torch.zeros(2), 1.0, -INF, INF, event_dims=0)
    assert unbounded.check(torch.tensor([[1e30, -INF], [INF, NAN]])).tolist() == [[True, False], [False, False]]
    for made in (of_tanh, of_cut):
        assert isinstance(made, constraints.interval)
        assert (made.lower_bound, made.upper_bound) == (-1.0, 1.0)
        for registry in (biject_to, transform_to):
            torch.testing.assert_close(registry(made)(torch.zeros(2)), torch.zeros(2))


def test_options_of_single_families_reach_their_support() -> None:
    assert delta.support(torch.zeros(1), atol=0.5).check(torch.tensor([[0.4], [0.6]])).tolist() == [True, False]
    point = torch.tensor([0.5])
    assert tanh_delta.support(torch.zeros(1), -2.0, 3.0, atol=0.0, rtol=0.0).check(point)
    indices = torch.tensor([[2, -1], [0, 1]])
    listed = sparse_categorical.support(torch.zeros(2, 4), indices, padding_value=-1)
    assert listed.check(torch.tensor([[2, 2], [-1, 1], [0, 0]])).tolist() == [
        [True, False],
        [False, True],
        [False, True],
    ]
    vectors = sparse_one_hot_categorical.support(torch.zeros(2, 4), indices, padding_value=-1)
    assert vectors.check(torch.eye(4)[:, None].expand(4, 2, 4)).sum(0).tolist() == [1, 2]


def test_support_of_outcomes_that_logits_rule_out() -> None:
    logits = torch.tensor([[0.0, -INF, 1.0], [-INF, -INF, -INF]])
    outcomes = torch.arange(3)[:, None].expand(3, 2)
    assert categorical.support(logits).check(outcomes).T.tolist() == [[True, False, True], [False] * 3]
    masked = masked_categorical.support(logits, torch.tensor([False, True, True]))
    assert masked.check(outcomes).T.tolist() == [[False, False, True], [False] * 3]
    assert isinstance(masked, constraints.integer_interval)
    assert (masked.lower_bound, masked.upper_bound) == (0, 2)
    scores = torch.tensor([0.0, INF, -INF])
    score = ordinal.log_prob(scores, torch.arange(3)).isfinite()
    assert torch.equal(ordinal.support(scores).check(torch.arange(3)), score)


def test_support_of_tokens() -> None:
    logits = torch.zeros(2, 3, 5)
    position, tokens = torch.tensor([True, False, True]).expand(2, 3), torch.rand(2, 3, 5) < 0.6
    values = torch.randint(-2, 7, (50, 2, 3))
    for mask in (position, tokens):
        for ignore_index in (-100, -1, 6):
            found = llm_masked_categorical.support(logits, mask, ignore_index=ignore_index)
            score = llm_masked_categorical.log_prob(logits, mask, values, ignore_index=ignore_index)
            assert torch.equal(found.check(values), score.isfinite())


# ------------------------------------------------------------------------------------------------------------- inside
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@pytest.mark.parametrize("bounds_dtype", DTYPES, ids=str)
@pytest.mark.parametrize("value_dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (-0.1, 0.7), (-1000.0, 0.3), (0.0, 1.0)], ids=str)
def test_what_is_at_a_bound_is_moved_inside_and_nothing_else(
    bounds: tuple[float, float], value_dtype: torch.dtype, bounds_dtype: torch.dtype
) -> None:
    low, high = (torch.tensor(bound, dtype=bounds_dtype) for bound in bounds)
    middle, out = sum(bounds) / 2, bounds[1] + (bounds[1] - bounds[0])
    value = torch.tensor([*bounds, middle, out, -out - 2000, NAN, INF, -INF], dtype=value_dtype)
    found = tanh_normal.inside(value, low, high)
    assert found.dtype == bounds_dtype
    assert ((found > low) & (found < high))[:3].all()
    assert torch.equal(found[2:].nan_to_num(7.0), value[2:].to(bounds_dtype).nan_to_num(7.0))
    score = tanh_normal.log_prob(torch.zeros(8), 1.0, low, high, found, event_dims=0)
    assert score[:3].isfinite().all()
    assert (score[[3, 4, 6, 7]] == -INF).all()
    assert torch.equal(tanh_normal.inside(found, low, high).nan_to_num(7.0), found.nan_to_num(7.0))
    if value_dtype == bounds_dtype and value_dtype in (torch.float32, torch.float64):
        assert torch.equal(found[:2], torch.stack([torch.nextafter(low, high), torch.nextafter(high, low)]))


def test_inside_of_bounds_with_hardly_a_number_between() -> None:
    low, high = torch.tensor(1.0), torch.tensor(1.0 + 2.0**-22)
    found = tanh_normal.inside(torch.tensor([1.0], dtype=torch.bfloat16), low, high)
    assert low < found < high


def test_inside_lets_derivatives_pass_in_every_transform() -> None:
    value = torch.tensor([0.5, 1.0, -1.0, 1.5])

    def total(x: Tensor) -> Tensor:
        return (tanh_normal.inside(x, -1.0, 1.0) * torch.arange(4.0)).sum()

    wanted = torch.arange(4.0)
    leaf = value.clone().requires_grad_()
    total(leaf).backward()
    assert torch.equal(leaf.grad, wanted)
    assert torch.equal(grad(total)(value), wanted)
    assert torch.equal(jvp(total, (value,), (torch.ones(4),))[1], wanted.sum())
    eager = tanh_normal.inside(value, -1.0, 1.0)
    assert torch.equal(vmap(lambda x: tanh_normal.inside(x, -1.0, 1.0))(value), eager)
    bound = bind(tanh_normal, low=-1.0, high=1.0)
    assert torch.equal(bound.inside({"arm": value})["arm"], eager)
    low, high = torch.tensor([-1.0, -1.0, -1.0, -2.0]), torch.ones(4)
    assert torch.equal(tanh_normal.inside(value, low, high), eager)
    assert torch.equal(tanh_normal.inside(value, low, high.requires_grad_()), eager)
    half = value.bfloat16()
    compiled: Any = torch.compile(lambda x, y: (tanh_normal.inside(x, -1.0, 1.0), tanh_normal.inside(y, -1.0, 1.0)))
    assert all(map(torch.equal, compiled(value, half), (eager, tanh_normal.inside(half, -1.0, 1.0))))
