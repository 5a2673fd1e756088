"""The numbers are those of the published cipher and of PyTorch's own keyed generator."""

import math

import numpy as np
import pytest
import torch

from functional_dists import random
from functional_dists.random import cpu, philox, portable
from functional_dists.random.extension import without_kernels

from . import reference

# Random123 1.14, examples/kat_vectors, philox4x32 10: counter, cipher key, cipher text.
RANDOM123 = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def hex_words(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "cipher_key", "expected"), [tuple(map(hex_words, row)) for row in RANDOM123])
class TestCipher:
    def test_arrays(self, counter, cipher_key, expected):
        words = philox.encrypt(*(np.array([row]).T for row in (counter, cipher_key)), np.arange(10)[:, None])
        assert [int(word) for (word,) in words] == expected

    def test_tensors(self, counter, cipher_key, expected):
        words = philox.encrypt(*(torch.tensor([row]).T for row in (counter, cipher_key)), torch.arange(10)[:, None])
        assert [int(word) for (word,) in words] == expected


class TestKey42:
    key = random.key(42)

    def test_bits(self):
        assert random.bits(self.key, 5).tolist() == [-1662324653, 2012563771, 314527917, 1463989207, -52747993]

    def test_split(self):
        assert random.split(self.key, 3).tolist() == [
            [8643895580192075859, 6287785766076502189],
            [6033254488940945703, 8380643633896839790],
            [12143778050234647077, 14270118698559565209],
        ]

    def test_uniform(self):
        expected = torch.tensor([0.91772956, 0.95814866, 0.74732476, 0.26055664])
        assert torch.equal(random.uniform(self.key, 4), expected)

    def test_uniform_float64(self):
        assert random.uniform(self.key, 2, dtype=torch.float64).tolist() == [0.34183667592359457, 0.9785982803638217]

    def test_normal(self):
        expected = torch.tensor([-0.9701898, 0.1940189, -1.2356212, 1.9239266])
        torch.testing.assert_close(random.normal(self.key, 4), expected, rtol=3e-7, atol=0)

    def test_normal_float64(self):
        expected = torch.tensor([0.886497505901441, 0.4393560694379269], dtype=torch.float64)
        torch.testing.assert_close(random.normal(self.key, 2, dtype=torch.float64), expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("seed", [0, 1, 42, -1, -(2**63), 2**63 - 1, 2**63, 2**64 - 1, np.int64(-7)])
def test_every_64_bit_seed_makes_a_key(seed):
    key = random.key(seed)
    assert key.dtype == torch.uint64
    assert key.tolist() == [int(seed) % 2**64, 0]


@pytest.mark.parametrize("num", [1, 3, 4, 31, 32, 33, 100])
def test_words_of_random_keys(num):
    for seed, offset in reference.random_pairs(50, source=num):
        assert torch.equal(random.bits(reference.make_key(seed, offset), num), reference.bits(seed, offset, num))


@pytest.mark.parametrize(
    "words",
    [cpu.words, without_kernels(cpu.words), lambda key, num: portable.interleave(portable.word_streams(key, num), num)],
    ids=["compiled", "numpy", "tensors"],
)
def test_words_of_batches_of_keys_in_every_implementation(words):
    pairs = reference.random_pairs(24, source=1)
    expected = torch.stack([reference.bits(*pair, 45) for pair in pairs])
    assert torch.equal(words(reference.make_keys(pairs), 45), expected)
    assert torch.equal(words(reference.make_keys(pairs).reshape(4, 6, 2), 45), expected.reshape(4, 6, 45))
    assert torch.equal(words(reference.make_keys(pairs)[:1].expand(3, 2), 6), expected[:1, :6].expand(3, 6))


@pytest.mark.parametrize("num", [0, 1, 2, 3, 4, 7, 8, 9, 255, 256, 257, 100_000])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("draw", [cpu.uniforms, cpu.normals])
def test_both_implementations_draw_the_same_bits(draw, num, double):
    for pair in reference.random_pairs(10, source=num):
        key = reference.make_key(*pair)
        assert torch.equal(draw(key, num, double=double), without_kernels(draw)(key, num, double=double))
    keys = reference.make_keys(reference.random_pairs(70, source=num)).reshape(7, 10, 2)[:, :: 1 + num // 1000]
    assert torch.equal(draw(keys, num, double=double), without_kernels(draw)(keys, num, double=double))


def test_the_largest_words_make_normals_of_zero():
    """The third word of this block is one of the last 128, whose uniform rounds to 1 in float32."""
    key = reference.make_key(0, 24_962_728)
    assert reference.words(0, 24_962_728, 4)[2] >= 2**32 - 128
    for normals in (cpu.normals, without_kernels(cpu.normals)):
        assert normals(key, 4, double=False)[2:].tolist() == [0, 0]


@pytest.mark.parametrize("offset", [2**64 - 1, 2**64 - 5, 2**32 - 3, 2**63 - 2, 3 * 2**32 - 1])
@pytest.mark.parametrize("num", [24, 200])
def test_counter_wraps_and_carries(offset, num):
    key = reference.make_key(0xDEADBEEF12345678, offset)
    expected = reference.bits(0xDEADBEEF12345678, offset, num)
    assert torch.equal(random.bits(key, num), expected)
    assert torch.equal(portable.interleave(portable.word_streams(key, num), num), expected)


def test_block_number_beyond_32_bits():
    skip = torch.tensor(2**32 + 5)
    expected = reference.bits(7, 9 + 2**32 + 5, 8)
    key = reference.make_key(7, 9)
    assert torch.equal(portable.interleave(portable.word_streams(key, 8, skip), 8), expected)


def test_narrow_bits_are_low_bits_and_wide_ones_two_words():
    seed, offset = 2**64 - 59, 2**40 + 17
    key, words = reference.make_key(seed, offset), reference.words(seed, offset, 40)
    for dtype in (torch.int8, torch.uint8, torch.int16, torch.uint16, torch.int32, torch.uint32):
        width = 8 * dtype.itemsize
        drawn = random.bits(key, 40, dtype=dtype).tolist()
        assert [value % 2**width for value in drawn] == [word % 2**width for word in words]
    assert random.bits(key, 20, dtype=torch.uint64).tolist() == reference.words64(seed, offset, 20)
    assert torch.equal(random.bits(key, 20, dtype=torch.int64), reference.bits64(seed, offset, 20))


@pytest.mark.parametrize(("dtype", "digits"), [(torch.float32, 24), (torch.float16, 11), (torch.bfloat16, 8)])
def test_uniform_is_the_low_bits_of_a_word(dtype, digits):
    expected = [(word % 2**digits) / 2**digits for word in reference.words(3, 4, 1000)]
    assert random.uniform(reference.make_key(3, 4), 1000, dtype=dtype).tolist() == expected


def test_normals_follow_from_the_words():
    seed, offset = 2**63 + 11, 5
    key = reference.make_key(seed, offset)
    pairs32 = [(w + 0.5) / 2**32 for w in reference.words(seed, offset, 1000)]
    pairs64 = [(w + 0.5) / 2**64 for w in reference.words64(seed, offset, 1000)]
    for pairs, dtype, tolerance in ((pairs32, torch.float32, 2e-6), (pairs64, torch.float64, 1e-14)):
        expected = [x for u, v in zip(pairs[0::2], pairs[1::2], strict=True) for x in reference.box_muller(u, v)]
        drawn = random.normal(key, 1000, dtype=dtype)
        # The angle is rounded before its cosine is taken: an absolute error, of an ulp of 2 pi times the radius.
        assert np.abs(drawn.double().numpy() - np.array(expected)).max() < tolerance


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_float32_rounded(dtype):
    key = random.key(1)
    for draw in (random.normal, random.exponential, random.gumbel):
        assert torch.equal(draw(key, 100, dtype=dtype), draw(key, 100, dtype=torch.float32).to(dtype))


def test_fold_in_is_the_child_of_split():
    key = random.key(5)
    children = random.split(key, 9)
    for i in range(9):
        assert torch.equal(random.fold_in(key, i), children[i])
    assert torch.equal(random.fold_in(key, torch.arange(9).reshape(3, 3)), children.reshape(3, 3, 2))


@pytest.mark.parametrize(
    "data", [0, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 0xCBF29CE484222325, -1, -(2**63), 2**70 + 3]
)
def test_fold_in_takes_integers_mod_2_64(data):
    for seed, offset in reference.random_pairs(8, source=3):
        key = reference.make_key(seed, offset)
        expected = reference.child(seed, offset, data % 2**64)
        assert tuple(random.fold_in(key, data).tolist()) == expected
        as_tensor = torch.tensor(reference.signed(data % 2**64, 64))
        assert tuple(random.fold_in(key, as_tensor).tolist()) == expected
        assert tuple(random.fold_in(key, as_tensor.view(torch.uint64)).tolist()) == expected


def test_uniform_and_rest_follow_from_the_words():
    key = reference.make_key(8, 2**33)
    uniform, rest = random.uniform_and_rest(key, 500)
    assert uniform.tolist() == [(w + 0.5) / 2**32 for w in reference.words(8, 2**33, 500)]
    assert rest.tolist() == [(2**32 - w - 0.5) / 2**32 for w in reference.words(8, 2**33, 500)]
    uniform, rest = random.uniform_and_rest(key, 500, dtype=torch.float64)
    words = reference.words64(8, 2**33, 500)
    assert uniform.tolist() == pytest.approx([(w + 0.5) / 2**64 for w in words], rel=2**-52)
    assert rest.tolist() == pytest.approx([(2**64 - w - 0.5) / 2**64 for w in words], rel=2**-52)


def test_exponential_and_gumbel_follow_from_the_words():
    key = reference.make_key(8, 2**33)
    w = reference.words(8, 2**33, 500)
    expected = torch.tensor([-math.log1p(-(x + 0.5) / 2**32) for x in w], dtype=torch.float64)
    torch.testing.assert_close(random.exponential(key, 500).double(), expected, rtol=3e-7, atol=0)
    torch.testing.assert_close(random.gumbel(key, 500).double(), -expected.log(), rtol=1e-6, atol=1e-6)


def test_randint_is_the_remainder_of_an_unsigned_word():
    key, w = reference.make_key(99, 3), reference.words64(99, 3, 300)
    for low, high in ((0, 1), (0, 7), (-5, 6), (10, 10 + 2**32), (-(2**61), 2**61), (-(2**63), -(2**63) + 3)):
        assert random.randint(key, 300, low, high).tolist() == [low + x % (high - low) for x in w]
