"""Compare keys and draws with PyTorch's own keyed generator, ``torch.func._random``, of torch 2.15 or later.

2026-11-21. Found: no run with torch 2.15 is on record; tests/random/test_torch_conformance.py holds the same numbers
where PyTorch has them.

A thousand random cases of (seed, offset, shape, dtype), each through ``split``, ``fold_in``, ``bits``, ``uniform``,
``normal`` and ``randint``: all must be equal, but normals within 4 units in the last place. Words and normals are
computed three times: as eager code does, which with such a PyTorch means by its kernels; in NumPy and Python integers;
and as tensor operations.

    python -m benchmarks.studies.random_oracle [--cases 1000] [--seed 0]
"""

import argparse
import random as stdlib_random
from collections import Counter

import torch
from torch import Tensor

from benchmarks.progress import steps
from functional_dists import random
from functional_dists.random import cpu, portable

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.int8, torch.uint8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.int64, torch.uint64)
ALLOWED_ULPS = 4


def signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def make_key(seed: int, offset: int) -> Tensor:
    return torch.tensor([signed(seed), signed(offset)], dtype=torch.int64).view(torch.uint64)


def ulps(actual: Tensor, expected: Tensor) -> float:
    """The largest difference in units of the last place of the expected numbers."""
    wide, limits = expected.double(), torch.finfo(expected.dtype)
    exponent = torch.frexp(wide.abs().clamp(min=limits.tiny)).exponent
    spacing = torch.exp2((exponent - 1).double()) * limits.eps
    return float(((actual.double() - wide).abs() / spacing).max()) if expected.numel() else 0.0


def normals_by(implementation: str, key: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    num, double = torch.Size(shape).numel(), dtype == torch.float64
    if implementation == "eager":
        return random.normal(key, shape, dtype=dtype)
    if implementation == "NumPy":
        return cpu.normals(key, num, double=double).reshape(shape).to(dtype)
    return portable.interleave(portable.normal_streams(key, num, double=double), num).reshape(shape).to(dtype)


def words_by(implementation: str, key: Tensor, num: int) -> Tensor:
    if implementation == "eager":
        return random.bits(key, num)
    if implementation == "NumPy":
        return cpu.words(key, num)
    return portable.interleave(portable.word_streams(key, num), num)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        from torch.func import _random as theirs

        theirs.bits(theirs.key(0), (1,))
    except (ImportError, AttributeError, NotImplementedError):
        raise SystemExit(
            f"this needs torch 2.15 or later, which has these kernels for the CPU; here is {torch.__version__}"
        ) from None

    source = stdlib_random.Random(options.seed)
    compared: Counter[str] = Counter()
    different: Counter[str] = Counter()
    worst: dict[tuple[str, torch.dtype], float] = {}

    def expect_equal(what: str, actual: Tensor, expected: Tensor) -> None:
        compared[what] += expected.numel()
        different[what] += int((actual != expected).sum()) if actual.shape == expected.shape else expected.numel()

    for _ in steps(range(options.cases), "cases"):
        wide = source.random() < 0.8
        seed, offset = (source.getrandbits(64 if wide else 8) for _ in range(2))
        if source.random() < 0.1:
            offset = (-source.randrange(1, 300)) % 2**64
        shape = tuple(source.randrange(1, 12) for _ in range(source.randrange(4)))
        if source.random() < 0.1:
            shape = (source.randrange(1000, 5000),)
        key, data, num = make_key(seed, offset), source.getrandbits(64), source.randrange(1, 40)
        for dtype in FLOATS:
            expect_equal(
                f"uniform {dtype}", random.uniform(key, shape, dtype=dtype), theirs.uniform(key, shape, dtype=dtype)
            )
            expected = theirs.normal(key, shape, dtype=dtype)
            for implementation in ("eager", "NumPy", "tensor operations"):
                error = ulps(normals_by(implementation, key, shape, dtype), expected)
                worst[implementation, dtype] = max(worst.get((implementation, dtype), 0.0), error)
        for dtype in INTEGERS:
            expect_equal("bits, all dtypes", random.bits(key, shape, dtype=dtype), theirs.bits(key, shape, dtype=dtype))
        for implementation in ("NumPy", "tensor operations"):
            expect_equal(
                f"bits, {implementation}", words_by(implementation, key, 4 * num), theirs.bits(key, (4 * num,))
            )
        expect_equal("key", random.key(seed), theirs.key(seed))
        expect_equal("split", random.split(key, num), theirs.split(key, num))
        expect_equal("fold_in", random.fold_in(key, data), theirs.fold_in(key, data))
        low = -source.getrandbits(40)
        high = low + 1 + source.getrandbits(40)
        expect_equal(
            "randint int64",
            random.randint(key, shape, low, high),
            theirs.randint(key, shape, low=low, high=high, dtype=torch.int64),
        )

    print(f"torch {torch.__version__}, {options.cases} cases\n")
    print("| exact | numbers compared | different |\n|---|---|---|")
    for what, count in compared.items():
        print(f"| {what} | {count:,} | {different[what]} |")
    print("\n| normal | implementation | worst difference, ulp |\n|---|---|---|")
    for (implementation, dtype), error in worst.items():
        print(f"| {dtype} | {implementation} | {error:.2f} |")
    if any(different.values()) or max(worst.values()) > ALLOWED_ULPS:
        raise SystemExit("not the same numbers")


if __name__ == "__main__":
    main()
