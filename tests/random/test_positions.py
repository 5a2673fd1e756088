"""Numbers by position are those of a contiguous draw."""

import pytest
import torch

from functional_dists import random
from functional_dists.random import extension, ops

from . import reference

INTEGERS = [
    *(torch.int8, torch.uint8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.int64, torch.uint64),
]
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
CASES = [
    *[(random.bits, random.bits_at, dtype) for dtype in INTEGERS],
    *[(random.uniform, random.uniform_at, dtype) for dtype in FLOATS],
    *[(random.normal, random.normal_at, dtype) for dtype in FLOATS],
]
NAMES = [f"{at.__name__}-{str(dtype).removeprefix('torch.')}" for _, at, dtype in CASES]
KEYS = reference.make_keys(reference.random_pairs(6, source=43))
every_case = pytest.mark.parametrize(("draw", "at", "dtype"), CASES, ids=NAMES)


def same(one, other):
    return one.dtype == other.dtype and torch.equal(one.view(torch.uint8), other.view(torch.uint8))


def shifted(key, blocks):
    """The key whose first block is that of another one so many blocks on."""
    seed, offset = key.tolist()
    return reference.make_key(seed, (offset + blocks) % 2**64)


@every_case
class TestEveryDtype:
    @pytest.mark.parametrize("wrap", [lambda f: f, extension.without_kernels], ids=["C", "no C"])
    def test_equal_to_the_contiguous_draw(self, draw, at, dtype, wrap):
        positions = torch.randperm(301)
        for key in KEYS:
            whole = wrap(draw)(key, 301, dtype=dtype)
            # PyTorch does not index all of the unsigned dtypes.
            assert same(wrap(at)(key, torch.arange(301), dtype=dtype), whole)
            expected = torch.stack([whole[i] for i in positions.tolist()])
            assert same(wrap(at)(key, positions, dtype=dtype), expected)
            assert same(wrap(at)(key, positions[:300].reshape(3, 4, 25), dtype=dtype), expected[:300].view(3, 4, 25))

    @pytest.mark.parametrize("first", [2**31, 2**32 - 4, 2**33 + 8, 2**60, 2**62 - 4])
    def test_far_positions(self, draw, at, dtype, first):
        per_block = 2 if dtype.itemsize == 8 else 4
        for key in KEYS:
            expected = draw(shifted(key, first // per_block), 8, dtype=dtype)
            assert same(at(key, torch.arange(first, first + 8), dtype=dtype), expected)

    def test_a_batch_of_keys(self, draw, at, dtype):
        positions = torch.randint(0, 2**40, (6, 5))
        expected = torch.stack([at(key, own, dtype=dtype) for key, own in zip(KEYS, positions, strict=True)])
        assert same(at(KEYS, positions, dtype=dtype), expected)
        assert same(torch.vmap(lambda key, own: at(key, own, dtype=dtype))(KEYS, positions), expected)
        assert same(at(KEYS.view(2, 3, 2), positions.view(2, 3, 5), dtype=dtype), expected.view(2, 3, 5))
        everywhere = torch.stack([at(key, torch.tensor(7), dtype=dtype) for key in KEYS])
        assert same(at(KEYS, torch.tensor(7), dtype=dtype), everywhere)

    def test_vmap_over_positions_or_keys_alone(self, draw, at, dtype):
        positions = torch.arange(12).reshape(3, 4)
        expected = at(KEYS[5], positions, dtype=dtype)
        assert same(torch.vmap(lambda own: at(KEYS[5], own, dtype=dtype))(positions), expected)
        expected = torch.stack([at(key, positions, dtype=dtype) for key in KEYS])
        assert same(torch.vmap(lambda key: at(key, positions, dtype=dtype))(KEYS), expected)

    def test_no_positions(self, draw, at, dtype):
        assert at(KEYS[0], torch.zeros(0, 3, dtype=torch.int64), dtype=dtype).shape == (0, 3)


def test_a_shard_draws_its_part_of_the_whole():
    key, rows = random.key(3), torch.arange(4, 7)[:, None]
    whole = random.normal(key, (10, 6))
    assert torch.equal(random.normal_at(key, rows * 6 + torch.arange(6)), whole[4:7])


def test_default_dtypes():
    key, positions = random.key(3), torch.arange(3)
    assert random.bits_at(key, positions).dtype == torch.int32
    assert random.uniform_at(key, positions).dtype == torch.float32
    assert random.normal_at(key, positions.to(torch.int16)).dtype == torch.float32


def test_other_devices_compute_the_same():
    key, block = KEYS[3], torch.tensor(2**40 + 1)
    assert torch.equal(ops._elsewhere(key, 4, "words", block), torch.stack(list(ops.words_of_block(key, block))))
    assert random.normal_at(key.to("meta"), torch.arange(5, device="meta")).shape == (5,)


@pytest.mark.parametrize("at", [random.bits_at, random.uniform_at, random.normal_at])
def test_wrong_arguments(at):
    key, positions = random.key(0), torch.arange(3)
    with pytest.raises(TypeError, match=r"a torch\.Generator has no positions.*random\.key_from"):
        at(torch.Generator(), positions)
    with pytest.raises(TypeError, match="key must be a key"):
        at(42, positions)
    with pytest.raises(TypeError, match="positions must be an integer tensor, got 3 of type int"):
        at(key, 3)
    with pytest.raises(TypeError, match=r"positions must be an integer .*got a torch\.float32 tensor"):
        at(key, positions.float())
    with pytest.raises(ValueError, match="positions must not be negative, got -2"):
        at(key, positions - 2)
    with pytest.raises(ValueError, match="positions must not be negative, got -2"):
        torch.vmap(lambda own: at(key, own))(positions - 2)
    with pytest.raises(ValueError, match=r"positions must begin with \(6,\).*expand"):
        at(KEYS, positions)
    with pytest.raises(TypeError, match="dtype must be"):
        at(key, positions, dtype=torch.complex64)


def test_compiled():
    torch._dynamo.reset()

    def numbers(key, positions):
        return [
            random.bits_at(key, positions),
            random.bits_at(key, positions, dtype=torch.int64),
            random.uniform_at(key, positions),
            random.uniform_at(key, positions, dtype=torch.float64),
            random.normal_at(key, positions),
            random.normal_at(key, positions, dtype=torch.float64),
        ]

    compiled = torch.compile(numbers, fullgraph=True)
    positions = torch.tensor([[0, 1, 2, 3, 7], [2**31, 2**32 + 1, 2**45 + 2, 2**62 - 1, 2**62]])
    for key in KEYS:
        got, expected = compiled(key, positions), numbers(key, positions)
        assert all(torch.equal(one, other) for one, other in zip(got[:4], expected[:4], strict=True))
        for one, other in zip(got[4:], expected[4:], strict=True):
            tolerance = 8 * torch.finfo(one.dtype).eps
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    mapped = torch.compile(torch.vmap(random.bits_at), fullgraph=True, backend="aot_eager")
    assert torch.equal(mapped(KEYS[:2], positions), random.bits_at(KEYS[:2], positions))
