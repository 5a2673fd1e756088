"""Families of action spaces: every draw is an action, probabilities add up to 1, masks hold, and transforms work."""

import itertools
import math
import pickle
import string
from typing import NamedTuple

import gymnasium
import gymnasium.spaces as gym
import numpy as np
import optree
import pytest
import torch
import torchrl.data as rl
from gymnasium.vector.utils import batch_space
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict
from torch import nn

from functional_dists import composite, normal, policy, random, spaces, tanh_delta, tanh_normal, truncated_normal
from functional_dists.family import Real
from functional_dists.spaces import from_space

KEY = random.key(7)
MAX_LENGTH = 3


def bounds(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=np.float32)


def leaf(rng: np.random.Generator) -> gym.Space:
    """Return a random space without parts."""
    shape = tuple(rng.integers(1, 3, size=rng.integers(0, 3)).tolist())
    nvec = rng.integers(1, 5, size=shape or (2,))
    low = rng.normal(size=shape).astype(np.float32)
    makers = [
        lambda: gym.Discrete(int(rng.integers(1, 5)), start=int(rng.integers(-3, 4))),
        lambda: gym.MultiDiscrete(nvec, start=rng.integers(-2, 3, size=nvec.shape)),
        lambda: gym.MultiBinary(shape or 3),
        lambda: gym.Box(low, low + 1.5),
        lambda: gym.Box(low, np.inf),
        lambda: gym.Box(-np.inf, np.inf, shape),
        lambda: gym.Box(np.where(low > 0, low, -np.inf), np.where(low < 0.5, low + 1, np.inf)),
        lambda: gym.Box(-2, 3, shape, dtype=np.int16),
        lambda: gym.Text(int(rng.integers(1, 5)), min_length=int(rng.integers(0, 2)), charset="abc"),
    ]
    return makers[rng.integers(len(makers))]()


def nested(rng: np.random.Generator, depth: int) -> gym.Space:
    """Return a random space with parts."""
    if depth == 0:
        return leaf(rng)
    parts = [nested(rng, depth - 1) for _ in range(rng.integers(1, 4))]
    makers = [
        lambda: gym.Tuple(parts),
        lambda: gym.Dict(dict(zip("cab", parts, strict=False))),
        lambda: gym.OneOf(parts),
        lambda: gym.Sequence(parts[0]),
        lambda: leaf(rng),
    ]
    return makers[rng.integers(len(makers))]()


NESTED = [nested(np.random.default_rng(seed), 2) for seed in range(24)]
LEAVES = [leaf(np.random.default_rng(seed)) for seed in range(16)]
STACKED = gym.Sequence(gym.Dict(a=gym.Discrete(2), b=gym.Box(-1, 1)), stack=True)

CONSTANTS = [
    gym.Box(np.array([-1.0, 2.0, 0.0], np.float32), np.array([1.0, 2.0, 5.0], np.float32)),
    gym.Box(np.array([-np.inf, 2.5, 0.0], np.float32), np.array([1.0, 2.5, np.inf], np.float32)),
    gym.Box(3.0, 3.0, (2, 2)),
    gym.Dict(a=gym.Box(0.5, 0.5, ()), b=gym.Discrete(2)),
    gym.Sequence(gym.OneOf([gym.Box(np.float32([0, 2]), np.float32([1, 2])), gym.Discrete(2)])),
]


def leaves(tree) -> list[torch.Tensor]:
    return optree.tree_leaves(tree, namespace="torch")


def at(tree, index: int):
    return optree.tree_map(lambda part: part[index], tree, namespace="torch")


def stacked(trees):
    return optree.tree_map(lambda *parts: torch.stack(parts), *trees, namespace="torch")


def assert_equal(one, other, close: bool = False) -> None:
    assert optree.tree_structure(one, namespace="torch") == optree.tree_structure(other, namespace="torch")
    for a, b in zip(leaves(one), leaves(other), strict=True):
        torch.testing.assert_close(a, b, **({"atol": 1e-4, "rtol": 1e-4} if close else {"atol": 0, "rtol": 0}))


def raw_for(space: spaces.ActionSpace, *batch: int, seed: int = 0) -> torch.Tensor:
    return random.normal(random.key(seed), (*batch, space.size))


# ---------------------------------------------------------------------------------------------- draws are actions
@pytest.mark.parametrize("space", [*LEAVES, *NESTED, STACKED, *CONSTANTS], ids=lambda space: str(space)[:60])
def test_draws_are_actions_with_scores(space: gym.Space) -> None:
    own = from_space(space, max_length=MAX_LENGTH)
    raw = raw_for(own, 6)
    value = own.sample(KEY, raw)
    actions = own.to_env(value)
    assert actions in batch_space(space, 6)
    assert_equal(own.from_env(actions, batch_dims=1), value)
    single = own.sample(KEY, raw[0])
    assert own.to_env(single) in space
    assert_equal(own.from_env(own.to_env(single)), single)
    for point in (own.mode(raw[0]), own.deterministic(raw[0])):
        assert own.to_env(point) in space

    log_prob = own.log_prob(raw, value)
    assert log_prob.shape == (6,)
    assert log_prob.isfinite().all()
    again, drawn_log_prob = own.sample_and_log_prob(KEY, raw)
    assert_equal(again, value)
    torch.testing.assert_close(drawn_log_prob, log_prob, atol=1e-2, rtol=1e-3)
    several = own.sample(KEY, raw, sample_shape=(2, 3))
    assert own.log_prob(raw, several).shape == (2, 3, 6)
    first = optree.tree_map(lambda part: part[1, 2], several, namespace="torch")
    torch.testing.assert_close(own.log_prob(raw, several)[1, 2], own.log_prob(raw, first))


