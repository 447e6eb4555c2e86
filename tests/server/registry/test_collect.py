"""Garbage collection: what nobody refers to goes, after its grace; what is referred to stays."""

from __future__ import annotations

import os
import time

import pytest
from sqlalchemy import func, insert, select

from foretoken.errors import FailedPrecondition, InvalidInput
from foretoken.server.registry import schema
from foretoken.server.registry.collect import INTERRUPTED
from foretoken.server.registry.records import Status

HOUR = 3600.0


def age(data_dir, seconds=2 * HOUR):
    """Make every file of the blob store that much older."""
    for path in (data_dir / "blobs").rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - seconds,) * 2)


def blobs(data_dir):
    return {path.name for path in (data_dir / "blobs/sha256").iterdir()}


def rows(registry):
    with registry._database.read() as connection:
        return connection.scalar(select(func.count()).select_from(schema.blobs))


def test_a_deleted_versions_bytes_are_freed_and_shared_ones_stay(registry, make_artefact, data_dir):
    registry.register("m", make_artefact(1.0))
    kept = blobs(data_dir)
    version = registry.register("m", make_artefact(2.0))
    freed = blobs(data_dir) - kept
    assert len(freed) == 3, "weights, card and manifest; the other two files are shared"
    size = sum((data_dir / "blobs/sha256" / name).stat().st_size for name in freed)
    registry.delete(version.ref)
    age(data_dir)
    said = registry.gc(HOUR, dry_run=True)
    assert blobs(data_dir) == kept | freed
    collected = registry.gc(HOUR)
    assert collected == said
    assert (collected.blobs, collected.bytes) == (3, size)
    assert (collected.unfinished, collected.interrupted) == (0, ())
    assert blobs(data_dir) == kept
    assert rows(registry) == len(kept)
    assert all(report.ok for report in registry.verify())
    assert registry.gc(0).blobs == 0


def test_what_is_younger_than_the_grace_stays(registry, make_artefact, data_dir):
    registry.register("m", make_artefact())
    registry.delete_alias("m", "champion")
    registry.delete("m:1")
    before = blobs(data_dir)
    assert registry.gc(HOUR).blobs == 0
    assert blobs(data_dir) == before
    age(data_dir, HOUR + 60)
    assert registry.gc(HOUR).blobs == len(before)
    assert blobs(data_dir) == set()
    assert rows(registry) == 0


def test_bytes_put_again_are_young_again(registry, make_artefact, data_dir):
    artefact = make_artefact(1.0)
    registry.register("m", artefact)
    registry.delete_alias("m", "champion")
    registry.delete("m:1")
    age(data_dir)
    registry._blobs.put(artefact.files["card.md"])  # another registration is on its way
    registry.gc(HOUR)
    assert len(blobs(data_dir)) == 1


def test_orphans_and_unfinished_files_go(registry, make_artefact, data_dir):
    registry.register("m", make_artefact())
    registry._blobs.put(b"nobody wants me")
    (data_dir / "blobs/incoming/0123").write_bytes(b"half a fi")
    assert registry.gc(HOUR).unfinished == 0
    age(data_dir)
    collected = registry.gc(HOUR)
    assert (collected.blobs, collected.unfinished, collected.bytes) == (1, 1, 15 + 9)
    assert list((data_dir / "blobs/incoming").iterdir()) == []
    assert all(report.ok for report in registry.verify())


def test_a_registration_cut_short_becomes_failed(registry, make_artefact, data_dir, monkeypatch):
    registry.register("m", make_artefact(1.0))

    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    # As after a kill: neither the check's outcome nor its failure is ever recorded.
    monkeypatch.setattr("foretoken.server.registry.admission.Admission._run", die)
    with pytest.raises(Killed):
        registry.register("m", make_artefact(2.0), check=lambda _: None)
    assert registry.show("m:2").status is Status.PENDING
    assert registry.gc(HOUR).interrupted == ()
    assert registry.show("m:2").status is Status.PENDING
    collected = registry.gc(0)
    assert collected.interrupted == ("m:2",)
    assert collected.blobs == 3
    version = registry.show("m:2")
    assert (version.status, version.reason) == (Status.FAILED, INTERRUPTED)
    assert [v.number for v in registry.versions("m")] == [1]
    assert all(report.ok for report in registry.verify())


def test_a_check_outlasted_by_the_grace_ends_in_a_typed_error(registry, make_artefact):
    with pytest.raises(FailedPrecondition, match="given up by garbage collection"):
        registry.register("m", make_artefact(), check=lambda _: registry.gc(0))
    assert registry.show("m:1").status is Status.FAILED
    assert registry.models() == []


def test_a_pending_versions_blobs_stay(registry, make_artefact, data_dir):
    def check(artefact):
        age(data_dir)
        assert registry.gc(HOUR).blobs == 0
        assert all(path.is_file() for path in artefact.files.values())

    registry.register("m", make_artefact(), check=check)
    assert all(report.ok for report in registry.verify())


def test_rows_without_a_file_are_forgotten(registry, make_artefact):
    """As when a collection was killed between removing a file and committing."""
    registry.register("m", make_artefact())
    before = rows(registry)
    with registry._database.write() as connection:
        connection.execute(
            insert(schema.blobs).values(digest="sha256:" + "0" * 64, size=1, media_type="x")
        )
    assert rows(registry) == before + 1
    registry.gc(HOUR)
    assert rows(registry) == before


def test_many_orphans_are_swept_in_batches(registry, data_dir, monkeypatch):
    monkeypatch.setattr("foretoken.server.registry.collect._BATCH", 4)
    for n in range(11):
        registry._blobs.put(bytes([n]))
    assert registry.gc(0).blobs == 11
    assert blobs(data_dir) == set()


@pytest.mark.parametrize("grace", [-1, float("nan"), float("inf"), 1e12, 3.2e8])
def test_a_grace_is_a_length_of_time(registry, grace):
    with pytest.raises(InvalidInput, match="grace"):
        registry.gc(grace)
    assert registry.gc(10 * 365 * 24 * HOUR).blobs == 0
