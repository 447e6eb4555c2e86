"""An older data dir is migrated after a backup; a newer one is refused; all or nothing."""

from __future__ import annotations

import multiprocessing
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from foretoken.errors import FailedPrecondition
from foretoken.models.artefact import Artefact
from foretoken.server.registry import migrate as module
from foretoken.server.registry import schema
from foretoken.server.registry.blobs import BlobStore
from foretoken.server.registry.manifest import FileEntry, Manifest
from foretoken.server.registry.migrate import migrate
from foretoken.server.registry.records import Target
from foretoken.server.registry.registry import CATALOGUE, Registry
from foretoken.server.registry.sqlite import Database
from tests.server.registry.conftest import toy_signature

OLD = """
INSERT INTO registered_models VALUES ('m', '2025-01-01 00:00:00.000000', 2);
INSERT INTO model_versions VALUES
 ('m', 1, '{manifest}', 'READY', '', 'toy', 'float32', 9, '2025-01-01 00:00:00.000000', 'user',
  NULL, NULL, NULL, NULL, NULL),
 ('m', 2, '{manifest}', 'READY', '', 'toy', 'float32', 9, '2025-01-02 00:00:00.000000', 'user',
  NULL, 'm', 1, '{manifest}', 'exported-from');
INSERT INTO blobs VALUES ('{manifest}', {size}, 'application/json'), ('{card}', 2, 'text/markdown');
INSERT INTO version_files VALUES ('m', 1, 'card.md', '{card}'), ('m', 2, 'card.md', '{card}');
INSERT INTO version_tags VALUES ('m', 1, 'k', 'v');
INSERT INTO aliases VALUES ('m', 'champion', 2, 2);
INSERT INTO alias_events VALUES
 (1, 'm', 'champion', 1, '2025-01-01 00:00:00.000000', 'ann', 'set', NULL, 1),
 (2, 'm', 'champion', 2, '2025-01-02 00:00:00.000000', 'bob', 'set', 1, 2);
"""


def make_old(data_dir: Path) -> None:
    """A data dir as the first revision left it."""
    data_dir.mkdir()
    blobs = BlobStore(data_dir / "blobs")
    card = blobs.put(b"# ")
    files = {"card.md": FileEntry(card.digest, card.size, "text/markdown")}
    manifest = blobs.put(
        Manifest(Artefact("toy", {"width": 3}, {}).description(), files, {}).to_bytes()
    )
    database = Database(data_dir / CATALOGUE)
    migrate(database, data_dir / "backups", to="0001")
    database.close()
    rows = OLD.format(manifest=manifest.digest, size=manifest.size, card=card.digest)
    with closing(sqlite3.connect(data_dir / CATALOGUE)) as connection, connection:
        connection.executescript(rows)


def tables(path: Path) -> dict[str, list]:
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in names}


def test_an_old_data_dir_keeps_everything_and_gains_canaries(data_dir):
    make_old(data_dir)
    with Registry.open(data_dir, signature=toy_signature) as registry:
        assert [v.number for v in registry.versions("m")] == [2, 1]
        assert registry.resolve("m:1").tags == {"k": "v"}
        assert registry.artefact(registry.resolve("m")).files["card.md"].read_bytes() == b"# "
        assert [report.ok for report in registry.verify()] == [True] * 4
        assert registry.resolve("m").parent.number == 1
        assert registry.aliases("m")[0].generation == 2
        assert [(e.actor, e.before, e.after) for e in registry.history("m")] == [
            ("ann", None, Target(1)),
            ("bob", Target(1), Target(2)),
        ]
        registry.set_alias("m", "champion", 1, canary=50, expect_generation=2)
        assert {registry.resolve("m", str(n)).number for n in range(50)} == {1, 2}
        assert registry.rollback("m").target == Target(2)
        assert registry.rollback("m").target == Target(1)


def test_the_catalogue_is_copied_before_it_is_changed(data_dir):
    make_old(data_dir)
    before = tables(data_dir / CATALOGUE)
    Registry.open(data_dir, signature=toy_signature).close()
    (copy,) = (data_dir / "backups").iterdir()
    assert copy.name.startswith("registry-0001-")
    assert tables(copy) == before
    assert before["alembic_version"] == [("0001",)]
    assert tables(data_dir / CATALOGUE)["alembic_version"] == [(schema.REVISION,)]
    Registry.open(data_dir, signature=toy_signature).close()
    assert list((data_dir / "backups").iterdir()) == [copy], "a current one is left alone"


def test_a_new_data_dir_needs_no_copy(data_dir):
    Registry.open(data_dir, signature=toy_signature).close()
    assert not (data_dir / "backups").exists()


def test_history_stays_append_only_through_the_migration(data_dir):
    make_old(data_dir)
    Registry.open(data_dir, signature=toy_signature).close()
    with closing(sqlite3.connect(data_dir / CATALOGUE)) as connection:
        for statement in ("DELETE FROM alias_events", "UPDATE alias_events SET actor = 'x'"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(statement)


def test_a_migration_that_breaks_off_changes_nothing(data_dir, monkeypatch):
    make_old(data_dir)
    before = tables(data_dir / CATALOGUE)

    def broken(self, connection, table):
        connection.execute(text("SELECT * FROM nowhere"))

    monkeypatch.setattr(Database, "forbid_changes", broken)  # after the scripts, before the commit
    with pytest.raises(Exception, match="nowhere"):
        Registry.open(data_dir, signature=toy_signature)
    assert tables(data_dir / CATALOGUE) == before
    monkeypatch.undo()
    with Registry.open(data_dir, signature=toy_signature) as registry:
        assert registry.resolve("m").number == 2


def test_a_data_dir_of_a_newer_release_is_refused_and_left_alone(data_dir):
    make_old(data_dir)
    with closing(sqlite3.connect(data_dir / CATALOGUE)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = tables(data_dir / CATALOGUE)
    with pytest.raises(FailedPrecondition, match=r"9999.*newer.*upgrade Foretoken"):
        Registry.open(data_dir, signature=toy_signature)
    assert tables(data_dir / CATALOGUE) == before


def test_the_migrations_arrive_at_the_tables_of_this_release(data_dir):
    Registry.open(data_dir, signature=toy_signature).close()
    database = Database(data_dir / CATALOGUE)
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []
    database.close()


def test_the_scripts_are_found_and_the_newest_is_the_one_expected():
    scripts = ScriptDirectory(str(Path(module.__file__).parent / "migrations"))
    assert scripts.get_heads() == [schema.REVISION]
    assert [s.revision for s in scripts.walk_revisions()] == [
        *("0006", "0005", "0004", "0003", "0002", "0001")
    ]


def test_the_scripts_are_a_package_and_so_ship_in_the_wheel():
    home = Path(module.__file__).parent / "migrations"
    assert (home / "__init__.py").is_file()
    assert (home / "versions/__init__.py").is_file()
    assert {path.suffix for path in home.rglob("*") if path.is_file()} <= {".py", ".pyc"}


def _open(data_dir: Path, barrier) -> None:
    barrier.wait()
    Registry.open(data_dir, signature=toy_signature).close()


@pytest.mark.parametrize("old", [False, True])
def test_many_processes_that_open_at_once_migrate_once(data_dir, old):
    if old:
        make_old(data_dir)
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(6)
    children = [context.Process(target=_open, args=(data_dir, barrier)) for _ in range(6)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 6
    assert tables(data_dir / CATALOGUE)["alembic_version"] == [(schema.REVISION,)]
    copies = list((data_dir / "backups").iterdir()) if old else []
    assert len(copies) == int(old)
