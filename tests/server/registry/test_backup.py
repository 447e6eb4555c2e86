"""Backup of a data dir in use, and restore: whole and verified, or not at all."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import sqlite3
import tarfile
import threading
from contextlib import closing
from pathlib import Path

import pytest

from foretoken.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    Unavailable,
)
from foretoken.models.artefact import WEIGHTS
from foretoken.server.registry.archive import _TarWriter, writing
from foretoken.server.registry.backup import backup
from foretoken.server.registry.blobs import BlobStore
from foretoken.server.registry.registry import Registry
from foretoken.server.registry.restore import restore
from foretoken.server.registry.schema import REVISION
from tests.server.registry.conftest import toy_signature
from tests.server.registry.test_migrate import make_old, tables

KINDS = ["backup.tar", "backup"]


@pytest.fixture
def filled(registry, make_artefact):
    """A registry with two versions, a failed one, an alias history and options."""
    parent = registry.register("m", make_artefact(1.0), tags={"k": "v"})
    registry.register("m", make_artefact(2.0), parent=parent, relation="exported-from")

    def check(_):
        raise InvalidInput("no")

    with pytest.raises(InvalidInput):
        registry.register("m", make_artefact(3.0), check=check)
    registry.set_alias("m", "champion", 2, canary=5)
    return registry


def opened(data_dir):
    return Registry.open(data_dir, signature=toy_signature)


def everything(registry):
    return registry.versions("m", unready=True), registry.aliases("m"), registry.history("m")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_restored_is_what_was_backed_up(filled, data_dir, tmp_path, kind):
    out = tmp_path / "kept" / kind
    progress: list[float] = []
    summary = backup(data_dir, out, progress.append)
    assert progress == sorted(progress)
    assert progress[-1] == 1.0
    assert summary.blobs == 8, "two shared files, and weights, card and manifest of two versions"
    assert [path.name for path in out.parent.iterdir()] == [kind]
    again = tmp_path / "again"
    progress.clear()
    assert restore(out, again, progress=progress.append) == summary
    assert progress[-1] == 1.0
    with opened(again) as restored:
        assert everything(restored) == everything(filled)
        reports = list(restored.verify())
        assert len(reports) == 10
        assert all(report.ok for report in reports)
        assert restored.gc(0).blobs == 0
        assert restored.register("m", restored.artefact(restored.resolve("m"))).number == 4


def test_a_backup_is_consistent_while_others_write(registry, make_artefact, data_dir, tmp_path):
    for _ in range(2):
        registry.register("m", make_artefact())
    artefacts = [make_artefact() for _ in range(12)]
    stop = threading.Event()

    def write():
        for n, artefact in enumerate(artefacts):
            if stop.is_set():
                return
            version = registry.register("m", artefact)
            registry.set_alias("m", "champion", version.number)
            if n % 2:
                registry.delete(f"m:{version.number - 1}")
                registry.gc(0.5)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for n in range(4):
            backup(data_dir, tmp_path / f"{n}.tar")
    finally:
        stop.set()
        writer.join()
    for n in range(4):
        restore(tmp_path / f"{n}.tar", tmp_path / f"again{n}")
        with opened(tmp_path / f"again{n}") as restored:
            reports = list(restored.verify())
            assert reports
            assert all(report.ok for report in reports)
            assert restored.resolve("m").aliases == ("champion",)


def test_a_blob_swept_under_way_makes_it_begin_anew(filled, data_dir, tmp_path, monkeypatch):
    filled.set_alias("m", "champion", 1)
    find = BlobStore.path
    swept: list[bool] = []

    def path(self, digest):
        found = find(self, digest)
        if not swept and find(self, digest).exists():
            swept.append(True)  # the version goes between the copy of the catalogue and its blobs
            filled.delete("m:2")
            filled.gc(0)
        return found

    monkeypatch.setattr(BlobStore, "path", path)
    summary = backup(data_dir, tmp_path / "b.tar")
    assert swept == [True]
    assert summary.blobs == 5


def test_a_backup_never_writes_over_anything(filled, data_dir, tmp_path):
    file = tmp_path / "b.tar"
    file.write_text("precious")
    folder = tmp_path / "folder"
    folder.mkdir()
    for out in (file, folder):
        with pytest.raises(AlreadyExists, match="name a new"):
            backup(data_dir, out)
    assert file.read_text() == "precious"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_backup_leaves_nothing(filled, data_dir, tmp_path, kind, error):
    def progress(done):
        if done > 0.3:
            raise error

    out = tmp_path / "out" / kind
    with pytest.raises((KeyboardInterrupt, Unavailable)):
        backup(data_dir, out, progress)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_data_dir_is_not_backed_up(filled, data_dir, tmp_path, kind, damage):
    weights = filled.artefact(filled.resolve("m:2")).files[WEIGHTS]
    data = weights.read_bytes()
    if damage == "gone":
        weights.unlink()
    else:
        weights.write_bytes(data[:-1] + (b"" if damage == "cut" else b"\x07"))
    with pytest.raises(DataLoss, match=f"m:2: {WEIGHTS}"):
        backup(data_dir, tmp_path / "out" / kind)
    assert list((tmp_path / "out").iterdir()) == []


def test_there_must_be_something_to_back_up(tmp_path):
    with pytest.raises(NotFound, match="holds no catalogue"):
        backup(tmp_path, tmp_path / "b.tar")
    assert list(tmp_path.iterdir()) == []


def test_restoring_over_a_data_dir_is_asked_for_by_name(filled, data_dir, tmp_path, make_artefact):
    backup(data_dir, tmp_path / "b.tar")
    then = everything(filled)
    filled.register("m", make_artefact())
    filled.set_alias("m", "champion", 4)
    now = everything(filled)
    with pytest.raises(FailedPrecondition, match=r"not empty.*--overwrite"):
        restore(tmp_path / "b.tar", data_dir)
    assert everything(filled) == now
    assert filled.resolve("m").number == 4
    restore(tmp_path / "b.tar", data_dir, overwrite=True)
    assert everything(filled) == then, "also for a process that has it open"
    assert filled.resolve("m").number == 1
    assert filled.gc(0).blobs > 0
    assert all(report.ok for report in filled.verify())


def entries(tar):
    with tarfile.open(tar) as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive}


def pack(tar, content):
    with tarfile.open(tar, "w") as archive:
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


@pytest.mark.parametrize("target", ["registry.sqlite3", "blob"])
@pytest.mark.parametrize("damage", ["flip", "gone"])
@pytest.mark.parametrize("before", ["absent", "empty", "full"])
def test_a_damaged_backup_restores_nothing(filled, data_dir, tmp_path, target, damage, before):
    tar, again = tmp_path / "b.tar", tmp_path / "again"
    backup(data_dir, tar)
    content = entries(tar)
    name = max(content, key=lambda n: (n.startswith("blobs/"), n)) if target == "blob" else target
    if damage == "gone":
        del content[name]
    else:
        content[name] = content[name][:-1] + bytes([content[name][-1] ^ 1])
    pack(tar, content)
    if before == "empty":
        again.mkdir()
    if before == "full":
        shutil.copytree(data_dir, again)
    with pytest.raises(DataLoss, match=r"m:\d: |registry\.sqlite3"):
        restore(tar, again, overwrite=before == "full")
    if before == "full":
        with opened(again) as untouched:
            assert everything(untouched) == everything(filled)
    else:
        assert again.exists() == (before == "empty")
        assert before == "absent" or list(again.iterdir()) == []


def test_an_interrupted_restore_leaves_nothing(filled, data_dir, tmp_path):
    backup(data_dir, tmp_path / "b.tar")

    def progress(done):
        if done > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(tmp_path / "b.tar", tmp_path / "again", progress=progress)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_while_reading_is_not_one_of_writing(tmp_path, kind):
    class Broken:
        def read(self, size=-1, /):
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(Unavailable, match=r"cannot read blobs/x.*Input/output"):  # noqa: SIM117
        with writing(tmp_path / kind) as writer:
            writer.add("blobs/x", Broken(), 3)
    with pytest.raises(Unavailable, match=r"cannot read .*nowhere"):  # noqa: SIM117
        with writing(tmp_path / kind):
            (tmp_path / "nowhere").open("rb")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_while_writing_is_said_to_be_one(tmp_path, kind):
    (tmp_path / "file").write_text("x")
    with pytest.raises(Unavailable, match="cannot write the backup"):  # noqa: SIM117
        with writing(tmp_path / "file" / kind):
            pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_fills_up_while_an_entry_is_written(tmp_path):
    with open("/dev/full", "wb", buffering=0) as full, tarfile.open(fileobj=full, mode="w") as tar:
        writer = _TarWriter(tar, tmp_path / "b.tar")
        with pytest.raises(Unavailable, match="cannot write the backup"):
            writer.add("x", io.BytesIO(b"abc"), 3)
        tar.fileobj = io.BytesIO()


def test_what_is_no_backup(filled, data_dir, tmp_path):
    tar = tmp_path / "b.tar"
    backup(data_dir, tar)
    cut = tmp_path / "cut.tar"
    cut.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])
    text = tmp_path / "text.tar"
    text.write_text("hello" * 1000)
    content = entries(tar)
    for name, change in [
        ("newer", {"format": 99}),
        ("odd", {"surprise": 1}),
        ("list", None),
    ]:
        said = json.loads(content["backup.json"]) | change if change else []
        pack(tmp_path / f"{name}.tar", {**content, "backup.json": json.dumps(said).encode()})
    with pytest.raises(NotFound, match="no backup"):
        restore(tmp_path / "nothing", tmp_path / "again")
    for source in (cut, text, data_dir, *(tmp_path / f"{n}.tar" for n in ("newer", "odd", "list"))):
        with pytest.raises(InvalidInput):
            restore(source, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_entries_that_would_leave_the_data_dir_are_never_written(filled, data_dir, tmp_path):
    tar = tmp_path / "b.tar"
    backup(data_dir, tar)
    content = entries(tar)
    pack(tar, {**content, "../evil": b"x", "/tmp/evil": b"x", "blobs/sha256/../../../evil": b"x"})
    restore(tar, tmp_path / "deep" / "again")
    assert not list(tmp_path.rglob("evil"))
    assert not os.path.exists("/tmp/evil")


def test_links_in_a_backup_are_not_followed(filled, data_dir, tmp_path):
    folder = tmp_path / "backup"
    backup(data_dir, folder)
    blob = next((folder / "blobs/sha256").iterdir())
    moved = blob.rename(tmp_path / "elsewhere")
    blob.symlink_to(moved)
    with pytest.raises(InvalidInput, match="not a plain file"):
        restore(folder, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_backup_of_an_older_release_is_migrated_on_its_way_in(tmp_path):
    old = tmp_path / "old"
    make_old(old)
    before = tables(old / "registry.sqlite3")
    backup(old, tmp_path / "b.tar")
    assert tables(old / "registry.sqlite3") == before, "a backup does not migrate"
    restore(tmp_path / "b.tar", tmp_path / "again")
    assert tables(tmp_path / "again/registry.sqlite3")["alembic_version"] == [(REVISION,)]
    with opened(tmp_path / "again") as restored:
        assert [report.ok for report in restored.verify()] == [True] * 4
        assert restored.resolve("m").number == 2


def test_a_backup_of_a_newer_release_is_refused_before_anything_is_replaced(
    filled, data_dir, tmp_path
):
    newer = tmp_path / "newer"
    make_old(newer)
    with closing(sqlite3.connect(newer / "registry.sqlite3")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    backup(newer, tmp_path / "b.tar")
    before = everything(filled)
    with pytest.raises(FailedPrecondition, match="newer"):
        restore(tmp_path / "b.tar", data_dir, overwrite=True)
    assert everything(filled) == before
