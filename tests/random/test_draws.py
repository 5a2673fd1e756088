"""What every draw promises: shapes, dtypes, ranges, both tails, sources, errors."""

import math

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from functional_dists import random
from functional_dists.random import keys, ops

from . import reference

FLOAT_DRAWS = [random.uniform, random.normal, random.exponential, random.gumbel]
DRAWS = {
    "bits": random.bits,
    "uniform": random.uniform,
    "normal": random.normal,
    "exponential": random.exponential,
    "gumbel": random.gumbel,
    "bernoulli": lambda key, shape, **options: random.bernoulli(key, shape, 0.3, **options),
    "randint": lambda key, shape, **options: random.randint(key, shape, -3, 9, **options),
}
ALL_DRAWS = [*DRAWS.values(), random.permutation]
ALL_NAMES = [*DRAWS, "permutation"]

seeds = st.integers(-(2**63), 2**64 - 1)
offsets = st.integers(0, 2**64 - 1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("draw", ALL_DRAWS, ids=ALL_NAMES)
class TestEveryDraw:
    @pytest.mark.parametrize("shape", [(3,), (0,), (2, 0), (2, 3, 5), (100, 7)])
    @pytest.mark.parametrize("source", [random.key(1), generator()], ids=["key", "generator"])
    def test_shape(self, draw, shape, source):
        assert draw(source, shape).shape == shape

    def test_shape_may_be_an_integer_or_any_sequence(self, draw):
        key = random.key(3)
        assert torch.equal(draw(key, 6), draw(key, (6,)))
        assert torch.equal(draw(key, [2, 3]), draw(key, torch.Size((2, 3))))

    def test_key_is_not_used_up(self, draw):
        key = random.key(3)
        before = key.clone()
        assert torch.equal(draw(key, 20), draw(key, 20))
        assert torch.equal(key, before)

    def test_generator_advances(self, draw):
        source = generator()
        assert not torch.equal(draw(source, 200), draw(source, 200))
        assert torch.equal(draw(generator(5), 20), draw(generator(5), 20))

    def test_global_generator_is_left_alone(self, draw):
        torch.manual_seed(0)
        state = torch.get_rng_state()
        draw(random.key(3), 20)
        draw(generator(), 20)
        random.split(generator())
        random.fold_in(random.key_from(generator()), 3)
        assert torch.equal(torch.get_rng_state(), state)

    def test_default_device_context_does_not_matter(self, draw):
        key = random.key(3)
        expected = draw(key, 40)
        with torch.device("meta"):
            assert torch.equal(draw(key, 40), expected)
            assert torch.equal(draw(key, 400)[:40], draw(key, 400)[:40])

    def test_device(self, draw):
        key = random.key(3)
        assert draw(key, 4, device="cpu").device.type == "cpu"
        assert draw(key, (4, 2), device="meta").shape == (4, 2)
        assert draw(key, 4, device="meta").device.type == "meta"

    def test_no_gradient(self, draw):
        assert not draw(random.key(3), 4).requires_grad

    def test_inference_mode(self, draw):
        key = random.key(3)
        with torch.inference_mode():
            inside = draw(key, 40)
        assert torch.equal(inside, draw(key, 40))

    @pytest.mark.parametrize(
        ("key", "error", "message"),
        [
            (None, TypeError, "key must be a key .* or a torch.Generator, got None"),
            (42, TypeError, "got 42 of type int"),
            (torch.tensor([1, 2]), TypeError, r"torch.uint64 .* got a torch.int64 tensor of shape \(2,\)"),
            (random.split(random.key(0), 3), ValueError, r"must begin with \(3,\) .* got \(2,\); shape=\(3, 2\) draws"),
            (random.key(0)[:1], ValueError, r"shape \(2,\), got \(1,\); a batch of keys has shape \(\*K, 2\)"),
            (random.key(0)[0], ValueError, r"shape \(2,\), got \(\)"),
        ],
    )
    def test_wrong_key(self, draw, key, error, message):
        with pytest.raises(error, match=message):
            draw(key, (2,))


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@settings(max_examples=25, deadline=None)
@given(seed=seeds, offset=offsets, few=st.integers(0, 40), more=st.integers(0, 300))
def test_first_numbers_do_not_depend_on_how_many_nor_on_the_shape(draw, seed, offset, few, more):
    key = reference.make_key(seed % 2**64, offset)
    many = draw(key, few + more)
    assert torch.equal(draw(key, few), many[:few])
    assert torch.equal(draw(key, (2, few)).flatten()[:few], many[:few])


@settings(max_examples=50, deadline=None)
@given(seed=seeds, num=st.integers(0, 40), more=st.integers(0, 40))
def test_first_keys_do_not_depend_on_how_many(seed, num, more):
    key = random.key(seed)
    assert torch.equal(random.split(key, num), random.split(key, num + more)[:num])


@settings(max_examples=50, deadline=None)
@given(seed=seeds, offset=offsets, data=st.integers(-(2**66), 2**66))
def test_fold_in_anything(seed, offset, data):
    key = reference.make_key(seed % 2**64, offset)
    assert tuple(random.fold_in(key, data).tolist()) == reference.child(seed % 2**64, offset, data % 2**64)


@pytest.mark.parametrize("draw", FLOAT_DRAWS)
class TestFloatDraws:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    @pytest.mark.parametrize("source", [random.key(1), generator()], ids=["key", "generator"])
    def test_dtype(self, draw, dtype, source):
        assert draw(source, 3, dtype=dtype).dtype == dtype

    def test_default_dtype(self, draw):
        try:
            torch.set_default_dtype(torch.float64)
            assert draw(random.key(1), 3).dtype == torch.float64
        finally:
            torch.set_default_dtype(torch.float32)
        assert draw(random.key(1), 3).dtype == torch.float32

    def test_wrong_dtype(self, draw):
        with pytest.raises(TypeError, match=r"dtype must be float16, bfloat16, float32 or float64, got torch\.int32"):
            draw(random.key(1), 3, dtype=torch.int32)


def test_generator_normal_and_uniform_are_those_of_torch():
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(
            random.normal(generator(), (3, 4), dtype=dtype), torch.randn(3, 4, generator=generator(), dtype=dtype)
        )
        assert torch.equal(
            random.uniform(generator(), (3, 4), dtype=dtype), torch.rand(3, 4, generator=generator(), dtype=dtype)
        )


EXTREME_WORDS = [
    *[(32, dtype) for dtype in (torch.float16, torch.bfloat16, torch.float32)],
    (64, torch.float64),
]


@pytest.mark.parametrize(("width", "dtype"), EXTREME_WORDS)
@pytest.mark.parametrize("word", ["lowest", "highest", "below the middle", "above the middle"])
def test_extreme_words(monkeypatch, width, dtype, word):
    middle = 2 ** (width - 1)
    w = {"lowest": 0, "highest": 2 * middle - 1, "below the middle": middle - 1, "above the middle": middle}[word]
    words32 = [w] if width == 32 else [w >> 32, w % 2**32]
    forced = torch.tensor([reference.signed(part, 32) for part in words32], dtype=torch.int32)
    monkeypatch.setattr(ops, "words", lambda key, num, skip=None: forced.repeat(num // len(words32)))
    monkeypatch.setattr(keys, "generator_words", lambda source, num, device=None: forced.repeat(num // len(words32)))
    with mpmath.workdps(50):
        exact = float(-mpmath.log1p(-(mpmath.mpf(w) + 0.5) / 2**width))
    for source in (random.key(0), generator()):
        exponential, gumbel = random.exponential(source, 3, dtype=dtype), random.gumbel(source, 3, dtype=dtype)
        assert torch.isfinite(exponential).all()
        assert torch.isfinite(gumbel).all()
        tolerance = 4 * torch.finfo(dtype).eps
        torch.testing.assert_close(
            exponential[0].item(), exact, rtol=tolerance, atol=torch.finfo(dtype).smallest_normal
        )
        torch.testing.assert_close(gumbel[0].item(), -math.log(exact), rtol=tolerance, atol=tolerance)
        uniform, rest = random.uniform_and_rest(source, 3, dtype=dtype)
        assert uniform[0].item() == pytest.approx((w + 0.5) / 2**width, rel=2**-52)
        assert rest[0].item() == pytest.approx((2**width - w - 0.5) / 2**width, rel=2**-52)
    assert 0 <= random.uniform(random.key(0), 1, dtype=dtype).item() < 1


def test_uniform_is_below_one_in_every_dtype():
    for dtype, num in ((torch.float16, 100_000), (torch.bfloat16, 10_000), (torch.float32, 1_000_000)):
        numbers = random.uniform(random.key(0), num, dtype=dtype)
        assert numbers.min() >= 0
        assert numbers.max() < 1


class TestKeys:
    def test_seed_out_of_range(self):
        for seed in (2**64, -(2**63) - 1, 10**40):
            with pytest.raises(ValueError, match=r"seed must lie in \[-2\^63, 2\^64\), got"):
                random.key(seed)

    @pytest.mark.parametrize("seed", [1.5, "1", None])
    def test_seed_of_another_type(self, seed):
        with pytest.raises(TypeError, match="seed must be an integer, got"):
            random.key(seed)

    def test_key_from_advances_the_generator(self):
        source = generator()
        first, second = random.key_from(source), random.key_from(source)
        assert first.dtype == torch.uint64
        assert first.shape == (2,)
        assert not torch.equal(first, second)
        assert torch.equal(first, random.key_from(generator()))

    def test_key_from_something_else(self):
        with pytest.raises(TypeError, match=r"generator must be a torch.Generator, got a torch.uint64 tensor"):
            random.key_from(random.key(0))
        with pytest.raises(TypeError, match=r"generator must be a torch\.Generator, got None"):
            random.key_from(None)

    def test_split_and_fold_in_of_a_generator_give_keys(self):
        source = generator()
        keys = random.split(source, 3)
        assert keys.dtype == torch.uint64
        assert keys.shape == (3, 2)
        assert not torch.equal(keys, random.split(source, 3))
        assert torch.equal(random.fold_in(generator(), 7), random.fold_in(random.key_from(generator()), 7))
        assert random.fold_in(generator(), torch.arange(3)).shape == (3, 2)

    def test_split_into_none_and_into_fewer(self):
        assert random.split(random.key(0), 0).shape == (0, 2)
        with pytest.raises(ValueError, match="num must not be negative, got -1"):
            random.split(random.key(0), -1)

    @pytest.mark.parametrize("data", [1.0, None, torch.tensor(1.0)])
    def test_fold_in_of_what_is_no_integer(self, data):
        with pytest.raises(TypeError, match="data must be an integer"):
            random.fold_in(random.key(0), data)

    @pytest.mark.parametrize("make_keys", [random.split, lambda key: random.fold_in(key, 1)])
    @pytest.mark.parametrize("key", [None, torch.tensor([1, 2])])
    def test_keys_of_a_wrong_key(self, make_keys, key):
        with pytest.raises(TypeError, match="key must be a key"):
            make_keys(key)

    def test_where(self):
        a, b = random.key(1), random.key(2)
        assert torch.equal(random.where(torch.tensor(True), a, b), a)
        assert torch.equal(random.where(torch.tensor(False), a, b), b)
        many_a, many_b = random.split(a, 6).reshape(2, 3, 2), random.split(b, 3)
        cond = torch.tensor([True, False, True])
        chosen = random.where(cond, many_a, many_b)
        assert chosen.shape == (2, 3, 2)
        for i in range(2):
            for j in range(3):
                assert torch.equal(chosen[i, j], many_a[i, j] if cond[j] else many_b[j])

    def test_where_with_wrong_arguments(self):
        a, b = random.key(1), random.key(2)
        with pytest.raises(TypeError, match=r"cond must be a bool tensor, got a torch\.int64"):
            random.where(torch.tensor(1), a, b)
        with pytest.raises(TypeError, match="key_b must be a key"):
            random.where(torch.tensor(True), a, torch.tensor([1, 2]))
        with pytest.raises(ValueError, match=r"key_a must have shape \(\*B, 2\), got \(1,\)"):
            random.where(torch.tensor(True), a[:1], b)

    def test_a_key_can_be_stacked_indexed_copied_and_compared(self):
        keys = torch.stack([random.key(1), random.key(2)])
        assert torch.equal(keys[1], random.key(2))
        assert torch.equal(torch.cat([keys, keys.clone()])[2:], keys)
        assert bool((keys[0] == random.key(1)).all())


class TestBernoulli:
    def test_certainties(self):
        assert random.bernoulli(random.key(0), 10_000, 1.0).all()
        assert not random.bernoulli(random.key(0), 10_000, 0.0).any()

    def test_probabilities_broadcast(self):
        p = torch.tensor([0.0, 1.0])
        drawn = random.bernoulli(random.key(0), (5, 2), p)
        assert drawn.dtype == torch.bool
        assert not drawn[:, 0].any()
        assert drawn[:, 1].all()
        with pytest.raises(ValueError, match=r"p must broadcast to shape \(5,\), got shape \(2,\)"):
            random.bernoulli(random.key(0), 5, p)

    def test_dtype(self):
        assert random.bernoulli(random.key(0), 5, 0.5, dtype=torch.float32).dtype == torch.float32


class TestRandint:
    @settings(max_examples=50, deadline=None)
    @given(seed=seeds, low=st.integers(-(2**63), 2**62 - 1), width=st.integers(1, 2**62))
    def test_range(self, seed, low, width):
        drawn = random.randint(random.key(seed), 50, low, low + width)
        assert drawn.dtype == torch.int64
        assert all(low <= value < low + width for value in drawn.tolist())

    def test_bounds_may_be_tensors(self):
        low, high = torch.tensor([0, 10, -5]), torch.tensor([1, 12, 5])
        drawn = random.randint(random.key(0), (100, 3), low, high)
        assert bool(((drawn >= low) & (drawn < high)).all())
        assert torch.equal(drawn, random.randint(random.key(0), (100, 3), low.to(torch.int32), high.to(torch.int32)))

    def test_dtype(self):
        wide = random.randint(random.key(0), 50, -100, 100)
        assert torch.equal(random.randint(random.key(0), 50, -100, 100, dtype=torch.int8), wide.to(torch.int8))

    def test_errors(self):
        key = random.key(0)
        for low, high in ((3, 3), (4, 3), (0, 2**62 + 1)):
            with pytest.raises(ValueError, match=r"high - low must lie in \[1, 2\^62\], got low="):
                random.randint(key, 3, low, high)
        for low, high in ((2**62, 2**63), (-(2**63) - 1, -(2**63) + 5)):
            with pytest.raises(ValueError, match=r"low and high must lie in \[-2\^63, 2\^63\)"):
                random.randint(key, 3, low, high)
        with pytest.raises(TypeError, match="high must be an integer or an integer tensor"):
            random.randint(key, 3, 0, 2.5)
        with pytest.raises(TypeError, match="low must be an integer or an integer tensor"):
            random.randint(key, 3, torch.tensor(0.0), 3)
        with pytest.raises(TypeError, match=r"dtype must be an integer dtype, got torch\.float32"):
            random.randint(key, 3, 0, 2, dtype=torch.float32)
        with pytest.raises(ValueError, match="low must broadcast"):
            random.randint(key, 3, torch.zeros(2, dtype=torch.int64), 5)


class TestPermutation:
    def test_every_number_once(self):
        rows = random.permutation(random.key(0), (50, 9))
        assert torch.equal(rows.sort(-1).values, torch.arange(9).expand(50, 9))
        assert len({tuple(row) for row in rows.tolist()}) > 40

    def test_of_nothing_and_of_one(self):
        assert random.permutation(random.key(0), 0).shape == (0,)
        assert random.permutation(random.key(0), 1).tolist() == [0]
        with pytest.raises(ValueError, match="shape must have at least one axis"):
            random.permutation(random.key(0), ())


def test_bits_wants_an_integer_dtype():
    for dtype in (torch.float32, torch.bool):
        with pytest.raises(TypeError, match="dtype must be an integer dtype"):
            random.bits(random.key(0), 3, dtype=dtype)
