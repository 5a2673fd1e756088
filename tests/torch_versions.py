"""What a version of PyTorch cannot do, so that its tests are skipped; `make test-versions` runs several versions."""

import pytest
import torch

VERSION = torch.__version__.rpartition(".")[0]  # such as "2.11"

# What is asked for: the versions that cannot do it, and why.
CANNOT = {
    "differentiate fake CUDA tensors": ({"2.11"}, "its engine of derivatives asks for the GPU itself"),
}


def need(what: str) -> None:
    """Skip the test where this version of PyTorch cannot do `what`, a key of `CANNOT`."""
    versions, reason = CANNOT[what]
    if VERSION in versions:
        pytest.skip(f"torch {VERSION} cannot {what}: {reason}")
