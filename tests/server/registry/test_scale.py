"""Listing and resolving stay quick in a large catalogue."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SHAPES = ["one model", "one version each"]


@pytest.mark.parametrize(
    ("versions", "questions"),
    [
        (2000, 10),
        pytest.param(100_000, 100, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_a_page_and_a_reference_take_under_50_ms(tmp_path, versions, questions):
    out = tmp_path / "registry.json"
    command = ["-m", "benchmarks.registry", "--out", str(out)]
    command += ["--versions", str(versions), "--questions", str(questions)]
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(out.read_text())
    assert result["worst_median_ms"] < 50
    assert sorted(result["shapes"]) == SHAPES
    for asked in result["shapes"].values():
        assert len(asked) == 6
        for question, sides in asked.items():
            if versions == 100_000:
                assert sides["registry"]["median_ms"] < sides["json file"]["median_ms"] / 10, (
                    question
                )
