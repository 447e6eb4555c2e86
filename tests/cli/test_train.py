"""``foretoken train``: what it refuses before it begins, and the picture of a run's log."""

from __future__ import annotations

import pytest
import typer

from foretoken.cli.output import guarded
from foretoken.cli.plot import plot_losses
from foretoken.cli.train import train
from foretoken.errors import InvalidInput

PNG = b"\x89PNG\r\n\x1a\n"
HEADER = "step,minutes,loss,lr,grad_norm,nll_wide_10\n"


@pytest.fixture
def call(capsys):
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(train)

    def run(*words):
        with pytest.raises(SystemExit) as ended, guarded():
            app([*map(str, words)])
        return ended.value.code or 0, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing", "--preset", "nano"), "no model family 'nothing'; there are"),
        (("lcpfn", "--preset", "giant"), "lcpfn has no preset 'giant'; there are nano:"),
        (("lcpfn", "--preset", "nano", "-o", "tails=2"), "unknown options tails; accepted are"),
        (("lcpfn", "--preset", "nano", "-o", "seed=x"), "seed='x' is not a int"),
        (("lcpfn", "--preset", "nano", "-o", "prior=mine"), "accepted are wide, paper"),
        (("lcpfn", "--preset", "nano", "-o", "seed"), "options are NAME=VALUE, not seed"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(call, tmp_path, words, said):
    status, out, err = call(*words, "--out", tmp_path / "run")
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert said in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_preset_must_be_given(call):
    status, _, err = call("lcpfn")
    assert status == 2
    assert "--preset" in err


def test_a_family_that_reads_no_files_says_so(call, tmp_path):
    status, _, err = call("lcpfn", "--preset", "nano", "--csv", tmp_path / "own.csv")
    assert status == 2
    assert "unknown options csv; accepted are" in err


def test_series_of_ones_own_are_learned_without_naming_a_preset(call, tmp_path):
    """Down to the file, which is not there."""
    words = ("aaren", "--csv", tmp_path / "own.csv", "--target", "y", "--out", tmp_path / "run")
    status, _, err = call(*words)
    assert status != 0
    assert f"no file {tmp_path / 'own.csv'}" in err
    status, _, err = call("aaren", "--target", "y", "--out", tmp_path / "run")
    assert status == 2
    assert "target without csv" in err


def test_the_losses_of_a_run_are_drawn(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text(HEADER)
    plot_losses(tmp_path / "empty.png", log)
    log.write_text(HEADER + "1,0.1,2.5,0.001,1,\n2,0.2,1.5,0.001,1,1.75\n3,0.3,1.2,0.001,1,1.5\n")
    plot_losses(tmp_path / "loss.png", log)
    pictures = [(tmp_path / name).read_bytes() for name in ("empty.png", "loss.png")]
    assert all(picture.startswith(PNG) for picture in pictures)
    assert len(pictures[1]) > 1.2 * len(pictures[0]), "two lines and a legend more"


def test_a_log_without_a_line_is_drawn_empty(tmp_path):
    (tmp_path / "log.csv").write_text("")
    plot_losses(tmp_path / "loss.png", tmp_path / "log.csv")
    assert (tmp_path / "loss.png").read_bytes().startswith(PNG)


def test_a_picture_of_another_kind_is_refused(tmp_path):
    (tmp_path / "log.csv").write_text(HEADER)
    with pytest.raises(InvalidInput, match=r"\.png"):
        plot_losses(tmp_path / "loss.xyz", tmp_path / "log.csv")