def test_numbers_with_equal_bounds_are_constants() -> None:
    space, free = CONSTANTS[0], gym.Box(np.array([-1, 0], np.float32), np.array([1, 5], np.float32))
    own, without = from_space(space), from_space(free)
    raw = raw_for(own, 6).requires_grad_()
    value = own.sample(KEY, raw)
    assert (value[:, 1] == 2).all()
    assert (own.mode(raw)[:, 1] == 2).all()
    rest = raw.index_select(-1, torch.tensor([0, 2, 3, 5]))
    torch.testing.assert_close(own.log_prob(raw, value), without.log_prob(rest, value[:, [0, 2]]))
    torch.testing.assert_close(own.entropy(raw), without.entropy(rest))
    slope = torch.autograd.grad((own.log_prob(raw, value) + own.entropy(raw)).sum(), raw)[0]
    assert slope.isfinite().all()
    assert (slope[:, [1, 4]] == 0).all()
    compiled = torch.compile(own.log_prob, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(raw, value), own.log_prob(raw, value), atol=1e-4, rtol=1e-4)
    keys = random.split(KEY, 6)
    lanes = torch.vmap(own.sample)(keys, raw.detach())
    assert torch.equal(lanes[2], own.sample(keys[2], raw[2].detach()))
    whole = from_space(CONSTANTS[2])
    assert torch.equal(whole.log_prob(raw_for(whole, 3), whole.sample(KEY, raw_for(whole, 3))), torch.zeros(3))
    spec = from_space(rl.Bounded(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0])))
    assert (spec.sample(KEY, raw_for(spec, 3))[:, 1] == 1).all()


@pytest.mark.parametrize("space", [*NESTED[:8], STACKED, *CONSTANTS], ids=lambda space: str(space)[:60])
def test_entropy_is_the_mean_of_minus_log_prob(space: gym.Space) -> None:
    own = from_space(space, max_length=MAX_LENGTH)
    raw = raw_for(own, 2)
    entropy = own.entropy(raw)
    assert entropy.shape == (2,)
    scores = -own.log_prob(raw, own.sample(KEY, raw, sample_shape=4000))
    error = scores.std(0) / math.sqrt(4000)
    assert ((scores.mean(0) - entropy).abs() <= 5 * error + 1e-5).all()


def test_what_gymnasium_draws_is_scored() -> None:
    space = gym.Dict(
        a=gym.Discrete(3, start=4),
        b=gym.Tuple([gym.Box(-1, 1, (2,)), gym.Text(3), gym.OneOf([gym.MultiBinary(2), gym.Box(0, np.inf)])]),
        seed=3,
    )
    own = from_space(space)
    raw = raw_for(own)
    for _ in range(20):
        action = space.sample()
        value = own.from_env(action)
        assert own.log_prob(raw, value).isfinite()
        assert own.to_env(value) in space


# ------------------------------------------------------------------------------------------------- finite spaces
def actions_of(space: gym.Space) -> list:
    """Return all actions of a finite space."""
    match space:
        case gym.Discrete():
            return [np.int64(space.start + k) for k in range(space.n)]
        case gym.MultiDiscrete():
            ranges = [range(s, s + n) for s, n in zip(space.start.flat, space.nvec.flat, strict=True)]
            return [np.reshape(numbers, space.shape) for numbers in itertools.product(*ranges)]
        case gym.MultiBinary():
            bits = itertools.product((0, 1), repeat=math.prod(space.shape))
            return [np.reshape(numbers, space.shape).astype(np.int8) for numbers in bits]
        case gym.Box():
            ranges = [range(int(a), int(b) + 1) for a, b in zip(space.low.flat, space.high.flat, strict=True)]
            return [np.reshape(numbers, space.shape).astype(space.dtype) for numbers in itertools.product(*ranges)]
        case gym.Tuple():
            return [*itertools.product(*map(actions_of, space.spaces))]
        case gym.Dict():
            names, parts = space.spaces.keys(), map(actions_of, space.spaces.values())
            return [dict(zip(names, own, strict=True)) for own in itertools.product(*parts)]
        case gym.OneOf():
            return [(np.int64(i), own) for i, part in enumerate(space.spaces) for own in actions_of(part)]
        case gym.Sequence():
            parts = actions_of(space.feature_space)
            return [own for length in range(3) for own in itertools.product(parts, repeat=length)]
        case gym.Text():
            lengths = range(space.min_length, space.max_length + 1)
            return ["".join(own) for n in lengths for own in itertools.product(space.character_list, repeat=n)]
    raise TypeError(space)


