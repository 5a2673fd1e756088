"""`python -m functional_dists` prints what is installed: versions, the extension, devices, and the families."""

import platform
import textwrap
from collections.abc import Iterator
from importlib import metadata
from types import ModuleType
from typing import Any

import torch

import functional_dists
from functional_dists.family import verbs
from functional_dists.random.extension import kernels


def families() -> dict[str, Any]:
    """Return the families that the package exports, by name."""
    exported = {name: getattr(functional_dists, name) for name in functional_dists.__all__}
    is_class = {name: isinstance(value, type) for name, value in exported.items()}
    return {name: value for name, value in exported.items() if hasattr(value, "Params") and not is_class[name]}


def devices() -> list[str]:
    """Return the devices that PyTorch can use, with the names of the GPUs."""
    gpus = [f"cuda:{index} {torch.cuda.get_device_name(index)}" for index in range(torch.cuda.device_count())]
    return [f"cpu, {torch.get_num_threads()} threads", *gpus, *["mps"] * torch.backends.mps.is_available()]


def lines() -> Iterator[str]:
    """Yield the report, line by line."""
    packages = {"torch": torch.__version__, **{name: metadata.version(name) for name in ("optree", "numpy")}}
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    yield f"functional_dists {functional_dists.__version__}"
    yield f"versions   Python {platform.python_version()}, {versions}"
    yield f"extension  {'compiled' if isinstance(kernels, ModuleType) else 'absent: PyTorch operations do the work'}"
    yield f"devices    {'; '.join(devices())}"
    names = {name: list(verbs(family)) for name, family in families().items()}
    common = [verb for verb in next(iter(names.values())) if all(verb in found for found in names.values())]
    yield from ("", *_row("all families", "", common))
    for name, family in families().items():
        own = [verb for verb in names[name] if verb not in common]
        yield from _row(name, ", ".join(family.Params._fields), own)


def _row(name: str, parameters: str, found: list[str]) -> list[str]:
    start = f"{name:<27}{parameters:<25}"
    return textwrap.wrap(" ".join(found) or "-", 118, initial_indent=start, subsequent_indent=" " * len(start))


if __name__ == "__main__":
    print("\n".join(lines()))
