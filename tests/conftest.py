"""One run of the tests is like another: hypothesis draws its examples from the tests themselves."""

import pytest
from hypothesis import settings

from functional_dists.random import extension
from tests import torch_versions

collect_ignore = ["typing"]  # a program for type checkers alone

settings.register_profile("reproducible", derandomize=True)
settings.load_profile("reproducible")


def pytest_configure(config: pytest.Config) -> None:
    for message, versions in torch_versions.WARNS.items():
        if torch_versions.VERSION in versions:
            config.addinivalue_line("filterwarnings", f"ignore:{message}:UserWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take a minute, for which the other worker would wait at the end."""
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave to PyTorch's operations what compiled kernels do for small batches."""
    monkeypatch.setattr(extension, "kernels", None)
