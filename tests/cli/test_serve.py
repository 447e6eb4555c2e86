"""What ``foretoken serve`` prints."""

from __future__ import annotations

import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from foretoken.cli.serve import READY, address_of, ready_text
from foretoken.server.settings import Settings
from tests.serving import serving

LCPFN = {"name": "lcpfn", "version": 3, "task": "curve"}
TABPFN = {"name": "tabpfn", "version": 1, "task": "tabular"}


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1:81"),
        ("0.0.0.0", "127.0.0.1:81"),
        ("::", "[::1]:81"),
        ("fe80::1", "[fe80::1]:81"),
        ("example.org", "example.org:81"),
    ],
)
def test_addresses_are_such_that_this_machine_can_call_them(tmp_path, host, address):
    assert address_of(Settings(data_dir=tmp_path, host=host), 81) == address


def test_it_begins_with_the_line_that_tools_wait_for(tmp_path):
    text = ready_text(Settings(data_dir=tmp_path, workers=2), [LCPFN], 1.234)
    assert text.splitlines()[0] == (
        f"{READY}: gRPC 127.0.0.1:8100, HTTP http://127.0.0.1:8101, workers 2, started in 1.2 s"
    )
    assert "lcpfn:3  (curve)" in text
    assert "--server 127.0.0.1:8100" in text
    assert 'server="127.0.0.1:8100")' in text


def test_no_example_for_what_is_not_served_and_https_with_tls(tmp_path):
    settings = Settings(data_dir=tmp_path, tls_cert=Path("c"), tls_key=Path("k"))
    text = ready_text(settings, [{"name": "mine", "version": 1, "task": "tabular"}], 1.0)
    assert "extrapolate" not in text
    assert "https://127.0.0.1:8101" in text


def test_examples_show_what_the_server_asks_for(tmp_path):
    keys = {"tls_cert": Path("c"), "tls_key": Path("k"), "tls_client_ca": Path("a")}
    settings = Settings(data_dir=tmp_path, require_tokens=True, **keys)
    text = ready_text(settings, [LCPFN], 1.0)
    assert " --ca ca.pem --cert cert.pem --key key.pem extrapolate lcpfn --server" in text
    assert f"tokens create NAME --data-dir {tmp_path})" in text
    assert (
        'Client("127.0.0.1:8100", ca="ca.pem", cert="cert.pem", key="key.pem", token="ftk_...")'
    ) in text


@pytest.mark.parametrize("models", [[LCPFN, TABPFN], [TABPFN]])
def test_examples_show_tables_too(tmp_path, models):
    text = ready_text(Settings(data_dir=tmp_path), models, 1.0)
    assert ("extrapolate lcpfn" in text) == ("CurveExtrapolator" in text) == (LCPFN in models)
    assert "predict tabpfn --server 127.0.0.1:8100 --train table.csv --target kind" in text
    assert 'TabularClassifier("tabpfn", server="127.0.0.1:8100")' in text
    assert max(map(len, text.splitlines()[3:])) <= 120


def test_the_examples_run_as_they_are_shown(tmp_path):
    """Each line of the shell and of Python against a server; the curves' are those of the demo."""
    with serving(data_dir=tmp_path / "data") as server:
        port = int(server.address.rpartition(":")[2])
        lines = ready_text(Settings(data_dir=tmp_path, grpc_port=port), [TABPFN], 1.0).splitlines()
        shell, python = lines.index("Try it in a shell:"), lines.index("or in Python:")
        program = shlex.join([sys.executable, "-c", "from foretoken.cli import main; main()"])
        commands = "\n".join(lines[shell + 1 : python]).replace("  foretoken ", f"{program} ")
        script = textwrap.dedent("\n".join(lines[python + 1 :]))
        for given in (["sh", "-ec", commands], [sys.executable, "-c", script]):
            done = subprocess.run(given, cwd=tmp_path, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert "a" in done.stdout.split("prediction")[-1]


def test_the_command_is_one_that_another_shell_finds(tmp_path, monkeypatch):
    script = tmp_path / "a room" / "foretoken"
    script.parent.mkdir()
    script.touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    settings = Settings(data_dir=tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert f"  '{script}' extrapolate" in ready_text(settings, [LCPFN], 1.0)
    monkeypatch.setenv("PATH", str(script.parent))
    assert "  foretoken extrapolate" in ready_text(settings, [LCPFN], 1.0)
