"""Every benchmark can be started: what it imports of the house is there."""

from __future__ import annotations

import importlib
import pkgutil

import benchmarks


def test_every_module_of_the_benchmarks_imports():
    names = [
        found.name
        for found in pkgutil.walk_packages(benchmarks.__path__, "benchmarks.")
        if not found.name.endswith("__main__") and ".plugins" not in found.name
    ]
    missing = {}
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as e:  # a package to compare with
            missing[name] = e.name or ""
    assert len(names) > 50
    assert not [name for name, what in missing.items() if what.startswith(("foretoken", "bench"))]
    assert len(missing) < len(names) // 4
