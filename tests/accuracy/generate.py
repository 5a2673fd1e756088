"""Write the stored answers: `python -m tests.accuracy.generate [--only family.verb]` (about a minute in all).

It needs mpmath, NumPy and tqdm only.
"""

import argparse
import time

import numpy as np
from tqdm import tqdm

from . import grids, reference, stored


def generate(dtype: str, only: list[str] | None) -> dict[str, np.ndarray]:
    """The whole archive; where only some verbs are asked for, the others' entries are those stored."""
    archive = dict(stored.read(dtype)) if only else {}
    names = [name for name in grids.GRIDS if not only or name in only]
    bar = tqdm(names, dtype, unit=" verbs", disable=None)
    for number, name in enumerate(bar, 1):
        start = time.perf_counter()
        inputs = grids.GRIDS[name](stored.DTYPES[dtype])
        hi, lo = stored.solve_all(name, inputs)
        archive[stored.grid_key(name)] = inputs
        archive[f"{name}/hi"] = hi
        if dtype == "float64":  # for float32 the high part alone is already 29 bits finer than an ulp
            archive[f"{name}/lo"] = lo
        took = time.perf_counter() - start
        with tqdm.external_write_mode():
            print(f"{dtype} [{number}/{len(names)}] {name}: {len(inputs)} cases, {took:.1f} s", flush=True)
    return archive


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=list(stored.DTYPES), action="append", help="only this dtype (repeatable)")
    parser.add_argument("--only", choices=list(grids.GRIDS), action="append", help="only this verb (repeatable)")
    options = parser.parse_args()
    for dtype in options.dtype or stored.DTYPES:
        np.savez_compressed(stored.path(dtype), **generate(dtype, options.only))
        reference.tanh_moments.cache_clear()
        print(f"wrote {stored.path(dtype).name}: {stored.path(dtype).stat().st_size / 1e6:.2f} MB", flush=True)


if __name__ == "__main__":
    main()
