"""What batches of steps are compared with: limits from the graph's own shapes."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from benchmarks.stepping.batched import row
from foretoken.models.aaren import FAMILY
from foretoken.models.aaren.config import AarenConfig
from foretoken.models.aaren.model import build


def test_rates_are_held_against_the_tighter_bound():
    seconds = {"torch": 0.4, "slots": 0.2, "sessions": 0.8}
    found = row(16, seconds, {"gemm": 0.1, "bytes": 0.05})
    assert found["steps_per_s"] == pytest.approx({"torch": 40, "slots": 80, "sessions": 20})
    assert found["bound_steps_per_s"] == pytest.approx({"gemm": 160, "bytes": 320})
    assert found["of_tighter_bound"]["slots"] == pytest.approx(0.5)
    assert found["slots_over_torch"] == pytest.approx(2)


def test_bytes_of_a_step_are_weights_once_states_twice_and_what_goes_in_and_out(monkeypatch):
    from benchmarks.stepping import batched

    monkeypatch.setattr(batched, "interleaved", lambda sides, rounds: dict.fromkeys(sides, 1e-3))
    config = AarenConfig(width=8, layers=1, heads=2, mlp=16, window=12, horizon=3)
    module = build(config)
    step = next(g for g in FAMILY.graphs(asdict(config)) if g.name == "step")
    state = sum(a.nbytes for a in FAMILY.predictor(asdict(config), {}).start().values())
    outputs = 4 * 11 * 3 + 8 + 8 + 4  # z, loc, scale, anomaly
    found = batched.limits(module, step, 2048, bandwidth=1.0)
    weights = sum(p.nbytes for p in module.parameters())
    assert found["bytes"] == weights + 2048 * (8 + outputs + 2 * state)
    products = 2 + 4 + 2 + 1  # embedding, layer, gates and head, experts
    assert found["gemm"] == pytest.approx(2 * products * 1e-3)
