"""What a version of PyTorch cannot do, so that tests of it are skipped; `make test-versions` runs several versions."""

import pytest
import torch

VERSION = torch.__version__.rpartition(".")[0]  # such as "2.11"

# What is asked for: the versions that cannot do it, and why.
CANNOT = {
    "run DTensors in several threads": ({"2.11"}, "it crashes where it derives the shapes of results"),
    "compile the summed log-prob of a composite": ({"2.11"}, "its compiler fails in tensordict's `set`"),
}

# A pattern of a warning from compiled code: the versions that raise it in Python.
WARNS = {
    # Inductor ignores `contiguous` of a transposed view. On 2.11 to 2.14 it does too, but C++ prints the warning.
    "torch.searchsorted.*non-contiguous": {"2.15"},
}


def need(what: str) -> None:
    """Skip the rest of a test where this version of PyTorch cannot do `what`, a key of `CANNOT`."""
    versions, reason = CANNOT[what]
    if VERSION in versions:
        pytest.skip(f"torch {VERSION} cannot {what}: {reason}")
