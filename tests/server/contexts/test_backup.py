"""Backups hold training sets; states are computed anew from them."""

from __future__ import annotations

import pytest

from foretoken.errors import NotFound
from foretoken.server.local import LocalPlane
from foretoken.server.registry.backup import backup
from foretoken.server.registry.registry import Registry
from foretoken.server.registry.restore import restore
from foretoken.server.settings import load_settings
from tests.server.contexts.tables import blobs_of, damage, inline, rows, same, table, with_context


@pytest.mark.parametrize("kind", ["backup.tar", "backup"])
def test_contexts_survive_a_backup(planes, registry, tmp_path, kind):
    plane = planes()
    plain = plane.answer("toy", [inline(table(), rows())])
    context = plane.fit("toy", table()).context.id
    damaged = plane.fit("toy", table(1)).context.id
    deleted = plane.fit("toy", table(2)).context.id
    plane.delete_context(deleted)
    damage(registry, registry.contexts.find(damaged, None).table_digest, "damaged")
    summary = backup(registry.data_dir, tmp_path / kind)
    assert summary.left_out == 1
    data_dir = tmp_path / "again"
    assert restore(tmp_path / kind, data_dir) == summary
    with Registry.open(data_dir) as restored:
        assert len(blobs_of(restored)) == 1, "a training set"
        assert restored.contexts.totals().state == 0
        with LocalPlane(restored, load_settings(data_dir=data_dir)) as again:
            first, second = (again.answer("", [with_context(context, rows())]) for _ in range(2))
            assert (first.hits, second.hits) == ((False,), (True,))
            same(first, plain)
            same(second, plain)
            assert again.fit("toy", table()).cached, "ids are the same there"
            for gone in (damaged, deleted):
                with pytest.raises(NotFound):
                    again.context(gone)
