"""Small random TabPFNs, run by their modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from foretoken.models.catalog import family
from foretoken.models.contract import Arrays, Steps
from foretoken.models.tabpfn.encoding import COLUMNS, SCORES
from foretoken.models.tabpfn.predict import TabularPredictor
from foretoken.server.engine.drive import alone


class Model:
    """A module and its predictor; ``calls`` counts calls by graph."""

    def __init__(self, config: Mapping[str, Any], module: torch.nn.Module) -> None:
        self.config, self.module = config, module.eval()
        self.graphs = {g.name: g for g in family("tabpfn").graphs(config)}
        self.predictor = TabularPredictor(config)
        self.calls: list[tuple[str, tuple[int, ...]]] = []

    def run(self, graph: str, inputs: Arrays) -> dict[str, np.ndarray]:
        declared = self.graphs[graph]
        self.calls.append((graph, inputs["x"].shape))
        given = [torch.tensor(inputs[t.name]) for t in (*declared.inputs, *declared.reads)]
        with torch.inference_mode():
            made = getattr(self.module, graph)(*given)
        outputs = (made,) if isinstance(made, torch.Tensor) else made
        names = [t.name for t in (*declared.outputs, *declared.writes)]
        return {n: o.numpy() for n, o in zip(names, outputs, strict=True)}

    def __call__(self, *steps: Steps) -> Any:
        replies = alone(steps, self.graphs, self.run, budget=1 << 20)
        return replies[0] if len(replies) == 1 else replies

    def predict(self, request: Any, state: Any = None) -> Any:
        return self(self.predictor.predict(request, state))

    def fit(self, request: Any) -> Any:
        return self(self.predictor.fit(request))


@pytest.fixture(scope="session")
def small():
    """``small(**changes)`` is the small configuration with random weights."""

    def made(**changes: Any) -> Model:
        config = {**family("tabpfn").small, **changes}
        torch.manual_seed(0)
        module = family("tabpfn").module(config)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
        return Model(config, module)

    return made


@pytest.fixture
def model(small):
    return small()


@pytest.fixture(params=[("v1", 100), ("ordered", SCORES + COLUMNS)], ids=["v1", "ordered"])
def either(small, request):
    """A model of each pipeline."""
    name, features = request.param
    return small(pipeline=name, features=features)


@pytest.fixture(scope="session")
def v1(shared_data):
    """What the authors' code answered with random weights."""
    return np.load(shared_data / "parity/tabpfn_v1_small_random.npz")


@pytest.fixture(scope="session")
def checkpoint(v1):
    """The state dict of those weights."""
    return {n.removeprefix("sd/"): torch.tensor(v1[n]) for n in v1.files if n.startswith("sd/")}
