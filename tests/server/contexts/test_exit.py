"""A script that ends says nothing, and leaves word of the contexts that it used."""

from __future__ import annotations

import subprocess
import sys

from foretoken.errors import Unavailable
from tests.server.contexts.tables import rows, table, with_context

SCRIPT = """
import sys
import numpy as np
from foretoken import TabularClassifier
rng = np.random.default_rng(0)
X, y = rng.standard_normal((20, 3)), np.arange(20) % 2
model = TabularClassifier("tiny", data_dir=sys.argv[1]).fit(X, y)
print(model.context_id_, model.predict_proba(X).shape)
"""


def test_a_script_ends_in_silence_and_its_uses_are_noted(registry, published):
    registry.register("tiny", published("tabpfn"))
    used = []
    for _ in range(2):
        command = [sys.executable, "-c", SCRIPT, str(registry.data_dir)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        context, shape = done.stdout.split(maxsplit=1)
        assert shape == "(20, 2)\n"
        record = registry.contexts.find(context, None).record
        assert record.used > record.created
        used.append(record.used)
    assert used[0] < used[1]


def test_a_plane_ends_though_its_data_dir_is_no_more(plane, monkeypatch, caplog):
    context = plane.fit("toy", table()).context.id
    assert plane.answer("", [with_context(context, rows())]).hits == (True,)

    def gone(*_):
        raise Unavailable("no such folder")

    monkeypatch.setattr(plane.registry.contexts, "touch", gone)
    plane.close()
    assert plane.plane.contexts_open == 0
    assert "not noted: no such folder" in caplog.text