FINITE = {
    "Discrete": gym.Discrete(4, start=-2),
    "MultiDiscrete": gym.MultiDiscrete([2, 3, 1], start=[5, -1, 0]),
    "MultiDiscrete of two axes": gym.MultiDiscrete([[2, 3], [1, 2]], start=[[0, 1], [2, 3]]),
    "MultiDiscrete of equal ranges": gym.MultiDiscrete([[3, 3]]),
    "MultiBinary": gym.MultiBinary([2, 2]),
    "Box of integers": gym.Box(np.array([-1, 4]), np.array([1, 5]), dtype=np.int8),
    "Box of a bool": gym.Box(0, 1, (2,), dtype=np.bool_),
    "Tuple": gym.Tuple([gym.Discrete(3), gym.MultiBinary(2)]),
    "Dict": gym.Dict(b=gym.Discrete(2), a=gym.MultiDiscrete([2, 2])),
    "equal shapes": gym.Tuple([gym.MultiDiscrete([2, 2]), gym.MultiBinary(2)]),
    "OneOf": gym.OneOf([gym.Discrete(3), gym.MultiBinary(2), gym.Discrete(1)]),
    "Sequence": gym.Sequence(gym.Discrete(3)),
    "Text": gym.Text(2, min_length=1, charset="xyz"),
    "Text with the empty one": gym.Text(2, min_length=0, charset="zyx"),
    "nested": gym.Dict(a=gym.Tuple([gym.Discrete(2)]), b=gym.OneOf([gym.Text(2, charset="xy"), gym.MultiBinary(1)])),
    "Sequence of OneOf": gym.Sequence(gym.OneOf([gym.Discrete(2), gym.Tuple([gym.Discrete(2), gym.Discrete(2)])])),
    "OneOf of Sequence": gym.OneOf([gym.Sequence(gym.Sequence(gym.Discrete(2))), gym.OneOf([gym.Discrete(2)])]),
}


