"""Fixtures that all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None, max_examples=50)
settings.load_profile("house")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


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
def tiny_lcpfn(tmp_path_factory) -> Path:
    """A published LC-PFN of random weights: an artefact folder with its ONNX graph."""
    import torch
    from safetensors.torch import save_file

    from foretoken.models.artefact import WEIGHTS, Artefact
    from foretoken.models.catalog import family
    from foretoken.server.publish import publish

    config = {"width": 32, "layers": 2, "heads": 2, "mlp": 48, "bars": 50, "norm_first": True}
    config["frame"] = "observed"
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    module = family("lcpfn").module(config)
    for parameter in module.parameters():  # residual branches start at zero: give them a say
        torch.nn.init.normal_(parameter, std=0.2)
    save_file(module.state_dict(), folder / WEIGHTS)
    Artefact("lcpfn", config, {}).write(folder)
    publish(Artefact.read(folder), folder / "published")
    return folder / "published"


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """``published(name)`` is a family of the catalog or a toy, as a published artefact."""
    from tests.published import Published

    return Published(tmp_path_factory.mktemp)
