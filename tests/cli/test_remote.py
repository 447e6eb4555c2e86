"""Commands print the same whether a server answers or this process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import trustme

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


def test_a_server_that_asks_for_certificates_and_tokens(tmp_path):
    authority, files = trustme.CA(), {}
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, issued in (
        ("server", authority.issue_cert("localhost", "127.0.0.1")),
        ("client", authority.issue_cert("client@example.org")),
    ):
        files[name] = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(files[name][0])
        issued.private_key_pem.write_to_path(files[name][1])
    (cert, key), ca = files["server"], tmp_path / "ca.pem"
    options = ("--tls-cert", cert, "--tls-key", key, "--tls-client-ca", ca, "--require-tokens")
    with serving(*map(str, options)) as server:
        status, token, error = run("tokens", "create", "me", "--data-dir", server.data_dir)
        assert status == 0, error
        cert, key = files["client"]
        own = {"FORETOKEN_CERT": str(cert), "FORETOKEN_KEY": str(key)}
        asked = ("models", "list", "--server", server.address)
        shown = run("--ca", ca, *asked, FORETOKEN_TOKEN=token.strip(), **own)
        assert (shown[0], "lcpfn" in shown[1]) == (0, True), shown
        by_options = run(
            "--ca", ca, "--cert", cert, "--key", key, *asked, FORETOKEN_TOKEN=token.strip()
        )
        assert by_options == shown
        assert "no valid token" in run("--ca", ca, *asked, **own)[2]
        status, _, error = run("--ca", ca, "--cert", cert, *asked)
        assert (status, "cert and key go together" in error) == (2, True), error