@pytest.mark.parametrize("name", FINITE)
def test_probabilities_add_up_to_1(name: str) -> None:
    space = FINITE[name]
    own = from_space(space, max_length=2)
    raw = raw_for(own).double()
    actions = actions_of(space)
    assert all(action in space for action in actions)
    values = stacked(map(own.from_env, actions))
    log_prob = own.log_prob(raw, values)
    assert log_prob.shape == (len(actions),)
    torch.testing.assert_close(log_prob.exp().sum(), torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(own.entropy(raw), -(log_prob.exp() * log_prob).sum())

    # Draws have these frequencies.
    drawn = own.sample(KEY, raw, sample_shape=3000)
    scores = own.log_prob(raw, drawn)
    for probability in log_prob.exp().unique():
        expected = log_prob.exp()[(log_prob.exp() - probability).abs() < 1e-9].sum().item()
        found = ((scores.exp() - probability).abs() < 1e-6).double().mean().item()
        assert abs(found - expected) <= 5 * math.sqrt(expected * (1 - expected) / 3000) + 1e-9


def test_numbers_outside_a_space_have_probability_0() -> None:
    own = from_space(gym.MultiDiscrete([2, 3], start=[1, 0]))
    outside = torch.tensor([[0, 0], [3, 0], [1, 3], [1, -1]])
    assert (own.log_prob(torch.zeros(5), outside) == -torch.inf).all()


def test_absent_parts_count_for_nothing() -> None:
    own = from_space(gym.OneOf([gym.Discrete(2), gym.Box(1, 2, (2,)), gym.Sequence(gym.Box(1, 2, (1,)))]), max_length=2)
    raw = raw_for(own)
    value = own.from_env((0, 1))
    other = {**value, "parts": (value["parts"][0], torch.full((2,), 1.5), {"length": 2, "items": torch.rand(2, 1)})}
    other = optree.tree_map(torch.as_tensor, other, namespace="torch")
    log_prob, gradient = torch.func.grad_and_value(own.log_prob)(raw, value)[::-1]
    torch.testing.assert_close(own.log_prob(raw, other), log_prob)
    assert (gradient[5:] == 0).all()
    assert (gradient[:5] != 0).all()
    torch.testing.assert_close(log_prob, raw[:3].log_softmax(-1)[0] + raw[3:5].log_softmax(-1)[1])

    own = from_space(gym.Sequence(gym.Box(1, 2, (1,))), max_length=4)
    gradient = torch.func.grad(own.log_prob)(raw_for(own), own.from_env((bounds(1.5), bounds(1.25))))
    assert (gradient[:9] != 0).all()
    assert (gradient[9:] == 0).all()


# --------------------------------------------------------------------------------------------------------- masks
INT8 = {"dtype": np.int8}
MASKED = {
    "Discrete": (gym.Discrete(4, start=2), np.array([1, 0, 1, 0], **INT8)),
    "MultiDiscrete": (gym.MultiDiscrete([2, 3]), (np.array([0, 1], **INT8), np.array([1, 0, 1], **INT8))),
    "MultiDiscrete of two axes": (
        gym.MultiDiscrete([[2, 3], [1, 2]]),
        ((np.array([0, 1], **INT8), np.array([1, 0, 1], **INT8)), (np.array([1], **INT8), np.array([0, 1], **INT8))),
    ),
    "MultiBinary": (gym.MultiBinary([2, 2]), np.array([[0, 1], [2, 2]], **INT8)),
    "Tuple": (gym.Tuple([gym.Discrete(2), gym.MultiBinary(2)]), (None, np.array([2, 0], **INT8))),
    "Dict": (
        gym.Dict(a=gym.Discrete(3), b=gym.Tuple([gym.Discrete(2), gym.Discrete(2)])),
        {"a": np.array([0, 1, 1], **INT8), "b": (np.array([0, 1], **INT8), None)},
    ),
    "OneOf": (
        gym.OneOf([gym.Discrete(3), gym.MultiBinary(2)]),
        (np.array([0, 1, 1], **INT8), np.array([1, 2], **INT8)),
    ),
    "Sequence": (gym.Sequence(gym.Discrete(3)), (np.array([1, 2]), np.array([0, 1, 1], **INT8))),
    "Sequence of one length": (gym.Sequence(gym.Discrete(2)), (np.int64(2), np.array([0, 1], **INT8))),
    "Sequence of OneOf": (
        gym.Sequence(gym.OneOf([gym.Discrete(2), gym.Discrete(2)])),
        (np.array([0, 2]), (np.array([0, 1], **INT8), None)),
    ),
    "Text": (gym.Text(2, charset="abc"), (2, np.array([1, 0, 1], **INT8))),
    "Text of any length": (gym.Text(2, charset="abc"), (None, np.array([1, 0, 1], **INT8))),
    "empty Text": (gym.Text(2, min_length=0, charset="ab"), (None, np.array([0, 0], **INT8))),
}


@pytest.mark.parametrize("name", MASKED)
def test_masks_of_gymnasium(name: str) -> None:
    space, mask = MASKED[name]
    own = from_space(space, max_length=2)
    raw = raw_for(own).double()
    values = [own.from_env(action) for action in actions_of(space)]
    log_prob = own.log_prob(raw, stacked(values), mask)
    torch.testing.assert_close(log_prob.exp().sum(), torch.ones((), dtype=torch.float64))
    finite = log_prob[log_prob.isfinite()]
    torch.testing.assert_close(own.entropy(raw, mask), -(finite.exp() * finite).sum())
    space.seed(0)
    allowed = [space.sample(mask=mask) for _ in range(200)]
    assert own.log_prob(raw, stacked(map(own.from_env, allowed))).isfinite().all()
    shown = {str(action) for action in allowed}
    found = {str(own.to_env(v)) for v, p in zip(values, log_prob, strict=True) if p.isfinite()}
    assert shown == found
    drawn = own.sample(KEY, raw, mask, sample_shape=500)
    assert own.log_prob(raw, drawn, mask).isfinite().all()
    # The flat mask says the same, also in a batch.
    flat = own.flat_mask(mask)
    assert flat.shape == (own.mask_size,)
    assert_equal(own.params(raw, flat), own.params(raw, mask))
    raws = raw.expand(3, own.size)
    assert_equal(own.sample(KEY, raws, flat), own.sample(KEY, raws, mask))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_masked_integers_are_never_drawn(nvec: list[int], data) -> None:
    own = from_space(gym.MultiDiscrete(nvec))
    rows = [data.draw(st.lists(st.booleans(), min_size=n, max_size=n).filter(any)) for n in nvec]
    mask = torch.tensor([*itertools.chain(*rows)])
    raw = torch.where(mask, raw_for(own, 5), torch.nan).requires_grad_()
    value = own.sample(KEY, raw, mask, sample_shape=40)
    for i, row in enumerate(rows):
        assert torch.tensor(row)[value[..., i]].all()
    log_prob = own.log_prob(raw, value, mask)
    assert log_prob.isfinite().all()
    (gradient,) = torch.autograd.grad(log_prob.sum(), raw)
    assert gradient.isfinite().all()
    assert (gradient[:, ~mask] == 0).all()


def test_masks_of_a_batch() -> None:
    own = from_space(gym.Dict(a=gym.Discrete(2), b=gym.MultiBinary(2)))
    raw = torch.zeros(3, own.size)
    mask = {"a": torch.tensor([[True, False], [False, True], [True, True]]), "b": np.array([0, 1], dtype=np.int8)}
    value = own.sample(KEY, raw, mask, sample_shape=100)
    assert (value["a"][:, 0] == 0).all()
    assert (value["a"][:, 1] == 1).all()
    assert value["a"][:, 2].unique().tolist() == [0, 1]
    assert (value["b"] == torch.tensor([0, 1])).all()
    assert_equal(own.params(raw, TensorDict({"a": mask["a"]}, 3)), own.params(raw, {"a": mask["a"]}))
    one_of = from_space(gym.OneOf([gym.Discrete(2), gym.Discrete(2)]))
    which = {"which": torch.tensor([False, True]), "parts": (None, torch.tensor([True, False]))}
    assert one_of.to_env(one_of.sample(KEY, torch.zeros(6), which)) == (1, 0)
    sequence = from_space(gym.Sequence(gym.Discrete(2)), max_length=2)
    lengths = {"length": torch.tensor([[True, False, False], [False, False, True]])}
    assert sequence.sample(KEY, torch.zeros(2, 7), lengths)["length"].tolist() == [0, 2]


# --------------------------------------------------------------------------------------------------- real numbers
def test_boxes_have_the_families_of_their_bounds() -> None:
    raw = random.normal(KEY, (5, 4))
    loc, scale = raw[:, :2], torch.nn.functional.softplus(raw[:, 2:] + math.log(math.expm1(0.99))) + 0.01
    cases = {
        tanh_normal: gym.Box(bounds(-1, 0), bounds(1, 5)),
        truncated_normal: gym.Box(bounds(-np.inf, 0), bounds(1, np.inf)),
        normal: gym.Box(-np.inf, np.inf, (2,)),
    }
    for family, space in cases.items():
        own = from_space(space)
        value = own.sample(KEY, raw)
        limits = [] if family is normal else [torch.from_numpy(space.low), torch.from_numpy(space.high)]
        torch.testing.assert_close(value, family.sample(KEY, loc, scale, *limits))
        expected = family.log_prob(loc, scale, *limits, value, event_dims=1)
        torch.testing.assert_close(own.log_prob(raw, value), expected)
        torch.testing.assert_close(own.entropy(raw), family.entropy(loc, scale, *limits, event_dims=1))


def test_bounds_whose_width_overflows_count_as_infinite() -> None:
    most = np.finfo(np.float32).max
    own = from_space(gym.Box(bounds(-most, -1), bounds(most, most)))
    raw = raw_for(own, 5)
    value = own.sample(KEY, raw)
    loc, scale, low = own.params(raw)
    torch.testing.assert_close(value, truncated_normal.sample(KEY, loc, scale, low, math.inf))
    assert low[0].tolist() == [-math.inf, -1]


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_boxes_of_every_shape(shape: tuple[int, ...]) -> None:
    own = from_space(gym.Box(-2, 3, shape))
    raw = raw_for(own, 4)
    assert own.size == 2 * math.prod(shape)
    assert own.sample(KEY, raw).shape == (4, *shape)
    assert own.log_prob(raw, own.sample(KEY, raw)).shape == (4,)
    assert own.rsample(KEY, raw.requires_grad_()).requires_grad


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("raw_dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_rounding_does_not_lead_out_of_a_box(dtype, raw_dtype: torch.dtype) -> None:
    space = gym.Box(dtype(0.1), dtype(0.7), (2,), dtype=dtype)
    own = from_space(space)
    raw = torch.tensor([-50.0, 50.0, 0.0, 0.0], dtype=raw_dtype)
    assert own.to_env(own.sample(KEY, raw)) in space


def test_the_family_of_a_box_can_be_chosen() -> None:
    space = gym.Box(-1, 1, (3,))
    raw = raw_for(from_space(space), 4)
    cut = from_space(space, bounded=truncated_normal)
    assert cut.sample(KEY, raw).abs().max() < 1
    assert not torch.equal(cut.sample(KEY, raw), from_space(space).sample(KEY, raw))
    clipped = from_space(space, bounded=normal)  # `to_env` clips
    assert clipped.sample(KEY, 3 * raw).abs().max() > 1
    assert np.abs(clipped.to_env(clipped.sample(KEY, 3 * raw))).max() == 1
    point = from_space(space, bounded=tanh_delta)
    assert point.size == 3
    torch.testing.assert_close(point.sample(KEY, raw[:, :3]), raw[:, :3].tanh())
    mine = from_space(space, bounded=(tanh_normal, lambda loc, scale: (loc / 2, scale.exp())))
    expected = tanh_normal.sample(KEY, raw[:, :3] / 2, raw[:, 3:].exp())
    torch.testing.assert_close(mine.sample(KEY, raw), expected)
    steep = from_space(space, scale_mapping="exp", scale_lb=2.0)
    assert steep.params(raw - 9)[1].unique().tolist() == [2.0]


# -------------------------------------------------------------------------------------------------------- torchrl
SPECS = [
    rl.Categorical(3),
    rl.Categorical(3, shape=(2,)),
    rl.OneHot(4),
    rl.OneHot(4, shape=(2, 4)),
    rl.MultiCategorical([2, 3]),
    rl.MultiOneHot([2, 3]),
    rl.Binary(3),
    rl.Binary(shape=(2, 3)),
    rl.Bounded(-1, 2, (2,)),
    rl.Bounded(-1, 2, (2,), dtype=torch.float64),
    rl.Bounded(torch.tensor([-1, 2]), torch.tensor([1, 5]), (2,), dtype=torch.int32),
    rl.Unbounded((2,)),
    rl.Composite(a=rl.Categorical(2), b=rl.Composite(c=rl.Unbounded((2,)), d=rl.MultiOneHot([2, 2]))),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec).__name__)
def test_draws_are_in_specs_of_torchrl(spec) -> None:
    own = from_space(spec)
    raw = raw_for(own, 5)
    value = own.sample(KEY, raw)
    action = own.to_env(value)
    assert_equal(own.from_env(action), own.to_env(value))
    assert own.log_prob(raw, action).isfinite().all()
    for i in range(5):
        one = at(action, i)
        assert spec.is_in(TensorDict(one, []) if isinstance(spec, rl.Composite) else one)
    params, act = policy.actor(nn.Linear(3, own.size), spec=spec, in_keys=["observation"], return_log_prob=True)
    after = act(params, KEY, TensorDict({"observation": torch.zeros(5, 3)}, 5))
    if spec.dtype != torch.float64:  # an action has the dtype of the network; `to_env` changes it
        assert all(spec.is_in(after["action"][i]) for i in range(5))
    assert torch.equal(act.log_prob(params, after), after["sample_log_prob"])


def test_masks_of_specs() -> None:
    mask = torch.tensor([False, True, False])
    assert (from_space(rl.Categorical(3, mask=mask)).sample(KEY, torch.zeros(50, 3)) == 1).all()
    vectors = from_space(rl.OneHot(3, mask=mask))
    assert (vectors.sample(KEY, torch.zeros(50, 3)) == mask).all()
    assert (
        vectors.log_prob(torch.zeros(3), torch.tensor([[True, True, False], [True, False, False]])).eq(-torch.inf).all()
    )
    both = from_space(rl.MultiCategorical([2, 3], mask=torch.tensor([True, False, False, False, True])))
    assert (both.sample(KEY, torch.zeros(50, 5)) == torch.tensor([0, 2])).all()


# ------------------------------------------------------------------------------------------------------ transforms
TRANSFORMED = {
    "independent": gym.Dict(
        a=gym.Discrete(2, start=3),
        b=gym.Tuple([gym.MultiBinary(2), gym.MultiDiscrete([2, 3]), gym.Box(bounds(-1, 0), bounds(1, 2))]),
    ),
    "chains": gym.Dict(
        x=gym.Sequence(gym.OneOf([gym.Discrete(2), gym.Tuple([gym.Box(1, 2, (2,)), gym.Text(2, charset="ab")])]))
    ),
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_vmap_and_derivatives(name: str) -> None:
    own = from_space(TRANSFORMED[name], max_length=2)
    raw, keys = raw_for(own, 4), random.split(KEY, 4)
    value = torch.vmap(own.sample)(keys, raw)
    assert_equal(own.sample(keys, raw), value, close=True)
    for i in range(4):
        one = at(value, i)
        assert_equal(own.sample(keys[i], raw[i]), one, close=True)
    torch.testing.assert_close(torch.vmap(own.log_prob)(raw, value), own.log_prob(raw, value))
    torch.testing.assert_close(torch.vmap(own.entropy)(raw), own.entropy(raw))
    assert torch.vmap(torch.func.grad(own.log_prob))(raw, value).isfinite().all()
    assert torch.vmap(torch.func.grad(own.entropy))(raw).isfinite().all()
    one = at(value, 0)
    assert torch.func.hessian(own.log_prob)(raw[0], one).isfinite().all()


@pytest.mark.parametrize("space", [*LEAVES, *NESTED, *SPECS], ids=lambda space: str(space)[:40])
def test_all_tensors_are_on_the_device_of_the_network(space) -> None:
    own = from_space(space, max_length=MAX_LENGTH)
    raw, mask = torch.empty(5, own.size, device="meta"), torch.ones(own.mask_size, dtype=torch.bool)
    value = own.sample(KEY, raw, mask)
    found = [value, own.log_prob(raw, value, mask), own.entropy(raw, mask), own.mode(raw, mask)]
    assert {leaf.device.type for leaf in leaves(found)} == {"meta"}


def test_masks_of_arrays_go_to_the_device_of_tensors() -> None:
    own = from_space(gym.Tuple([gym.Discrete(2), gym.Discrete(3), gym.Discrete(2)]))
    mask = own.flat_mask((np.ones(2, dtype=np.int8), torch.ones(4, 3, dtype=torch.bool, device="meta"), None))
    assert (mask.device.type, mask.shape) == ("meta", (4, 7))


@pytest.mark.parametrize("name", ["independent", pytest.param("chains", marks=pytest.mark.slow)])
def test_compiled_code_gives_the_same(name: str) -> None:
    own = from_space(TRANSFORMED[name], max_length=2)
    raw, mask = raw_for(own, 4), torch.ones(own.mask_size, dtype=torch.bool)
    mask[0] = False
    value = torch.compile(own.sample, fullgraph=True, backend="aot_eager")(KEY, raw, mask)
    assert_equal(value, own.sample(KEY, raw, mask), close=True)
    score = torch.compile(own.log_prob, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(score(raw, value, mask), own.log_prob(raw, value, mask))
    entropy = torch.compile(own.entropy, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(entropy(raw, mask), own.entropy(raw, mask))


def test_a_compiled_actor_and_one_under_vmap() -> None:
    own = from_space(gym.Dict(a=gym.Discrete(2, start=1), b=gym.OneOf([gym.Discrete(2), gym.Box(0, 1)])))
    params, act = policy.actor(nn.Linear(3, own.size), spec=own, in_keys=["observation"], return_log_prob=True)
    data = {"observation": random.normal(KEY, (4, 3))}
    found = torch.compile(act, fullgraph=True, backend="aot_eager")(params, KEY, data)
    assert_equal(found["action"], act(params, KEY, data)["action"], close=True)
    torch.testing.assert_close(act.log_prob(params, found), found["sample_log_prob"])
    keys = random.split(KEY, 2)
    both = torch.vmap(act, in_dims=(None, 0, None))(params, keys, data)
    assert_equal(at(both["action"], 1), act(params, keys[1], data)["action"], close=True)


def test_divergence_given_values() -> None:
    own = from_space(TRANSFORMED["chains"], max_length=2)
    raw = raw_for(own, 2)
    p, q = own.params(raw), own.params(raw + 0.3 * raw_for(own, 2, seed=5))
    value = own.sample(KEY, raw, sample_shape=4000)
    given = composite.conditional_kl(own.family, p, q, value).mean(0)
    ratio = composite.log_prob(own.family, p, value) - composite.log_prob(own.family, q, value)
    assert ((ratio.mean(0) - given).abs() < 5 * ratio.std(0) / math.sqrt(4000)).all()


# ---------------------------------------------------------------------------------------------------------- errors
class beta:
    """A family whose parameters need a function."""

    class Params(NamedTuple):
        a: Real
        b: Real

    log_prob = sample = None


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: from_space(gym.Graph(gym.Box(-1, 1), None)), NotImplementedError, "a Graph has no bound number"),
        (lambda: from_space(gym.Dict(g=gym.Graph(gym.Box(-1, 1), None))), NotImplementedError, "Graph at 'g'"),
        (lambda: from_space(gym.Sequence(gym.Discrete(2))), ValueError, "give max_length"),
        (lambda: from_space(gym.Discrete(2), max_length=0), ValueError, "max_length must be at least 1"),
        (lambda: from_space(gym.Box(0, 1000, dtype=np.int32)), ValueError, "1001 values, more than max_values=256"),
        (lambda: from_space(gym.Box(-np.inf, 0, dtype=np.int64)), ValueError, "more than max_values"),
        (lambda: from_space(gym.Tuple(())), ValueError, "the space has no parts"),
        (lambda: from_space(3), TypeError, "must be one of gymnasium.Box, .* got builtins.int"),
        (lambda: from_space(rl.Composite(a=rl.NonTensor(()))), TypeError, "space at 'a' must be one of"),
        (lambda: from_space(rl.Composite(a=rl.Categorical(2, shape=(3,)), shape=(3,))), ValueError, "of one environ"),
        (lambda: from_space(rl.Unbounded((2,), dtype=torch.int64)), ValueError, "no bounds"),
        (lambda: from_space(gym.Box(-1, 1), bounded=3), TypeError, "bounded must be a family"),
        (lambda: from_space(gym.Discrete(2)).params(torch.zeros(4, 3)), ValueError, "raw must have 2 numbers"),
        (lambda: from_space(gym.Discrete(2)).flat_mask(np.ones(3)), ValueError, "Discrete must have 2 entries"),
        (lambda: from_space(gym.Discrete(2)).params(torch.zeros(4, 2), np.ones((3, 2))), ValueError, "not fit raw"),
        (lambda: from_space(gym.Box(-1, 1), bounded=beta), TypeError, r"to its parameters \('a', 'b'\)"),
        (lambda: from_space(gym.Discrete(2)).flat_mask("no"), TypeError, "must hold|tensor or an array"),
        (lambda: from_space(gym.MultiDiscrete([2, 3])).flat_mask((None,)), ValueError, "got 1 entries"),
        (lambda: from_space(gym.MultiBinary(2)).flat_mask(np.ones(3)), ValueError, "hold 0, 1 or 2"),
        (lambda: from_space(gym.MultiBinary(2)).flat_mask((1, 2)), TypeError, "mask of bits"),
        (lambda: from_space(gym.Box(-1, 1)).flat_mask(np.ones(1)), TypeError, "a box has no mask"),
        (lambda: from_space(gym.Dict(a=gym.Discrete(2))).flat_mask({"b": None}), ValueError, r"has \['b'\]"),
        (lambda: from_space(gym.Text(3)).flat_mask((4, None)), ValueError, r"between 1 and 3, got \[4\]"),
        (lambda: from_space(gym.Text(3)).from_env("abcd"), ValueError, "from 1 to 3 items, got 4"),
        (lambda: policy.actor(nn.Linear(2, 2), in_keys=["x"]), TypeError, "needs a family or a spec"),
        (
            lambda: policy.actor(nn.Linear(2, 2), in_keys=["x"], spec=gym.Discrete(2), safe=True),
            ValueError,
            "safe=True needs a family",
        ),
        (
            lambda: policy.actor(nn.Linear(2, 2), in_keys=["x"], spec=gym.Discrete(2), data_keys={"scale": "s"}),
            ValueError,
            'must be {"mask": key}',
        ),
    ],
)
def test_errors(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


# -------------------------------------------------------------------------------------------------------- policies
@pytest.mark.parametrize("space", [*LEAVES[:6], *NESTED[:6]], ids=lambda space: str(space)[:60])
def test_an_actor_takes_its_family_from_the_spec(space: gym.Space) -> None:
    own = from_space(space, max_length=MAX_LENGTH)
    params, act = policy.actor(nn.Linear(3, own.size), spec=own, in_keys=["observation"], return_log_prob=True)
    after = act(params, KEY, {"observation": torch.randn(5, 3)})
    assert own.to_env(after["action"]) in batch_space(space, 5)
    assert torch.equal(act.log_prob(params, after), after["sample_log_prob"])
    assert act.entropy(params, after).shape == (5,)
    for interaction in ("mode", "deterministic"):
        assert (
            own.to_env(act(params, None, {"observation": torch.zeros(3)}, interaction_type=interaction)["action"])
            in space
        )
    again = pickle.loads(pickle.dumps(act))
    assert torch.equal(again.log_prob(params, after), after["sample_log_prob"])
    copied = pickle.loads(pickle.dumps(own))
    raw = raw_for(own, 3)
    assert_equal(copied.sample(KEY, raw), own.sample(KEY, raw))
    assert repr(copied) == repr(own)


def test_an_actor_reads_masks_from_the_data() -> None:
    space = gym.Dict(a=gym.Discrete(3, start=1), b=gym.OneOf([gym.Discrete(2), gym.Box(0, 1)]))
    params, act = policy.actor(
        nn.Linear(2, from_space(space).size),
        spec=space,
        in_keys=["observation"],
        data_keys={"mask": "valid"},
        return_log_prob=True,
    )
    valid = {"a": torch.tensor([True, False, False]).expand(40, 3)}
    given = {"observation": torch.randn(40, 2), "valid": valid}
    for data in (given, TensorDict(given, 40)):
        after = act(params, KEY, data)
        assert (after["action"]["a"] == 1).all()
        assert torch.equal(act.log_prob(params, after), after["sample_log_prob"])


def test_a_composite_of_torchrl_with_the_key_of_the_action() -> None:
    spec = rl.Composite(action=rl.Categorical(2), other=rl.Unbounded(()))
    params, act = policy.actor(nn.Linear(2, 2), spec=spec, in_keys=["observation"])
    assert act(params, KEY, {"observation": torch.zeros(3, 2)})["action"].shape == (3,)


class Dummy(gymnasium.Env):
    """An environment that checks its actions; the reward is random."""

    observation_space = gym.Box(-1, 1, (3,))

    def __init__(self, action_space: gym.Space) -> None:
        self.action_space, self.time = action_space, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert action in self.action_space
        self.time += 1
        return self.observation_space.sample(), float(self.np_random.normal()), self.time == 5, False, {}


def test_data_hold_tuples_as_dicts() -> None:
    space = gym.Tuple([gym.Discrete(3), gym.Tuple([gym.Box(-1, 1, (2,)), gym.MultiBinary(2)])])
    own = from_space(space)
    params, act = policy.actor(nn.Linear(3, own.size), spec=space, in_keys=["observation"], return_log_prob=True)
    observation = torch.linspace(-1, 1, 15).view(5, 3)
    plain = act(params, KEY, {"observation": observation})
    data = act(params, KEY, TensorDict({"observation": observation}, 5))
    assert {*data["params"].keys(True, True)} == {
        ("0", "logits"),
        *[("1", "0", name) for name in ("loc", "scale")],
        ("1", "1", "logits"),
    }
    assert_equal(data["action"].to_dict(), plain["action"])
    assert torch.equal(data["sample_log_prob"], plain["sample_log_prob"])
    assert torch.equal(act.log_prob(params, data), plain["sample_log_prob"])
    assert torch.equal(act.entropy(params, data), act.entropy(params, plain))
    raw = torch.func.functional_call(nn.Linear(3, own.size), params[0], observation)
    torch.testing.assert_close(own.log_prob(raw, own.from_env(own.to_env(plain["action"]))), plain["sample_log_prob"])
    compiled = torch.compile(lambda data: act(params, KEY, data), backend="eager", fullgraph=True)
    assert_equal(compiled({"observation": observation})["action"], plain["action"], close=True)


gymnasium.register("Dummy-v0", entry_point=Dummy, disable_env_checker=True)
TRAINED = {
    "CartPole-v1": {},
    "Pendulum-v1": {},
    "Tuple": {"action_space": gym.Tuple([gym.Discrete(3, start=2), gym.Box(0, np.inf, (2,))])},
    "Dict": {"action_space": gym.Dict(move=gym.Discrete(2), aim=gym.Box(-1, 1, (2,)), word=gym.Text(2, charset="ab"))},
    "MultiBinary": {"action_space": gym.MultiBinary([2, 2])},
    "MultiDiscrete": {"action_space": gym.MultiDiscrete([[2, 3], [4, 1]], start=[[1, 0], [0, 0]])},
    "OneOf": {"action_space": gym.OneOf([gym.Discrete(2), gym.Tuple([gym.Box(-1, 1, (2,)), gym.Discrete(2)])])},
    "Sequence": {"action_space": gym.Sequence(gym.Dict(a=gym.Discrete(2), b=gym.Box(0, 1, (1,))))},
}


@pytest.mark.parametrize("name", TRAINED)
def test_a_few_updates_of_a_policy(name: str) -> None:
    options = TRAINED[name]
    env = gymnasium.make("Dummy-v0" if options else name, **options)
    space = from_space(env.action_space, max_length=2)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(env.observation_space.shape[0], 16), nn.Tanh(), nn.Linear(16, space.size))
    params, act = policy.actor(network, spec=space, in_keys=["observation"], return_log_prob=True)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    before = [weight.clone() for weight in network.parameters()]
    observation, _ = env.reset(seed=0)
    for update in range(3):
        steps, rewards = [], []
        for t in range(8):
            data = {"observation": torch.as_tensor(observation)}
            with torch.no_grad():
                data = act(params, random.fold_in(KEY, 8 * update + t), data)
            observation, reward, terminated, truncated, _ = env.step(space.to_env(data["action"]))
            steps.append(data)
            rewards.append(reward)
            if terminated or truncated:
                observation, _ = env.reset()
        stored = stacked(steps)
        advantage = torch.tensor(rewards, dtype=torch.float32) - sum(rewards) / len(rewards) + 0.1
        log_prob = act.log_prob(params, stored)
        torch.testing.assert_close(log_prob, stored["sample_log_prob"], atol=1e-3, rtol=1e-3)
        loss = -(advantage * log_prob).mean() - 0.01 * act.entropy(params, stored).mean()
        assert loss.isfinite()
        optimizer.zero_grad()
        loss.backward()
        assert all(weight.grad.isfinite().all() for weight in network.parameters())
        optimizer.step()
    assert any(not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))


def test_a_vector_environment() -> None:
    action_space = gym.Dict(a=gym.Discrete(2), b=gym.Tuple([gym.MultiBinary(2), gym.Text(2, charset=string.digits)]))
    envs = gymnasium.make_vec("Dummy-v0", 3, vectorization_mode="sync", action_space=action_space)
    own = from_space(envs.single_action_space)
    envs.reset(seed=0)
    actions = own.to_env(own.sample(KEY, raw_for(own, 3)))
    assert actions in envs.action_space
    envs.step(actions)
