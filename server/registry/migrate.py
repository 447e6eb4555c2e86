"""Brings a data dir's catalogue to this release's schema, after a backup of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from foretoken.errors import FailedPrecondition
from foretoken.server.registry import schema
from foretoken.server.registry.sqlite import Database

__all__ = ["migrate"]


def migrate(database: Database, backups: Path, to: str = schema.REVISION) -> Path | None:
    """Upgrade the catalogue where it is older than ``to``, in one transaction.

    Args:
        database: new, older or current.
        backups: folder that takes a copy of an older catalogue before it is changed.
        to: revision to arrive at; an earlier one than the newest only serves tests.

    Returns:
        Where the copy lies, if one was made.

    Raises:
        FailedPrecondition: if the catalogue is of a newer release.
    """
    with database.read() as connection:
        if _revision(connection) == to:
            return None
    with database.write() as connection:
        found = _revision(connection)  # again: another process may have been quicker
        if found == to:
            return None
        copy = _keep_copy(database, backups, found) if found else None
        _upgrade(connection, found, to, database.path)
        database.forbid_changes(connection, schema.alias_events.name)
        return copy


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _keep_copy(database: Database, backups: Path, found: str) -> Path:
    backups.mkdir(exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    copy = backups / f"registry-{found}-{stamp}.sqlite3"
    database.copy_to(copy)
    return copy


def _upgrade(connection: Connection, found: str | None, to: str, path: Path) -> None:
    # Imported here, for it is slow to import and a current catalogue has no need of it.
    from alembic.config import Config  # noqa: PLC0415
    from alembic.runtime.environment import EnvironmentContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    scripts = ScriptDirectory(str(Path(__file__).parent / "migrations"))
    if found and found not in {script.revision for script in scripts.walk_revisions()}:
        raise FailedPrecondition(
            f"{path} has schema revision {found}, which this release does not know: it was written "
            f"by a newer one; upgrade Foretoken or restore a backup made before the upgrade"
        )
    steps = EnvironmentContext(
        Config(), scripts, fn=lambda revision, _: scripts._upgrade_revs(to, revision)
    )
    with steps:
        steps.configure(connection=connection, transactional_ddl=True)
        steps.run_migrations()
