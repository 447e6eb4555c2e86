"""Callers are not told where the server keeps its data; the log is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from foretoken.errors import DataLoss, InvalidInput
from foretoken.models.artefact import Artefact
from foretoken.models.tasks import Task
from foretoken.proto import grpc_service as oip
from foretoken.records import FileReport
from foretoken.server.admin import Shown
from foretoken.server.doors import records
from foretoken.server.doors.telling import telling
from foretoken.server.settings import Settings
from tests.server.doors.oip.conftest import opened
from tests.server.doors.oip.door import connected, request
from tests.server.doors.oip.door import serving as oip_serving
from tests.server.doors.oip.fake import FakePlane, posterior
from tests.server.doors.oip.test_infer import VALUES
from tests.server.doors.serving import Toy, serving, unary
from tests.server.doors.test_http import asked
from tests.server.doors.test_rpc import refused, run


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/srv/data", "DATA_DIR"),
        ("[Errno 2] there is no '/srv/data/x/ab'", "[Errno 2] there is no 'DATA_DIR/x/ab'"),
        ("/srv/data/a and /srv/data/b.", "DATA_DIR/a and DATA_DIR/b."),
        ("/srv/data-2/a, /srv/database, x/srv/data", "/srv/data-2/a, /srv/database, x/srv/data"),
        ("values: 3 of 4", "values: 3 of 4"),
    ],
)
def test_the_path_of_the_data_dir_is_replaced(text, told):
    assert telling(Path("/srv/data"))(text) == told


def test_links_and_relative_paths_are_followed(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "data").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    tell = telling(Path("data"))
    assert tell(f"data in {tmp_path}/data/x, {tmp_path}/real/y") == "data in DATA_DIR/x, DATA_DIR/y"
    assert telling(Path("/"))("/etc/x is no /") == "/etc/x is no /"


def test_callers_read_of_no_path_and_the_log_does(tmp_path):
    async def act():
        toy = Toy()

        async def fail(message, call):
            # The last path would be cut off in the midst where the text is, and not be known.
            raise DataLoss(f"{tmp_path}/blobs: {'x' * (1980 - len(str(tmp_path)))} {tmp_path}")

        toy.extrapolate = fail
        with (tmp_path / "log").open("wb") as log:
            async with serving(toy.service(), log_fd=log.fileno(), data_dir=tmp_path) as server:
                got = await refused(unary(await server.channel())(b""))
        assert got.details().startswith("DATA_DIR/blobs: x")
        assert str(tmp_path)[:5] not in got.details()

    run(act())
    assert f"{tmp_path}/blobs: x" in (tmp_path / "log").read_text()


def test_nor_do_callers_of_http(tmp_path):
    async def fail(request):
        raise InvalidInput(f"no file {tmp_path}/x")

    status, _, body = asyncio.run(asked(fail, settings=Settings(data_dir=tmp_path)))
    assert (status, json.loads(body)["error"]["message"]) == (400, "no file DATA_DIR/x")


def test_nor_do_those_of_a_stream(tmp_path):
    class Broken(FakePlane):
        async def answer(self, loaded, requests, terms):
            raise DataLoss(f"{tmp_path}/blobs/ab is not what was stored")

    async def act():
        plane, settings = Broken(Task.CURVE, posterior), Settings(data_dir=tmp_path)
        async with connected(plane, settings, None) as stub:
            call = stub.ModelStreamInfer(iter([request({"values": VALUES})]))
            return (await call.read()).error_message

    assert asyncio.run(act()) == "DATA_DIR/blobs/ab is not what was stored"


def test_the_reason_why_a_version_failed_is_told_without_it(tmp_path, tiny_lcpfn):
    def check(_artefact):
        raise InvalidInput(f"{tmp_path}/data/blobs/ab is no graph")

    with opened(tmp_path, tiny_lcpfn) as registry:
        with pytest.raises(InvalidInput):
            registry.register("curves", Artefact.read(tiny_lcpfn), check=check)

        async def index():
            async with oip_serving(registry, data_dir=tmp_path / "data") as stub:
                return await stub.RepositoryIndex(oip.RepositoryIndexRequest())

        told = asyncio.run(index()).models[-1]
        assert (told.version, told.reason) == ("3", "DATA_DIR/blobs/ab is no graph")
        failed = registry.versions("curves", unready=True)[0]
        assert failed.reason.startswith(str(tmp_path))
        tell = telling(tmp_path / "data")
        assert records.version(failed, tell).reason == told.reason
        assert records.shown(Shown(failed), tell).version.reason == told.reason


def test_so_is_what_is_wrong_with_a_file():
    found = FileReport("m:1", "x", "sha256:0", 1, "/srv/data/blobs/ab is gone")
    told = records.report(found, telling(Path("/srv/data")))
    assert (told.file, told.problem) == ("x", "DATA_DIR/blobs/ab is gone")
