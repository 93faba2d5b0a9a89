"""What tests share: where recorded data lies, and small sites to work on."""

import os
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `icctwin` itself does, and before numpy is loaded

import pytest
from hypothesis import settings

# What passed passes again: the suite looks at the same examples each time. New ones are for `make search`.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.register_profile("search", derandomize=False, deadline=None, print_blob=True)
settings.load_profile("suite")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recorded data beside the checkout; the test is skipped where it is missing."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"recorded data is not at {folder}")
    return folder


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The project's own small recorded files."""
    return ROOT / "fixtures"
