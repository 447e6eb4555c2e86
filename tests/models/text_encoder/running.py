"""Versions of text encoders that answer requests, without a server around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.tasks import TextReply, TextRequest
from foretoken.models.text_encoder import FAMILY
from foretoken.server.engine.drive import alone
from foretoken.server.publish import publish
from foretoken.server.runtimes.onnx import OnnxRuntime
from foretoken.server.runtimes.torch import TorchRuntime


class Running:
    """A version, under ONNX Runtime if it is published and else under torch."""

    def __init__(self, artefact: Artefact) -> None:
        self.artefact = artefact
        self.graphs = {g.name: g for g in FAMILY.graphs(artefact.config)}
        self.predictor = FAMILY.predictor(artefact.config, load_file(artefact.files[WEIGHTS]))
        runtime = OnnxRuntime() if artefact.export else TorchRuntime("cpu")
        self.executable = runtime.load(artefact, FAMILY, 1)

    def __call__(self, *texts: str, **options: Any) -> TextReply:
        steps = self.predictor.predict(TextRequest(texts, **options))
        (reply,) = alone([steps], self.graphs, self.executable.run, budget=512)
        return reply


def imported(source: Path, out: Path, **options: Any) -> Running:
    """The folder ``source`` as a version that runs, not published."""
    FAMILY.importers["hf"].run(source, options, out / "imported")
    return Running(Artefact.read(out / "imported"))


def published(running: Running, out: Path) -> Running:
    """The same version with its graphs."""
    return Running(publish(running.artefact, out / "published"))
