"""Write the stored answers: `python -m tests.accuracy.generate` (about a minute; needs mpmath and NumPy only)."""

import argparse
import time

import numpy as np

from . import grids, reference, stored


def generate(dtype: str) -> dict[str, np.ndarray]:
    archive: dict[str, np.ndarray] = {}
    for number, (name, grid) in enumerate(grids.GRIDS.items(), 1):
        start = time.perf_counter()
        inputs = grid(stored.DTYPES[dtype])
        hi, lo = stored.solve_all(name, inputs)
        archive[stored.grid_key(name)] = inputs
        archive[f"{name}/hi"] = hi
        if dtype == "float64":  # for float32 the high part alone is already 29 bits finer than an ulp
            archive[f"{name}/lo"] = lo
        took = time.perf_counter() - start
        print(f"{dtype} [{number}/{len(grids.GRIDS)}] {name}: {len(inputs)} cases, {took:.1f} s", flush=True)
    return archive


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=list(stored.DTYPES), action="append", help="only this dtype (repeatable)")
    for dtype in parser.parse_args().dtype or stored.DTYPES:
        np.savez_compressed(stored.path(dtype), **generate(dtype))
        reference.tanh_moments.cache_clear()
        print(f"wrote {stored.path(dtype).name}: {stored.path(dtype).stat().st_size / 1e6:.2f} MB", flush=True)


if __name__ == "__main__":
    main()
