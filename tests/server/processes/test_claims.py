"""Data dirs and ports that one server has to itself."""

from __future__ import annotations

import socket

import pytest

from foretoken.errors import InvalidInput, Unavailable
from foretoken.server.metrics.shares import Share
from foretoken.server.processes.claims import METRICS, claimed
from foretoken.server.settings import Settings


def settings(folder, **given) -> Settings:
    return Settings(**{"data_dir": folder, "grpc_port": 0, "http_port": 0} | given)


def refused(wanted: Settings, said: str) -> None:
    with pytest.raises((InvalidInput, Unavailable), match=said), claimed(wanted):
        pass


def test_free_ports_and_a_new_run_folder(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "left").touch()
    with claimed(settings(tmp_path)) as (own, run):
        assert 0 < own.grpc_port != own.http_port > 0
        assert [path.name for path in run.iterdir()] == [METRICS]
        assert run.stat().st_mode & 0o777 == (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert not (tmp_path / "run").exists()


def test_workers_of_a_killed_server_do_not_meet_those_of_the_next(tmp_path):
    with claimed(settings(tmp_path)) as (_, run):
        left = Share(run / METRICS, 1)
        left.write({})
    with claimed(settings(tmp_path)) as (_, following):
        with pytest.raises(FileNotFoundError):
            left.write({})
        assert Share(following / METRICS, 2).others() == [{}]


def test_a_data_dir_is_for_one_server(tmp_path):
    with claimed(settings(tmp_path)):
        refused(settings(tmp_path), r"another server \(process \d+\) has the data dir")
    with claimed(settings(tmp_path)):
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
@pytest.mark.parametrize("listening", [False, True])
def test_a_port_is_for_one_server_even_where_workers_share_it(tmp_path, host, listening):
    with claimed(settings(tmp_path / "a", host=host)) as (own, _), socket.socket() as worker:
        if listening:
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            worker.bind(("" if host == "0.0.0.0" else "127.0.0.1", own.grpc_port))
            worker.listen()
        other = settings(tmp_path / "b", host=host, grpc_port=own.grpc_port)
        refused(other, f"cannot listen on {host}:{own.grpc_port}")


def test_connections_that_have_just_ended_keep_nobody_out(tmp_path):
    with socket.socket() as before:
        before.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        before.bind(("127.0.0.1", 0))
        before.listen()
        port = before.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = before.accept()
            accepted.close()  # closed here first, so the port waits here
    with claimed(settings(tmp_path, grpc_port=port)) as (own, _):
        assert own.grpc_port == port


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"host": "no.such.host.invalid"}, "is not an address"),
        ({"host": "192.0.2.1"}, "cannot listen on 192.0.2.1"),
        ({"grpc_port": 4711, "http_port": 4711}, "are both 4711"),
    ],
)
def test_what_cannot_be_claimed_is_named(tmp_path, given, said):
    refused(settings(tmp_path, **given), said)


def test_a_data_dir_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    refused(settings(tmp_path / "file"), "not a folder")
