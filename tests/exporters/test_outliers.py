"""Input channels that are far larger than the others: found on examples, multiplied in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from foretoken.exporters.calibrate import outliers
from foretoken.exporters.onnx import export
from foretoken.exporters.quantize import quantize
from foretoken.models.artefact import WEIGHTS
from foretoken.server.runtimes.onnx import OnnxRuntime
from tests.exporters.single import Single, saved

HUGE = (5, 41)


class _Outlying(nn.Module):
    """Three products of one input, of whose 64 channels two are large; one has a bias.

    Args:
        count: of outliers that are to be found.
        flat: whether rows lie along one axis, so that products are Gemms.
    """

    def __init__(self, count: int, *, flat: bool) -> None:
        super().__init__()
        if count:
            self.outliers = count
        self.flat = flat
        self.wide = nn.Linear(8, 64)
        self.a, self.b = nn.Linear(64, 24), nn.Linear(64, 24, bias=False)
        self.c, self.last = nn.Linear(64, 24), nn.Linear(24, 8)
        with torch.no_grad():
            self.wide.weight[list(HUGE)] *= 60

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, N, _ = x.shape
        h = self.wide(x.view(B * N, 8) if self.flat else x)
        y = self.last(self.a(h) + self.b(h) + torch.tanh(self.c(h)))
        return y.view(B, N, 8) if self.flat else y


def versions(tmp_path, count, *, flat):
    family = Single(lambda: _Outlying(count, flat=flat))
    artefact = export(saved(family, tmp_path), family, tmp_path)
    (tmp_path / "int8").mkdir()
    return family, artefact, quantize(artefact, family, tmp_path / "int8")


def errors(family, artefact, child):
    before, after = (OnnxRuntime().load(a, family, 1) for a in (artefact, child))
    for example in family.examples({}, "forward"):
        wanted, got = (each.run("forward", example)["y"] for each in (before, after))
        yield np.abs(got - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize("flat", [False, True])
def test_the_others_keep_their_digits(tmp_path, flat):
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    family, artefact, child = versions(tmp_path / "with", 2, flat=flat)
    found = outliers(artefact, family)
    assert found.keys() == {"a.weight", "b.weight", "c.weight"}  # the others are too narrow
    assert all(tuple(channels) == HUGE for channels in found.values())
    plain = versions(tmp_path / "without", 0, flat=flat)
    assert max(errors(family, artefact, child)) < 0.25 * max(errors(*plain))


def test_what_is_stored(tmp_path):
    _, artefact, child = versions(tmp_path, 2, flat=True)
    before, after = load_file(artefact.files[WEIGHTS]), load_file(child.files[WEIGHTS])
    parts = {"rest.int8", "rest.scale", "exact"}
    own = {f"{name}.weight.{part}" for name in "abc" for part in parts}
    (owner,) = (name for name in "abc" if f"{name}.weight.kept" in after)
    shared = {f"{owner}.weight.{part}" for part in ("kept", "channels")}
    assert set(after) - set(before) == {*own, *shared}
    assert np.flatnonzero(after[f"{owner}.weight.kept"] == 0).tolist() == list(HUGE)
    for name in "abc":
        matrix = before[f"{name}.weight"].T
        np.testing.assert_array_equal(after[f"{name}.weight.exact"], matrix[list(HUGE)])
        assert not after[f"{name}.weight.rest.int8"][list(HUGE)].any()
    assert sorted(child.export["forward"]["weights"]) == child.export["forward"]["weights"]


def test_a_module_that_says_nothing_is_not_run(tmp_path):
    class Alone(_Outlying):
        def forward(self, x):
            raise AssertionError("run")

    family = Single(lambda: Alone(0, flat=False))
    assert outliers(saved(family, tmp_path), family) == {}


@pytest.mark.parametrize("flat", [False, True])
def test_a_row_does_not_depend_on_its_company(tmp_path, flat):
    family, _, child = versions(tmp_path, 2, flat=flat)
    executable = OnnxRuntime().load(child, family, 1)
    for example in family.examples({}, "forward"):
        together = executable.run("forward", example)["y"]
        for i, x in enumerate(example["x"]):
            alone = executable.run("forward", {"x": x[None]})["y"]
            np.testing.assert_allclose(together[i : i + 1], alone, rtol=1e-5, atol=1e-5)
