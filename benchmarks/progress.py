"""A progress bar in a terminal, on its error output, and the rows of a report beside it on the output."""

from collections.abc import Collection, Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def steps(items: Collection[T], unit: str) -> Iterable[T]:
    """Return the items, with a bar that counts them; without a terminal there is no bar."""
    return tqdm(items, unit=f" {unit}", disable=None)


def say(text: str) -> None:
    """Print a row above the bar."""
    with tqdm.external_write_mode():
        print(text, flush=True)
