"""States of sessions beside the catalogue: removal of versions, backups, and what is swept."""

from __future__ import annotations

import io
import json
import tarfile
import threading
import time

import pytest

from foretoken.errors import DataLoss, FailedPrecondition, NotFound
from foretoken.server.local import LocalPlane
from foretoken.server.registry.backup import backup
from foretoken.server.registry.registry import Registry
from foretoken.server.registry.restore import restore
from foretoken.server.sessions.store import DATABASE, Budgets
from foretoken.server.settings import load_settings
from tests.server.registry.conftest import toy_signature, write_artefact
from tests.server.sessions.states import ROOMY, change, saved, snapshot, state


@pytest.fixture
def data_dir(tmp_path):
    """A data dir with two versions, the second of which answers."""
    with opened(tmp_path / "data") as registry:
        for n in (1, 2):
            registry.register("toy", write_artefact(tmp_path / str(n), float(n)))
        registry.set_alias("toy", "champion", 2)
    return tmp_path / "data"


@pytest.fixture
def registry(data_dir):
    with opened(data_dir) as registry:
        yield registry


def opened(data_dir) -> Registry:
    return Registry.open(data_dir, signature=toy_signature)


def test_checkpoints_are_no_news_for_those_who_follow_the_catalogue(registry):
    before = registry.state()
    registry.sessions.begin(saved(version=1), ROOMY)
    assert registry.state() == before


def test_ids_are_salted_by_the_data_dirs_own_secret(registry, tmp_path):
    here = registry.sessions.keep(snapshot(version=1), "t", ROOMY).id
    with opened(tmp_path / "elsewhere") as other:
        assert other.sessions.keep(snapshot(version=1), "t", ROOMY).id != here


def test_a_version_with_states_is_deleted_only_by_force(registry, data_dir):
    kept = registry.sessions.keep(snapshot(1, version=1), None, ROOMY).id
    epoch = registry.sessions.begin(saved("s", version=1), ROOMY)
    other = registry.sessions.keep(snapshot(2, version=2), None, ROOMY).id
    with pytest.raises(
        FailedPrecondition, match=r"2 sessions and snapshots go on from toy:1.*--force"
    ):
        registry.delete("toy:1")
    assert registry.sessions.save([saved("s", 1, epoch=epoch, version=1)]) == [True]
    with opened(data_dir) as another:
        another.delete("toy:1", force=True)
    for ask in (
        lambda: registry.sessions.read(kept, None),
        lambda: registry.sessions.claim("s", None),
        lambda: registry.sessions.keep(snapshot(3, version=1), None, ROOMY),
        lambda: registry.sessions.begin(saved("new", version=1), ROOMY),
    ):
        with pytest.raises(FailedPrecondition, match=r"toy:1 .* has been deleted"):
            ask()
    assert registry.sessions.save([saved("s", 2, epoch=epoch, version=1)]) == [False]
    assert registry.sessions.read(other, None) == state(2, version=2)
    with pytest.raises(FailedPrecondition, match="champion@toy"):
        registry.delete("toy:2", force=True)
    assert registry.sessions.read(other, None), "a refusal erases nothing"


def test_a_version_whose_states_are_deleted_or_expired_goes_as_ever(registry):
    kept = registry.sessions.keep(snapshot(version=1), None, ROOMY).id
    registry.sessions.keep(snapshot(1, version=1), None, Budgets(1 << 20, 0.01))
    epoch = registry.sessions.begin(saved(version=1), ROOMY)
    registry.sessions.delete(kept, None)
    registry.sessions.drop({"s": epoch})
    time.sleep(0.02)
    assert registry.delete("toy:1").number == 1


def test_a_session_begins_before_its_version_goes_or_not_at_all(registry, data_dir):
    """Whoever deletes without force never erases what somebody has just been told is kept."""
    begun, refused = [], []

    def begin():
        with opened(data_dir) as mine:
            for i in range(200):
                try:
                    begun.append(mine.sessions.begin(saved(f"s{i}", version=1), ROOMY))
                except FailedPrecondition:
                    refused.append(i)
                    return

    thread = threading.Thread(target=begin)
    thread.start()
    try:
        registry.delete("toy:1")
    except FailedPrecondition:
        thread.join()
        assert len(registry.sessions.live("toy", 1)) == len(begun) > 0
        registry.delete("toy:1", force=True)
    else:
        thread.join()
        assert not begun
        assert refused


def test_a_removal_that_died_between_its_two_commits_is_ended(registry):
    registry.sessions.keep(snapshot(1, version=1), None, ROOMY)
    registry.sessions.keep(snapshot(2, version=2), None, ROOMY)
    change(registry.data_dir / "registry.sqlite3", "DELETE FROM version_files WHERE version = 1")
    change(registry.data_dir / "registry.sqlite3", "DELETE FROM model_versions WHERE version = 1")
    registry.gc(0, dry_run=True)
    assert registry.sessions.versions() == [("toy", 1), ("toy", 2)]
    registry.gc(0)
    assert registry.sessions.versions() == [("toy", 2)]


