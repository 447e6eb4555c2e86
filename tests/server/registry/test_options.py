"""Serving options: checked, stored with the version, overridden by model."""

from __future__ import annotations

import pytest

from foretoken.errors import InvalidInput, NotFound
from foretoken.server.registry.options import ServingOptions


def test_options_come_back_as_they_were_said():
    said = {"threads": 4, "runtime": "onnx"}
    options = ServingOptions.parse(said)
    assert options.said() == said
    assert options.batch_tokens is None
    assert ServingOptions.parse({}).said() == {}


@pytest.mark.parametrize(
    "said",
    [
        {"thread": 1},
        {"threads": 0},
        {"threads": "4"},
        {"threads": 1.5},
        {"threads": True},
        {"batch_tokens": 0},
        {"batch_tokens": -1},
        {"batch_tokens": float("nan")},
        {"batch_tokens": float("inf")},
        {"runtime": "tensorflow"},
    ],
)
def test_what_is_wrong_is_named(said):
    with pytest.raises(InvalidInput, match=next(iter(said))):
        ServingOptions.parse(said)


def test_options_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        ServingOptions().threads = 3  # type: ignore[misc]


def test_a_models_options_go_over_the_versions_own(registry, make_artefact):
    one = registry.register("m", make_artefact(serving={"threads": 2, "runtime": "onnx"}))
    two = registry.register("m", make_artefact(serving={}))
    assert registry.serving_options(one).said() == {"threads": 2, "runtime": "onnx"}
    assert registry.options("m").said() == {}
    registry.set_options("m", ServingOptions(threads=8, batch_tokens=100), actor="ann")
    assert registry.options("m").said() == {"threads": 8, "batch_tokens": 100}
    over = {"threads": 8, "runtime": "onnx", "batch_tokens": 100}
    assert registry.serving_options(one).said() == over
    assert registry.serving_options(two).said() == {"threads": 8, "batch_tokens": 100}
    registry.set_options("m", ServingOptions(runtime="torch"))
    assert registry.serving_options(one).said() == {"threads": 2, "runtime": "torch"}
    registry.set_options("m", ServingOptions())
    assert registry.serving_options(one).said() == {"threads": 2, "runtime": "onnx"}


def test_options_of_a_model_that_is_not_there(registry):
    with pytest.raises(NotFound):
        registry.options("m")
    with pytest.raises(NotFound):
        registry.set_options("m", ServingOptions(threads=1))
