"""``foretoken contexts``, on a data dir and by a server."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from foretoken.cli import contexts, models
from foretoken.cli.remote import Remote
from foretoken.errors import FailedPrecondition, NotFound
from foretoken.models.tasks import TabularRequest
from foretoken.server.local import LocalPlane
from foretoken.server.plane import Plane
from foretoken.server.registry.registry import Registry
from foretoken.server.settings import load_settings
from tests.serving import serving

TRAIN = {"a": np.arange(8.0), "b": np.arange(8) % 3}


@pytest.fixture(scope="module")
def kept(tmp_path_factory, published):
    """A data dir with two contexts of "tiny", and their ids, the newer first."""
    data_dir = tmp_path_factory.mktemp("contexts") / "data"

    async def fitted(registry):
        plane = Plane(registry, load_settings(data_dir=data_dir))
        ids = []
        for labels in (np.arange(8) % 2, np.array(["x", "y"] * 4, object)):
            made = await plane.fit("tiny", TabularRequest(train=TRAIN, target=labels))
            ids.insert(0, made.context.id)
        await plane.close()
        return ids

    with Registry.open(data_dir) as registry:
        registry.register("tiny", published("tabpfn"))
        ids = asyncio.run(fitted(registry))
    return data_dir, ids


def said(capsys, command, *given, **options):
    command(*given, **options)
    return capsys.readouterr().out


@pytest.mark.parametrize("remote", [False, True], ids=["here", "server"])
def test_contexts_are_listed_shown_and_deleted(capsys, kept, remote):
    data_dir, ids = kept
    if not remote:
        _commands(capsys, ids, ids[1], data_dir=data_dir)
        return
    with serving(data_dir=data_dir) as server:
        _commands(capsys, ids[:1], ids[0], server=Remote(server.address, chosen=True))


def test_a_version_with_contexts_is_deleted_by_force(tmp_path, published):
    data_dir = tmp_path / "data"
    with Registry.open(data_dir) as registry:
        for _ in range(2):
            registry.register("tiny", published("tabpfn"))
        with LocalPlane(registry, load_settings(data_dir=data_dir)) as plane:
            request = TabularRequest(train=TRAIN, target=np.arange(8) % 2)
            context = plane.fit("tiny:1", request).context.id
        registry.set_alias("tiny", "champion", 2)
    command = ["delete", "tiny:1", "--data-dir", str(data_dir)]
    refused = CliRunner().invoke(models.app, command)
    assert isinstance(refused.exception, FailedPrecondition)
    assert "--force" in str(refused.exception)
    contexts.show_(context, data_dir=data_dir)
    done = CliRunner().invoke(models.app, [*command, "--force", "--json"])
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"deleted": "tiny:1"})
    with pytest.raises(FailedPrecondition, match=r"tiny:1.*has been deleted.*fit again"):
        contexts.show_(context, data_dir=data_dir)


def _commands(capsys, ids, last, **where):
    listed = json.loads(said(capsys, contexts.list_, as_json=True, **where))
    assert [each["id"] for each in listed] == ids
    assert json.loads(said(capsys, contexts.list_, "lcpfn", as_json=True, **where)) == []
    table = said(capsys, contexts.list_, **where)
    assert "tiny" in table
    headings = ("id", "model", "version", "rows", "columns", "in memory", "on disk", "last used")
    assert all(heading in table for heading in headings)
    assert "nbytes" not in table
    shown = json.loads(said(capsys, contexts.show_, last, as_json=True, **where))
    assert (shown["id"], shown["rows"], shown["columns"]) == (last, 8, ["a", "b"])
    assert shown == next(each for each in listed if each["id"] == last)
    table = said(capsys, contexts.show_, last, **where)
    assert shown["created"][:10] in table
    assert " bytes" in table or "kB" in table
    assert last in said(capsys, contexts.delete, last, **where)
    with pytest.raises(NotFound):
        contexts.show_(last, **where)
    with pytest.raises(NotFound):
        contexts.delete(last, as_json=True, **where)
