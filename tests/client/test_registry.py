"""A model's life through the client, against a real server."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from foretoken.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    StaleGeneration,
    Unavailable,
)
from foretoken.records import Status
from foretoken.server.registry.registry import Registry


@pytest.fixture
def folder(tiny_lcpfn, tmp_path):
    copied = tmp_path / "artefact"
    shutil.copytree(tiny_lcpfn, copied)
    return copied


@pytest.fixture
def name(request):
    """Of a model that the test alone has."""
    return request.node.name.replace("[", "-").replace("]", "").replace("_", "-")


def test_a_life(ask, server, folder, name):
    heard: list[tuple[int, int]] = []

    def call(method, *args, **kwargs):
        return ask(server.address, method, *args, **kwargs)

    first = call(
        "register", name, folder, tags={"who": "me"}, progress=lambda *at: heard.append(at)
    )
    total = sum(path.stat().st_size for path in folder.iterdir() if path.name != "artefact.json")
    assert heard[-1] == (total, total)
    assert [sent for sent, _ in heard] == sorted({sent for sent, _ in heard})
    assert (first.ref, first.tags, first.status) == (f"{name}:1", {"who": "me"}, Status.READY)
    second = call("register", name, folder, parent=first.ref, relation="fine-tuned-from")
    assert second.parent.number == 1
    assert [version.number for version in call("versions", name)] == [2, 1]
    assert [version.number for version in call("versions", name, limit=1)] == [2]

    moved = call("set_alias", name, "champion", 2, expect_generation=1)
    assert (moved.target.version, moved.generation) == (2, 2)
    with pytest.raises(StaleGeneration):
        call("set_alias", name, "champion", 1, expect_generation=1)
    assert call("set_alias", name, "champion", 1, canary=10).target.canary.percent == 10
    assert call("rollback", name).target.canary is None
    assert call("rollback", name).target.version == 1
    call("set_alias", name, "trial", 2)
    assert [alias.alias for alias in call("aliases", name)] == ["champion", "trial"]
    call("delete_alias", name, "trial")
    actions = [event.action for event in call("history", name, "champion")]
    assert actions == ["set", "set", "set", "rollback", "rollback"]

    info = call("model", name)
    described = json.loads((folder / "artefact.json").read_text("utf-8"))
    assert (info.name, info.version, info.task, info.kind) == (name, 1, "curve", "stateless")
    assert info.config == described["config"]
    assert name in [model.name for model in call("models")]

    assert all(report.ok for report in call("verify", f"{name}:1"))
    assert call("set_options", name, {"threads": 2}) == {"threads": 2} == call("options", name)
    call("unload", name)
    with pytest.raises(Unavailable, match="unloaded"):
        call("extrapolate", name, [0.1])
    assert not call("ready", name)
    call("load", name)
    assert call("ready", name)
    with pytest.raises(FailedPrecondition, match="champion"):
        call("delete", f"{name}:1")
    assert call("delete", f"{name}:2").number == 2
    with pytest.raises(NotFound):
        call("model", f"{name}:2")


@pytest.mark.parametrize("limit", [0, -1])
@pytest.mark.parametrize("listing", [("models",), ("versions", "lcpfn")])
def test_a_limit_below_one_is_refused(ask, server, listing, limit):
    with pytest.raises(InvalidInput, match=f"limit is {limit}"):
        ask(server.address, *listing, limit=limit)


def test_records_are_those_of_the_registry(ask, server, folder, name):
    version = ask(server.address, "register", name, folder)
    with Registry.open(server.data_dir) as registry:
        assert version == dataclasses.replace(registry.show(version.ref), aliases=version.aliases)
        (listed,) = [model for model in registry.models() if model.name == name]
        assert ask(server.address, "aliases", name) == registry.aliases(name)
        assert ask(server.address, "history", name) == registry.history(name)
        assert ask(server.address, "versions", name) == registry.versions(name)
        assert listed in ask(server.address, "models")


def test_pages_are_put_together(ask, server, folder, name, monkeypatch):
    from foretoken.client import registry

    for _ in range(3):
        ask(server.address, "register", name, folder)
    monkeypatch.setattr(registry, "PAGE", 2)
    versions = ask(server.address, "versions", name)
    assert [version.number for version in versions] == [3, 2, 1]
    assert [v.number for v in ask(server.address, "versions", name, 3)] == [2, 1]


def test_ready(ask, server, free_port):
    assert ask(server.address, "ready")
    assert ask(server.address, "ready", "lcpfn")
    with pytest.raises(NotFound):
        ask(server.address, "ready", "nobody")
    assert not ask(f"127.0.0.1:{free_port}", "ready", timeout=1)


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (lambda folder: (folder / "artefact.json").unlink(), InvalidInput, "lacks"),
        (lambda folder: (folder / "artefact.json").write_text("{"), InvalidInput, "JSON"),
        (lambda folder: (folder / "artefact.json").write_text("[]"), InvalidInput, "format"),
        (lambda folder: (folder / "sub").mkdir(), InvalidInput, "plain files"),
        (lambda folder: (folder / "x.md").symlink_to("card.md"), InvalidInput, "plain files"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no"), InvalidInput, "model"),
    ],
)
def test_folders_that_are_no_artefacts(ask, server, folder, name, spoil, error, said):
    spoil(folder)
    with pytest.raises(error, match=said):
        ask(server.address, "register", name, folder)
    assert name not in [model.name for model in ask(server.address, "models")]


def test_what_progress_raises_ends_the_upload(ask, server, folder, name):
    def stop(_sent, _total):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        ask(server.address, "register", name, folder, progress=stop)
    assert name not in [model.name for model in ask(server.address, "models")]


def test_a_name_that_is_none(ask, server, folder):
    with pytest.raises((InvalidInput, AlreadyExists)):
        ask(server.address, "register", "../up", folder)
