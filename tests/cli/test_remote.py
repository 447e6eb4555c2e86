"""Commands print the same whether a server answers or this process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.serving import serving

COMMAND = (sys.executable, "-P", "-c", "from foretoken.cli import main; main()")
CURVE = "\n".join(["0.2", "0.4", "0.5", "0.55"])


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        yield running


def run(*arguments, said="", **variables):
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=said,
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "models list",
        "models list lcpfn --json",
        "models show champion@lcpfn --json",
        "models show nobody",
        "models history lcpfn",
        "models verify",
        "models delete lcpfn:1",
        "extrapolate lcpfn --curve {curve}",
        "watch lcpfn --horizon 40 --best 0.6",
        "watch lcpfn --horizon 40 --best 0.99 --json --stop",
        "watch lcpfn --horizon 40 --minimize --bounds 0,0.3",
    ],
)
def test_one_output_either_way(server, tmp_path, command):
    curve = tmp_path / "curve.csv"
    curve.write_text(CURVE)
    words = command.format(curve=curve).split()
    there = run(*words, "--server", server.address, said=CURVE)
    here = run(*words, "--data-dir", server.data_dir, said=CURVE)
    assert there == here
    assert there[1] or there[2].startswith("error: ")


def test_where_the_server_is_said(server):
    expected = run("models", "list", "--server", server.address)
    assert run("--server", server.address, "models", "list") == expected
    assert run("models", "list", FORETOKEN_SERVER=server.address) == expected
    here = run("models", "list", "--data-dir", server.data_dir, FORETOKEN_SERVER="127.0.0.1:1")
    assert here == expected


@pytest.mark.parametrize("command", ["backup out", "models gc", "tokens list", "train lcpfn"])
def test_what_works_here_only_says_so(command):
    status, _, error = run("--server", "127.0.0.1:1", *command.split())
    assert (status, "leave --server out" in error) == (2, True), error


def test_a_server_and_a_data_dir_do_not_go_together(server, tmp_path):
    both = ("--server", server.address, "--data-dir", tmp_path)
    status, _, error = run("models", "list", *both)
    assert (status, "give --server or --data-dir" in error) == (2, True)


def test_lines_that_are_no_observations():
    status, _, error = run("watch", "lcpfn", "--horizon", "9", said="1,0.2\nhalf\n")
    assert (status, "line 2" in error) == (2, True)
