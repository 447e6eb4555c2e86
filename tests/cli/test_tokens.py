"""``foretoken tokens``: a secret is printed once, everything else as often as one likes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import typer

from foretoken.cli import tokens
from foretoken.cli.output import guarded


@pytest.fixture
def call(tmp_path, capsys):
    """``call(*words)`` runs a command; gives status, stdout and stderr."""

    def run(*words):
        status = 0
        try:
            with guarded():
                command = typer.main.get_command(tokens.app)
                command([*map(str, words), "--data-dir", str(tmp_path)], standalone_mode=False)
        except SystemExit as e:
            status = e.code
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def said(call):
    def run(*words):
        status, out, err = call(*words, "--json")
        assert (status, err) == (0, "")
        return json.loads(out)

    return run


def test_a_secret_is_all_that_is_printed_so_that_it_can_be_piped(call):
    status, out, err = call("create", "ci")
    assert (status, err) == (0, "")
    assert out.startswith("ftk_")
    assert len(out) == 4 + 43 + 1
    assert out.strip() not in call("list")[1] + call("list", "--json")[1]


def test_a_token_as_json(said):
    words = ("--scope", "admin", "--scope", "predict", "--tenant", "acme", "--rate", 2.5)
    made = said("create", "ci", *words, "--expires", "12h", "--actor", "ann")
    assert made.pop("token").startswith("ftk_")
    left = datetime.fromisoformat(made["expires"]) - datetime.now(UTC)
    assert timedelta(hours=11, minutes=59) < left < timedelta(hours=12)
    assert made["scopes"] == ["predict", "admin"]
    assert (made["tenant"], made["rate"], made["burst"]) == ("acme", 2.5, 3)
    assert (made["actor"], made["status"]) == ("ann", "valid")
    assert said("list") == [made]
    assert said("revoke", "ci")["status"] == "revoked"
    (listed,) = said("list")
    assert listed["revoked"] is not None
    assert "digest" not in listed


def test_tables_for_people(call):
    assert call("list")[1] == "Tokens: none\n"
    call("create", "ci", "--rate", 5)
    assert "valid" in call("list")[1]
    assert call("revoke", "ci")[1] == "Revoked ci.\n"
    assert "revoked" in call("list")[1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("create", "../x"), "is not a name"),
        (("create", "x", "--scope", "root"), "scopes are one or more of predict, admin"),
        (("create", "x", "--rate", 0), "rate is above 0"),
        (("create", "x", "--rate", "nan"), "rate is above 0"),
        (("create", "x", "--burst", 3), "burst goes with a rate"),
        (("create", "x", "--expires", "soon"), "a duration such as"),
        (("create", "x", "--expires", "0d"), "expires within"),
        (("create", "x", "--expires", "999999999d"), "expires within"),
        (("create", "x", "--tenant", "a/b"), "is not a name"),
        (("create", "taken"), "choose another"),
        (("revoke", "x"), "no token 'x'"),
    ],
)
def test_errors_are_one_line(call, words, says):
    call("create", "taken")
    status, out, err = call(*words)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert says in err
    assert err.count("\n") == 1
