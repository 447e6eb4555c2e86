"""``foretoken extrapolate`` and ``foretoken early-stop``, as a user calls them."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import typer

from foretoken import CurveExtrapolator
from foretoken.cli import early_stop, extrapolate
from foretoken.cli.output import guarded
from foretoken.models.artefact import Artefact
from foretoken.server.registry.registry import Registry

STEPS = np.arange(10.0, 210, 10)
VALUES = 0.9 - 0.7 * np.exp(-STEPS / 60)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, tiny_lcpfn):
    folder = tmp_path_factory.mktemp("curves")
    with Registry.open(folder) as registry:
        registry.register("tiny", Artefact.read(tiny_lcpfn))
    return folder


@pytest.fixture
def call(data_dir, capsys):
    """Run a command line on the data dir; exit status, stdout and stderr."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("extrapolate")(extrapolate.extrapolate)
    app.command("early-stop")(early_stop.early_stop)

    def run(*words):
        with pytest.raises(SystemExit) as ended, guarded():
            app([*map(str, words), "--data-dir", str(data_dir)])
        return ended.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def said(call):
    """Run a command line with ``--json`` that must succeed; what it says."""

    def run(*words):
        status, out, err = call(*words, "--json")
        assert (status, err) == (0, "")
        return json.loads(out)

    return run


