"""The registry starts quickly: it imports no torch, and no migration tool without need."""

from __future__ import annotations

import subprocess
import sys

from foretoken.server.registry.registry import Registry

CODE = """
import sys
from pathlib import Path
import foretoken.server.registry.backup, foretoken.server.registry.restore
from foretoken.server.registry.bundled import register_bundled
from foretoken.server.registry.registry import Registry
with Registry.open(Path({data_dir!r})) as registry:
    register_bundled(registry)
    registry.models()
print(*sys.modules)
"""


def modules(data_dir) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(data_dir=str(data_dir))],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_what_the_registry_imports(data_dir):
    Registry.open(data_dir).close()
    loaded = modules(data_dir)
    assert loaded.isdisjoint({"torch", "onnx", "onnxruntime", "pandas", "scipy", "rich", "typer"})
    assert "alembic" not in loaded, "a current catalogue needs no migration"


def test_a_new_data_dir_needs_no_torch_either(data_dir):
    assert "torch" not in modules(data_dir)
