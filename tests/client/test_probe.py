"""The probe: exits by whether a server serves, and says so."""

from __future__ import annotations

import subprocess
import sys

import pytest

from foretoken.client import probe


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ((), 0, "serving"),
        (("--model", "lcpfn"), 0, "serving"),
        (("--model", "absent"), 1, "not serving: no model 'absent'"),
    ],
)
def test_it_tells_whether_a_server_or_a_model_serves(server, capsys, asked, status, said):
    assert probe.main(["--server", server.address, *asked]) == status
    assert capsys.readouterr().err.startswith(said)


def test_nobody_there_is_not_serving_within_the_time_it_is_given():
    done = subprocess.run(
        [sys.executable, "-m", probe.__name__, "--server=localhost:1", "--timeout=1"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (1, "not serving")


def test_options_that_do_not_go_together_are_refused(capsys):
    assert probe.main(["--cert", "a.pem"]) == 1
    assert "not serving: " in capsys.readouterr().err