@pytest.mark.parametrize("kind", ["backup.tar", "backup"])
def test_states_survive_a_backup(registry, data_dir, tmp_path, kind):
    kept = registry.sessions.keep(snapshot(version=2), "t", ROOMY)
    old = registry.sessions.begin(saved("s", 5, version=2), ROOMY)
    summary = backup(data_dir, tmp_path / kind)
    registry.sessions.delete(kept.id, "t")
    assert restore(tmp_path / kind, tmp_path / "again") == summary
    with opened(tmp_path / "again") as restored:
        assert restored.sessions.find(kept.id, "t") == kept
        assert restored.sessions.read(kept.id, "t") == state(version=2)
        assert restored.sessions.keep(snapshot(version=2), "t", ROOMY).id == kept.id
        epoch, found = restored.sessions.claim("s", None)
        assert (found.step, epoch > old) == (5, True)
    with pytest.raises(NotFound):
        registry.sessions.read(kept.id, "t")


def test_a_backup_is_consistent_while_sessions_are_saved(registry, data_dir, tmp_path):
    names = [f"s{i}" for i in range(40)]
    epochs = {s: registry.sessions.begin(saved(s, version=2), ROOMY) for s in names}
    stop = threading.Event()

    def save():
        step = 0
        while not stop.is_set():
            step += 1
            states = [saved(s, step, epoch=e, version=2) for s, e in epochs.items()]
            assert all(registry.sessions.save(states))

    thread = threading.Thread(target=save)
    thread.start()
    try:
        for n in range(3):
            backup(data_dir, tmp_path / f"{n}.tar")
    finally:
        stop.set()
        thread.join()
    for n in range(3):
        restore(tmp_path / f"{n}.tar", tmp_path / str(n) / "again")
        with opened(tmp_path / str(n) / "again") as restored:
            assert len({restored.sessions.claim(s, None)[1].step for s in names}) == 1


def repacked(tar, out, change_) -> None:
    """A backup with other contents."""
    with tarfile.open(tar) as archive:
        content = {entry.name: archive.extractfile(entry).read() for entry in archive}
    change_(content)
    with tarfile.open(out, "w") as archive:
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def test_a_backup_of_an_older_release_has_no_states(registry, data_dir, tmp_path):
    def older(content):
        del content[DATABASE]
        page = json.loads(content["backup.json"])
        del page["states"]
        content["backup.json"] = json.dumps(page | {"format": 1}).encode()

    backup(data_dir, tmp_path / "new.tar")
    repacked(tmp_path / "new.tar", tmp_path / "old.tar", older)
    restore(tmp_path / "old.tar", tmp_path / "again")
    with opened(tmp_path / "again") as restored:
        assert restored.sessions.totals() == (0, 0, 0, 0)
        assert restored.sessions.begin(saved(version=2), ROOMY)
    registry.sessions.begin(saved("later", version=2), ROOMY)
    restore(tmp_path / "old.tar", data_dir, overwrite=True)
    with pytest.raises(NotFound):
        registry.sessions.claim("later", None)


def test_a_data_dir_of_an_older_release_is_backed_up(registry, data_dir, tmp_path):
    registry.close()
    (data_dir / DATABASE).unlink()
    backup(data_dir, tmp_path / "b.tar")
    assert not (data_dir / DATABASE).exists()
    restore(tmp_path / "b.tar", tmp_path / "again")
    with opened(tmp_path / "again") as restored:
        assert restored.sessions.totals().snapshots == 0


@pytest.mark.parametrize("damage", ["flip", "gone"])
def test_a_damaged_backup_restores_nothing(registry, data_dir, tmp_path, damage):
    def damaged(content):
        if damage == "gone":
            del content[DATABASE]
        else:
            content[DATABASE] = content[DATABASE][:-1] + bytes([content[DATABASE][-1] ^ 1])

    registry.sessions.begin(saved("s", 5, version=2), ROOMY)
    backup(data_dir, tmp_path / "b.tar")
    repacked(tmp_path / "b.tar", tmp_path / "damaged.tar", damaged)
    registry.sessions.begin(saved("s", 9, version=2), ROOMY)
    for target in (tmp_path / "again", data_dir):
        with pytest.raises(DataLoss, match=DATABASE):
            restore(tmp_path / "damaged.tar", target, overwrite=True)
    assert not (tmp_path / "again").exists()
    assert registry.sessions.claim("s", None)[1].step == 9


def test_damaged_states_are_not_backed_up(registry, data_dir, tmp_path):
    for i in range(50):
        registry.sessions.begin(saved(f"s{i}", version=2), ROOMY)
    registry.close()
    data = bytearray((data_dir / DATABASE).read_bytes())
    data[8192:12288] = bytes(4096)
    (data_dir / DATABASE).write_bytes(data)
    with pytest.raises(DataLoss, match=DATABASE):
        backup(data_dir, tmp_path / "b.tar")
    assert not (tmp_path / "b.tar").exists()


def test_keeping_house_erases_what_has_expired(data_dir):
    with opened(data_dir) as registry:
        settings = load_settings(data_dir=data_dir, snapshot_ttl=1.0)
        with LocalPlane(registry, settings) as plane:
            registry.sessions.keep(snapshot(version=2), None, Budgets(1 << 20, 0.05))
            kept = registry.sessions.keep(snapshot(1, version=2), None, ROOMY).id
            time.sleep(0.3)
            plane.run(plane.plane.follow())
            assert registry.sessions.totals().snapshots == 1
            assert registry.sessions.find(kept, None)
