"""The stored answers: one file per dtype, holding the inputs of each grid and the exact answers as pairs hi + lo.

The pair carries about 77 bits, so that a result can be measured in fractions of a float64 ulp; the low part is
rounded to single precision, which lets the file compress.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import grids, reference

DTYPES = {"float32": np.float32, "float64": np.float64}


class Exact(NamedTuple):
    """An exact number to twice double precision; answers beyond the doubles are stored as 0 or infinity."""

    hi: NDArray[np.float64]
    lo: NDArray[np.float64]


class Cases(NamedTuple):
    inputs: dict[str, NDArray[np.floating]]
    answers: dict[str, Exact]


def path(dtype: str) -> Path:
    return Path(__file__).with_name(f"reference_{dtype}.npz")


def grid_key(name: str) -> str:
    """Verbs on the same grid share its stored inputs."""
    return f"inputs/{grids.GRIDS[name].__name__}"


def split(number) -> tuple[float, float]:
    """hi + lo of an mpf; lo is kept to 24 bits."""
    hi = float(number)
    mantissa, exponent = np.frexp(float(number - reference.mp.mpf(hi))) if np.isfinite(hi) else (0.0, 0)
    return hi, float(np.ldexp(np.float64(np.float32(mantissa)), exponent))


def solve_all(name: str, inputs: NDArray[np.floating]) -> NDArray[np.float64]:
    """Exact answers of shape (2, cases, outputs): hi, then lo."""
    answers = [reference.solve(name, [float(number) for number in row]) for row in inputs]
    pairs = [[split(answer[output]) for output in output_names(name)] for answer in answers]
    return np.moveaxis(np.asarray(pairs), -1, 0)


def output_names(name: str) -> list[str]:
    return ["value", *reference.differentiable(name), *reference.extras(name)]


@cache
def read(dtype: str) -> dict[str, NDArray[np.floating]]:
    with np.load(path(dtype)) as archive:
        return dict(archive)


def cases(name: str, dtype: str) -> Cases:
    archive = read(dtype)
    inputs, (hi, lo) = archive[grid_key(name)], (archive[f"{name}/hi"], archive.get(f"{name}/lo"))
    lo = np.zeros_like(hi) if lo is None else lo
    columns = dict(zip(reference.REFERENCES[name][0], inputs.T, strict=True))
    answers = {output: Exact(hi[:, i], lo[:, i]) for i, output in enumerate(output_names(name))}
    return Cases(columns, answers)
