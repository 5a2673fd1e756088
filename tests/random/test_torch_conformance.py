"""The numbers of PyTorch's own keyed generator, `torch.func._random`, where this PyTorch has it for a device."""

import pytest
import torch

from functional_dists import random

from . import reference

theirs = pytest.importorskip("torch.func._random", reason=f"torch {torch.__version__} has no torch.func._random")

KEYS = reference.make_keys(reference.random_pairs(9, source=47))
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
INTEGERS = [torch.int8, torch.uint8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.int64, torch.uint64]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))]
CALLS = {
    "split": lambda key: theirs.split(key, 2),
    "fold_in": lambda key: theirs.fold_in(key, 1),
    "uniform": lambda key: theirs.uniform(key, (2,)),
    "normal": lambda key: theirs.normal(key, (2,)),
    "bits": lambda key: theirs.bits(key, (2,)),
}


def keys_for(name, device):
    """The keys on the device, if this PyTorch has the function there."""
    if not hasattr(theirs, name):
        pytest.skip(f"torch {torch.__version__} has no torch.func._random.{name}")
    keys = KEYS.to(device)
    try:
        CALLS[name](keys[0])
    except NotImplementedError:
        pytest.skip(f"torch {torch.__version__} has no kernel of torch.func._random.{name} for {device}")
    return keys


@pytest.mark.parametrize("device", DEVICES)
class TestOneKeyAndBatches:
    @pytest.mark.parametrize("seed", [0, 1, 42, 2**31, 2**63 - 1])
    def test_key(self, device, seed):
        assert torch.equal(random.key(seed, device=device), theirs.key(seed, device=torch.device(device)))

    def test_split(self, device):
        keys = keys_for("split", device)
        for key in keys:
            assert torch.equal(random.split(key, 5), theirs.split(key, 5))
        assert torch.equal(random.split(keys, 5), theirs.split(keys, 5).movedim(0, 1))  # theirs puts the new axis first

    @pytest.mark.parametrize("data", [0, 1, 7, 2**40])
    def test_fold_in(self, device, data):
        keys = keys_for("fold_in", device)
        for key in keys:
            assert torch.equal(random.fold_in(key, data), theirs.fold_in(key, data))
        assert torch.equal(random.fold_in(keys, data), theirs.fold_in(keys, data))

    @pytest.mark.parametrize("dtype", FLOATS)
    def test_uniform(self, device, dtype):
        keys = keys_for("uniform", device)
        for key in keys:
            assert torch.equal(random.uniform(key, (7, 5), dtype=dtype), theirs.uniform(key, (7, 5), dtype=dtype))
        assert torch.equal(random.uniform(keys, (9, 7), dtype=dtype), their_batch(theirs.uniform, keys, dtype))

    @pytest.mark.parametrize("dtype", FLOATS)
    def test_normal(self, device, dtype):
        keys = keys_for("normal", device)
        tolerance = 4 * torch.finfo(dtype).eps
        for key in keys:
            one, other = random.normal(key, (7, 5), dtype=dtype), theirs.normal(key, (7, 5), dtype=dtype)
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
        one, other = random.normal(keys, (9, 7), dtype=dtype), their_batch(theirs.normal, keys, dtype)
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)

    @pytest.mark.parametrize("dtype", INTEGERS)
    def test_bits(self, device, dtype):
        keys = keys_for("bits", device)
        for key in keys:
            assert torch.equal(random.bits(key, (7, 5), dtype=dtype), theirs.bits(key, (7, 5), dtype=dtype))
        assert torch.equal(random.bits(keys, (9, 7), dtype=dtype), their_batch(theirs.bits, keys, dtype))


def their_batch(draw, keys, dtype):
    """Theirs wants keys with an axis for every axis of the numbers: those of the numbers of an entry have size 1."""
    return draw(keys.unsqueeze(-2), (9, 7), dtype=dtype)
