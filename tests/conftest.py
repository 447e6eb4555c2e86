"""Fixtures that all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None, max_examples=50)
settings.load_profile("house")

ROOT = Path(__file__).resolve().parent
ALONE = (ROOT / "load", ROOT / "server" / "processes")  # whose tests measure, or fill the machine
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if any(folder in item.path.parents for folder in ALONE):
            item.add_marker("alone")


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no GPU here")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The optional folder of real data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data beside the checkout")
    return SHARED


@pytest.fixture(autouse=True)
def _own_data_dir(tmp_path_factory, monkeypatch):
    """No test touches the user's own data dir."""
    monkeypatch.setenv("FORETOKEN_DATA_DIR", str(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """``published(name)`` is a family of the catalog or a toy, as a published artefact."""
    from tests.published import Published

    return Published(tmp_path_factory.mktemp)


@pytest.fixture(scope="session")
def tiny_lcpfn(published) -> Path:
    """The artefact folder of a published LC-PFN of random weights."""
    return published("lcpfn").files["model.safetensors"].parent
