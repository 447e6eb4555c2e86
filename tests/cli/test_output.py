"""Tables, JSON, and what becomes of an error."""

from __future__ import annotations

import json

import pytest

from foretoken import errors
from foretoken.cli.output import (
    guarded,
    progress,
    show,
    show_record,
    show_table,
    track,
    work,
)


def tree(root):
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


@pytest.mark.parametrize("error", list(tree(errors.ForetokenError)), ids=lambda e: e.__name__)
def test_every_error_of_ours_is_one_line_and_a_status(error, capsys):
    with pytest.raises(SystemExit) as ended, guarded():
        raise error("what was wrong,\n  and [bold]where[/bold]")
    out, err = capsys.readouterr()
    assert ended.value.code == (2 if issubclass(error, errors.CallerError) else 1)
    assert out == ""
    assert err.startswith("error: what was wrong, and [bold]where[/bold]")
    assert err.count("\n") == 1


def test_a_long_message_stays_on_one_line(capsys):
    with pytest.raises(SystemExit), guarded():
        raise errors.InvalidInput("word " * 200)
    assert capsys.readouterr().err.count("\n") == 1


def test_ctrl_c_has_the_status_of_an_interrupt(capsys):
    with pytest.raises(SystemExit) as ended, guarded():
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_other_errors_are_bugs_and_pass(capsys):
    with pytest.raises(ZeroDivisionError), guarded():
        raise ZeroDivisionError
    assert capsys.readouterr().err == ""


ROWS = [
    {"name": "a", "size": 1.23456789, "ok": True, "tags": {"k": "v"}, "of": ["x", 2], "no": None},
    {"name": "[red]", "size": 2.0, "ok": False, "tags": {}, "of": [], "no": None},
]


def test_json_is_what_was_given(capsys):
    show_table(ROWS, title="T", as_json=True, columns=["name"])
    assert json.loads(capsys.readouterr().out) == ROWS
    show_record(ROWS[0], title="T", as_json=True)
    assert json.loads(capsys.readouterr().out) == ROWS[0]
    show("words", as_json=True, done=1)
    assert json.loads(capsys.readouterr().out) == {"done": 1}


def test_tables_are_for_people(capsys):
    show_table(ROWS, title="T", as_json=False)
    out = capsys.readouterr().out
    for text in ("1.23457", "yes", "no", "k: v", "x, 2", "[red]", "-"):
        assert text in out
    show_table(ROWS, title="T", as_json=False, columns=["ok"])
    assert "1.23457" not in capsys.readouterr().out
    show_record(ROWS[0], title="T", as_json=False)
    assert "x" in capsys.readouterr().out
    show("[b]words", as_json=False)
    assert capsys.readouterr().out == "[b]words\n"
    show_table([], title="T", as_json=False)
    assert capsys.readouterr().out == "T: none\n"


def test_progress_stays_off_stdout_and_out_of_pipes(capsys):
    with progress("Copying") as bar:
        bar(0.5)
        bar(1.0)
    assert list(track(range(3), "Counting")) == [0, 1, 2]
    with work("Thinking"):
        pass
    assert capsys.readouterr() == ("", "")
