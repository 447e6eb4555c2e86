"""Registering what comes over the network: what it takes, and what it costs a worker."""

from __future__ import annotations

import subprocess
import sys

import pytest

from foretoken.errors import InvalidInput
from foretoken.models import cola, lcpfn
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.server.registrar import Registrar, Registration
from foretoken.server.registry.registry import Registry
from foretoken.server.terms import LOCAL
from foretoken.server.uploads import Announced

CODE = """
import sys
from dataclasses import replace
from pathlib import Path
from foretoken.models.artefact import Artefact
from foretoken.models.catalog import bundled
from foretoken.server.registrar import Registrar, Registration
from foretoken.server.registry.blobs import digest_of
from foretoken.server.registry.registry import Registry
from foretoken.server.terms import LOCAL
from foretoken.server.uploads import Announced

artefact = Artefact.read(bundled()["lcpfn"])
kept = {name: digest_of(path) for name, path in artefact.files.items()}
files = [Announced(name, ref.size, ref.digest) for name, ref in kept.items()]
wanted = Registration("mine", replace(artefact, files={}), files)
with Registry.open(Path(sys.argv[1])) as registry:
    registrar = Registrar(registry, 1 << 30)
    registrar.check(LOCAL, wanted)
    print(registrar.admit(LOCAL, wanted, artefact.files).status)
print(*sys.modules)
"""


def test_an_upload_is_checked_without_torch(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "data")],
        capture_output=True,
        text=True,
        check=True,
    )
    status, modules = done.stdout.splitlines()
    assert status == "READY"
    assert {"torch", "onnx", "pandas", "scipy"}.isdisjoint(modules.split())
    assert "onnxruntime" in modules.split()


def asked(family, config):
    artefact = Artefact(family, config, {})
    return Registration("mine", artefact, [Announced(WEIGHTS, 1, "sha256:" + "0" * 64)])


def test_graphs_are_asked_for_of_families_that_have_them(tmp_path):
    with Registry.open(tmp_path) as registry:
        registrar = Registrar(registry, 1 << 30)
        registrar.check(LOCAL, asked("cola", cola.FAMILY.small))
        with pytest.raises(InvalidInput, match="comes with its graphs"):
            registrar.check(LOCAL, asked("lcpfn", lcpfn.FAMILY.small))
        with pytest.raises(InvalidInput, match="none of family 'deltanet'"):
            registrar.check(LOCAL, asked("deltanet", {}))