@pytest.fixture
def refused(call):
    """Run a command line that must be refused in one line; that line."""

    def run(*words):
        status, out, err = call(*words)
        assert (status, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err

    return run


def _write(path, steps, values):
    rows = "".join(f"{s!r},{v!r}\n" for s, v in zip(steps, values, strict=True))
    path.write_text("step,value\n" + rows)
    return path


@pytest.fixture
def curve(tmp_path):
    return _write(tmp_path / "curve.csv", STEPS.tolist(), VALUES.tolist())


@pytest.fixture
def sweep(tmp_path):
    """Three runs: the second begins above where the others end, and the third ends lowest."""
    folder = tmp_path / "sweep"
    folder.mkdir()
    for name, values in (("a", 0.5 * VALUES), ("b", 0.6 + 0.3 * VALUES), ("c", 0.2 * VALUES)):
        _write(folder / f"{name}.csv", STEPS.tolist(), values.tolist())
    return folder


def test_a_curve_is_extrapolated_as_in_a_notebook(said, curve, data_dir):
    rows = said("extrapolate", "tiny", "--curve", curve)
    expected = CurveExtrapolator("tiny", data_dir=data_dir).extrapolate(VALUES, STEPS)
    assert list(rows[0]) == ["step", "mean", "q0.05", "q0.5", "q0.95"]
    assert [row["step"] for row in rows] == expected.steps.tolist()
    np.testing.assert_allclose([row["mean"] for row in rows], expected.mean, atol=1e-6)
    np.testing.assert_allclose([row["q0.95"] for row in rows], expected.quantiles[2], atol=1e-6)


def test_the_table_for_people_is_short(call, curve):
    status, out, _ = call("extrapolate", "tiny", "--curve", curve, "--rows", 3)
    assert status == 0
    assert "curve.csv: 20 points seen" in out
    for step in ("210", "610", "1000"):
        assert step in out
    assert " 220 " not in out


def test_the_rest_of_a_curve_is_asked_for_when_only_a_part_is_shown(said, curve):
    rows = said("extrapolate", "tiny", "--curve", curve, "--seen", 5, "--quantiles", "0.25")
    assert [row["step"] for row in rows] == STEPS[5:].tolist()
    assert list(rows[0]) == ["step", "mean", "q0.25"]


@pytest.mark.parametrize(
    ("horizon", "count"), [(230, 3), (200.5, 1), (10_200, 1000), (1e12, 1000), (1e308, 1000)]
)
def test_a_horizon_is_reached_at_the_curves_spacing(said, curve, horizon, count):
    steps = [
        row["step"] for row in said("extrapolate", "tiny", "--curve", curve, "--horizon", horizon)
    ]
    assert len(steps) == count
    assert steps[-1] == pytest.approx(horizon)
    np.testing.assert_allclose(np.diff([200, *steps]), (horizon - 200) / count)


def test_the_table_is_written_and_the_picture_drawn(said, curve, tmp_path):
    out, plot = tmp_path / "to" / "out.csv", tmp_path / "to" / "out.png"
    words = ("extrapolate", "tiny", "--curve", curve, "--seen", 5, "--out", out, "--plot", plot)
    rows = said(*words)
    table = np.genfromtxt(out, delimiter=",", names=True, deletechars="")
    assert list(table.dtype.names) == list(rows[0])
    for name in rows[0]:
        np.testing.assert_allclose(table[name], [row[name] for row in rows], rtol=1e-10)
    assert plot.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert plot.stat().st_size > 10_000
    assert sorted(p.name for p in plot.parent.iterdir()) == ["out.csv", "out.png"]


def test_a_loss_without_an_upper_bound(said, tmp_path):
    path = _write(tmp_path / "loss.csv", STEPS.tolist(), (10 * (1 - VALUES)).tolist())
    words = ("extrapolate", "tiny", "--curve", path, "--minimize", "--bounds", "0,inf")
    for more in ((), ("--soft-bounds", "0.5,12")):
        rows = said(*words, *more)
        assert all(np.isfinite(list(row.values())).all() for row in rows)
        assert all(0 <= row["q0.05"] <= row["q0.5"] <= row["q0.95"] for row in rows)


def test_a_metric_without_bounds(said, tmp_path):
    path = _write(tmp_path / "elbo.csv", STEPS.tolist(), (100 * VALUES - 90).tolist())
    rows = said("extrapolate", "tiny", "--curve", path, "--bounds", "-inf,inf")
    assert all(np.isfinite(list(row.values())).all() for row in rows)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--horizon", "inf"), "--horizon must be finite"),
        (("--horizon", "nan"), "--horizon must be finite"),
        (("--horizon", "200"), "after the last step seen, 200"),
        (("--seen", "20"), "--seen 20 leaves nothing of the curve's 20 points"),
        (("--quantiles", "a"), "--quantiles takes numbers"),
        (("--quantiles", "1"), "strictly between 0 and 1"),
        (("--bounds", "0"), "--bounds takes LOW,HIGH"),
        (("--bounds", "1,0"), "with LOW below HIGH"),
        (("--bounds", "nan,1"), "with LOW below HIGH"),
        (("--bounds", "0,0.5"), "outside bounds [0, 0.5]"),
        (("--soft-bounds", "0,2"), "within the bounds"),
        (("--plot", "out.xyz"), "must end in one of .png, .svg, .pdf"),
        (("--plot", "."), "is a folder"),
        (("--out", "."), "is a folder"),
    ],
)
def test_bad_options_are_refused_in_one_line(refused, curve, words, text):
    assert text in refused("extrapolate", "tiny", "--curve", curve, *words)


@pytest.mark.parametrize("words", [("--seen", 0), ("--rows", 1), ("--horizon", "far")])
def test_options_out_of_range_are_refused(call, curve, words):
    status, out, err = call("extrapolate", "tiny", "--curve", curve, *words)
    assert (status, out) == (2, "")
    assert words[0] in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("step,value\n1,0.5\n1,0.6\n", "entry 1 (1) is duplicate"),
        ("step,value\n2,0.5\n1,0.6\n", "out of order"),
        ("step,value\nnan,0.5\n1,0.6\n", "finite"),
        ("step,value\n1,0.5\n2,inf\n", "values must be finite"),
        ("epoch,value\n1,0.5\n", "columns epoch, value"),
        ("", "empty"),
    ],
)
def test_a_bad_curve_is_refused_with_its_name(refused, tmp_path, text, said):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    err = refused("extrapolate", "tiny", "--curve", path, "--horizon", 50)
    assert said in err
    assert "bad.csv" in err


