"""The house itself: light imports, a true map, tables made from the code."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("foretoken", "server", "models", "exporters", "kernels")
HEAVY = {"torch", "onnxruntime", "onnx", "sqlalchemy", "pandas", "scipy", "matplotlib", "grpc"}


def _modules() -> list[Path]:
    return [
        path.relative_to(ROOT)
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        if not any(part.is_symlink() for part in path.parents)
    ]


@pytest.mark.parametrize("imported", ["foretoken", "foretoken.errors", "foretoken.distributions"])
def test_importing_the_client_side_imports_nothing_heavy(imported):
    code = f"import sys, {imported}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY.isdisjoint(loaded.stdout.split())


def test_models_and_kernels_need_torch_numpy_and_safetensors_alone():
    allowed = {"foretoken", "numpy", "safetensors", "torch"}
    foreign = {}
    for path in _modules():
        if path.parts[0] in ("models", "kernels"):
            foreign[str(path)] = _imports(path) - allowed - set(sys.stdlib_module_names)
    assert {path: names for path, names in foreign.items() if names} == {}


def _imports(path: Path) -> set[str]:
    import ast

    tree = ast.parse((ROOT / path).read_text("utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def test_the_contract_fits_on_one_page():
    assert len((ROOT / "models/contract.py").read_text("utf-8").splitlines()) <= 120


def test_no_source_file_is_longer_than_500_lines():
    lengths = {str(p): len((ROOT / p).read_text("utf-8").splitlines()) for p in _modules()}
    assert {p: n for p, n in lengths.items() if n > 500} == {}


def test_the_map_has_a_line_for_every_module():
    text = (ROOT / "docs/map.md").read_text("utf-8")
    # The inside of a family is drawn once, since all families are alike.
    own = [p for p in _modules() if p.parts[0] != "models" or len(p.parts) == 2 or p.parts[1] == "layers"]
    missing = [str(p) for p in own if p.name != "__init__.py" and f"`{p.as_posix()}`" not in text]
    assert missing == []


def test_the_map_names_no_module_that_is_gone():
    import re

    text = (ROOT / "docs/map.md").read_text("utf-8")
    named = re.findall(r"`((?:foretoken|server|models|exporters|kernels)/[\w/]+\.py)`", text)
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_readme_tables_are_those_of_the_catalog():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs/tables.py")
    assert spec is not None
    assert spec.loader is not None
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    text = (ROOT / "README.md").read_text("utf-8")
    assert "<!-- families -->" in text
    assert tables.filled(text) == text, "run: python docs/tables.py"
