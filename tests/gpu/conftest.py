"""What needs a GPU; `make test-gpu` runs it."""

import importlib.util
from pathlib import Path

import pytest
import torch


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU: torch.cuda.is_available() is False")


@pytest.fixture(scope="session")
def gpu():
    return torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def single_precision(double_precision):
    """A GPU computes in float32; a test that wants float64 says so."""
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session")
def script():
    """tests/benchmarks/gpu.py as a module: what it calls right is what is tested here."""
    path = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
    spec = importlib.util.spec_from_file_location("benchmarks_gpu", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