def test_what_is_not_there_is_named(refused, curve, tmp_path):
    assert "nowhere.csv" in refused("extrapolate", "tiny", "--curve", tmp_path / "nowhere.csv")
    assert "'nothing'" in refused("extrapolate", "nothing", "--curve", curve)


def test_a_sweep_is_replayed_rule_by_rule_and_run_by_run(said, call, sweep):
    words = ("early-stop", sweep, "--model", "tiny", "--orders", 4, "--threshold", 0.99)
    told = said(*words)
    assert [row["rule"] for row in told["rules"]] == ["predictive at 0.99", "median"]
    assert [row["run"] for row in told["runs"]] == ["a", "b", "c"]
    a, b, c = told["runs"]
    assert [row["points"] for row in told["runs"]] == [20, 20, 20]
    assert (b["stopped_share"], b["median_points_seen"]) == (0, 20), "it is ahead from the start"
    # At so high a threshold whatever is behind the best stops at its first check, at two points.
    orders = [np.random.default_rng((0, i)).permutation(3).tolist() for i in range(4)]
    assert c["stopped_share"] == np.mean([order[0] != 2 for order in orders])
    assert a["stopped_share"] == np.mean([order.index(1) < order.index(0) for order in orders])
    assert c["median_points_seen"] == np.median([20 if order[0] == 2 else 2 for order in orders])
    assert told["rules"][0]["speedup"] > 1
    status, out, _ = call(*words)
    assert status == 0
    assert "3 runs in 4 orders" in out
    assert "Each run under predictive at 0.99" in out
    assert said(*words) == told, "the same orders again"


def test_a_sweep_of_losses_with_soft_bounds(said, tmp_path):
    for name, scale in (("a", 5.0), ("b", 9.0)):
        _write(tmp_path / f"{name}.csv", STEPS.tolist(), (scale * (1 - VALUES)).tolist())
    words = ("early-stop", tmp_path, "--model", "tiny", "--orders", 2, "--minimize")
    told = said(*words, "--bounds", "0,inf", "--soft-bounds", "0.1,10")
    assert told["rules"][0]["worst_regret"] == 0
    assert told["runs"][0]["stopped_share"] == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("step,value\n1,0.5\n2,high\n", "line 3"),
        ("step,value\n1,0.5\n1,0.6\n", "duplicate"),
        ("step,value\n1,0.5\n2,1.6\n", "outside bounds"),
        ("step,value\n0,0.5\n", "'bad' must end at a step after 0"),
    ],
)
def test_a_bad_file_of_a_sweep_is_named(refused, sweep, text, said):
    (sweep / "bad.csv").write_text(text)
    err = refused("early-stop", sweep, "--model", "tiny")
    assert said in err
    assert "bad" in err


def test_a_sweep_that_cannot_be_replayed(refused, sweep, tmp_path):
    for threshold in ("0", "1", "nan"):
        err = refused("early-stop", sweep, "--model", "nothing", "--threshold", threshold)
        assert "threshold must lie within (0, 1)" in err, "before a model is looked for"
    assert "no folder" in refused("early-stop", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "holds 0 CSV files" in refused("early-stop", tmp_path / "empty")
    assert "'nothing'" in refused("early-stop", sweep, "--model", "nothing")


def test_runs_too_short_to_judge_all_end(said, tmp_path):
    for name in "ab":
        _write(tmp_path / f"{name}.csv", [1.0, 2.0], [0.5, 0.6])
    told = said("early-stop", tmp_path, "--model", "tiny")
    assert [row["stopped_share"] for row in told["runs"]] == [0, 0]
    assert told["rules"][0]["speedup"] == 1


def test_only_drawing_needs_matplotlib():
    code = "import sys, foretoken.cli.app; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
