"""Publishing: a trained or imported artefact becomes a folder whose graphs are proven right.

Whatever is registered with graphs has gone through here: exported, loaded by ONNX Runtime, and
compared with the torch module over the family's examples.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from foretoken.errors import AlreadyExists, InvalidInput, Unsupported
from foretoken.exporters.parity import Figures, compare, expect_parity
from foretoken.models import catalog
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.contract import Arrays, Family, Graph
from foretoken.models.weights import mapped
from foretoken.server.engine.batches import sizes
from foretoken.server.runtimes import runtime
from foretoken.server.runtimes.base import (
    Executable,
    Runtime,
    fitting,
    graphs_of,
    runs_layers,
)

__all__ = ["Metric", "check", "halved", "publish", "quantised", "written"]

THREADS = 1
Run = Callable[[str, Arrays], Mapping[str, Any]]
Metric = Callable[[Run], Mapping[str, float]]  # figures of a model's answers, by name


def publish(artefact: Artefact, out: Path, family: Family | None = None) -> Artefact:
    """Export ``artefact``, prove the graphs equal to the module, and write it all to ``out``.

    Args:
        artefact: with float32 arithmetic.
        out: a folder that does not exist; it appears whole or not at all.
        family: of the artefact; the default is the catalog's.

    Returns:
        What now lies in ``out``; ``export`` holds the figures by graph, under "parity".

    Raises:
        AlreadyExists: if ``out`` does.
        Unsupported: if a graph does not export, or differs from the module by more than its
            tolerance; or the artefact's arithmetic is not float32.
        DataLoss, InvalidInput: if the weights cannot be read or are not the family's.
    """
    # Imported late: these import torch, which the command line does without until it is needed.
    from foretoken.exporters.onnx import export  # noqa: PLC0415
    from foretoken.server.runtimes.torch import TorchRuntime  # noqa: PLC0415

    kind = family or catalog.family(artefact.family)
    if artefact.precision != "float32":
        raise Unsupported(f"only float32 artefacts are exported, not {artefact.precision} ones")
    with _appearing(out) as folder:
        exported = export(artefact, kind, folder)
        with (
            _loaded(TorchRuntime("cpu"), artefact, kind) as module,
            _loaded(runtime("onnx"), exported, kind) as graphs,
        ):
            figures = _compared(exported, kind, module, graphs)
        for graph in kind.graphs(artefact.config):
            expect_parity(graph, figures[graph.name])
        _fill(folder, _with_figures(exported, "parity", figures))
    return Artefact.read(out)


def quantised(
    artefact: Artefact, out: Path, family: Family | None = None, metric: Metric | None = None
) -> Artefact:
    """Write the int8 child of a published ``artefact`` to ``out``, with what it loses.

    Args:
        artefact: published, float32.
        out: a folder that does not exist; it appears whole or not at all.
        family: of the artefact; the default is the catalog's.
        metric: measured on both, for what differences of outputs do not say.

    Returns:
        What now lies in ``out``; ``export`` holds by graph, under "loss", the figures against
        float32 over the examples; ``training`` holds those of ``metric`` "before" and "after",
        under "quantised". Of models whose layers run one by one, as ``halved``, under "int8".

    Raises:
        AlreadyExists: if ``out`` does.
        Unsupported: if the artefact has no float32 graphs, or nothing in it is worth quantising; or
            a metric is asked of a model without graphs.
        DataLoss, InvalidInput: if its files cannot be read or are not the family's.
    """
    from foretoken.exporters.quantize import quantize  # noqa: PLC0415  (imports onnx)

    kind = family or catalog.family(artefact.family)
    if runs_layers(artefact, kind):
        if metric is not None:
            raise Unsupported(f"a metric runs graphs, and {kind.name} runs layer by layer")
        return _narrowed(artefact, out, kind, "int8")
    with _appearing(out) as folder:
        child = quantize(artefact, kind, folder)
        with (
            _loaded(runtime("onnx"), artefact, kind) as before,
            _loaded(runtime("onnx"), child, kind) as after,
        ):
            child = _with_figures(child, "loss", _compared(child, kind, before, after))
            if metric is not None:
                said = {"before": metric(before.run), "after": metric(after.run)}
                child = replace(child, training={**child.training, "quantised": said})
        _fill(folder, child)
    return Artefact.read(out)


def halved(
    artefact: Artefact, out: Path, family: Family | None = None, precision: str = "bfloat16"
) -> Artefact:
    """Write the child of a published ``artefact`` in 16 bits to ``out``, with what it loses.

    Args:
        artefact: published, float32.
        out: a folder that does not exist; it appears whole or not at all.
        family: of the artefact; the default is the catalog's.
        precision: "bfloat16", or "float16" for models whose layers run one by one.

    Returns:
        What now lies in ``out``, which torch serves: it has no graphs, so ``training`` holds the
        figures against float32 over the examples, by graph, under "bfloat16". Of models whose
        layers run one by one, it holds those of ``exporters.likelihoods.loss`` over tokens drawn at
        random, under the precision.

    Raises:
        AlreadyExists: if ``out`` does.
        Unsupported: if the artefact is not float32, or its family not served in the precision; or
            the precision has not the range that the model needs.
        DataLoss, InvalidInput: if its files cannot be read or are not the family's.
    """
    from foretoken.exporters.narrow import narrow  # noqa: PLC0415  (imports torch)
    from foretoken.server.runtimes.torch import TorchRuntime  # noqa: PLC0415

    kind = family or catalog.family(artefact.family)
    layered = runs_layers(artefact, kind)
    accepted = ("bfloat16", "float16") if layered else ("bfloat16",)
    if precision not in accepted:
        raise Unsupported(
            f"versions of {kind.name} become {', '.join(accepted)} or int8, not {precision}"
        )
    if layered:
        return _narrowed(artefact, out, kind, precision)
    with _appearing(out) as folder:
        child = narrow(artefact, kind, folder)
        with (
            _loaded(runtime("onnx"), artefact, kind) as before,
            _loaded(TorchRuntime("cpu"), child, kind) as after,
        ):
            graphs = {graph.name: graph for graph in graphs_of(child, kind)}
            figures = {
                graph.name: compare(
                    graph,
                    partial(before.run, graph.name),
                    partial(_widened, after, graphs[graph.name]),
                    kind.examples(artefact.config, graph.name),
                )
                for graph in kind.graphs(artefact.config)
            }
        said = {graph: found.said() for graph, found in figures.items()}
        _fill(folder, replace(child, training={**child.training, "bfloat16": said}))
    return Artefact.read(out)


def check(artefact: Artefact) -> None:
    """Load ``artefact`` as it will be served and run its first example on every graph.

    Of a family without graphs, the predictor is made.

    Raises:
        InvalidInput: if a graph is foreign or answers with anything but what it declares.
        DataLoss, Unsupported: if a file cannot be read or there is nothing to serve it with.
    """
    family = catalog.family(artefact.family)
    graphs = family.graphs(artefact.config)
    # What has no graphs needs no torch to run them, unless its layers are run.
    needless = not graphs and not runs_layers(artefact, family)
    served = runtime("onnx" if artefact.export or needless else "torch")
    if not graphs:  # then all that can be wrong is what the predictor reads
        weights = {n: stored.array for n, stored in mapped(artefact.files[WEIGHTS]).items()}
        family.predictor(artefact.config, weights)
    with _loaded(served, artefact, family) as executable:
        for graph in graphs_of(artefact, family):
            example = fitting(graph, next(iter(family.examples(artefact.config, graph.name))))
            asked = sizes((*graph.inputs, *graph.reads), example)
            answered = sizes((*graph.outputs, *graph.writes), executable.run(graph.name, example))
            shared = asked.keys() & answered.keys()
            if any(asked[letter] != answered[letter] for letter in shared):
                raise InvalidInput(
                    f"graph {graph.name!r} answers with lengths {answered} where it was asked "
                    f"with {asked}; export the version again with `foretoken models export`"
                )


def written(artefact: Artefact, out: Path) -> Artefact:
    """Copy ``artefact`` to the folder ``out``, which appears whole or not at all.

    Raises:
        AlreadyExists: if ``out`` exists.
    """
    with _appearing(out) as folder:
        _fill(folder, artefact)
    return Artefact.read(out)


def _narrowed(artefact: Artefact, out: Path, family: Family, precision: str) -> Artefact:
    """See ``halved``: of a model whose layers run one by one."""
    from foretoken.exporters.likelihoods import loss  # noqa: PLC0415  (imports torch)
    from foretoken.exporters.narrow import narrow  # noqa: PLC0415
    from foretoken.server.runtimes.layers import random_logits  # noqa: PLC0415
    from foretoken.server.runtimes.torch import TorchRuntime  # noqa: PLC0415

    with _appearing(out) as folder:
        child, logits = narrow(artefact, family, folder, precision), []
        for each in (artefact, child):  # one after the other: neither may fit beside the other
            loaded = TorchRuntime("cpu").load(each, family, THREADS)
            logits.append(random_logits(loaded))
            computed = str(loaded.dtype).removeprefix("torch.")
            loaded.close()
        said = {"computed": computed, **loss(*logits)}
        _fill(folder, replace(child, training={**child.training, precision: said}))
    return Artefact.read(out)


def _compared(
    artefact: Artefact, family: Family, wanted: Executable, got: Executable
) -> dict[str, Figures]:
    return {
        graph.name: compare(
            graph,
            partial(wanted.run, graph.name),
            partial(got.run, graph.name),
            family.examples(artefact.config, graph.name),
        )
        for graph in family.graphs(artefact.config)
    }


def _widened(narrow: Executable, graph: Graph, inputs: Arrays) -> Arrays:
    """What ``narrow`` makes of float32 inputs, in float32 where it keeps bfloat16."""
    made = narrow.run(graph.name, fitting(graph, inputs))
    halves = {t.name for t in (*graph.outputs, *graph.writes) if t.dtype == "bfloat16"}
    return {
        name: (array.astype(np.uint32) << 16).view(np.float32) if name in halves else array
        for name, array in made.items()
    }


def _with_figures(artefact: Artefact, under: str, figures: Mapping[str, Figures]) -> Artefact:
    said = {
        graph: {**artefact.export[graph], under: found.said()} for graph, found in figures.items()
    }
    return replace(artefact, export=said)


def _fill(folder: Path, artefact: Artefact) -> None:
    for name, path in artefact.files.items():
        if path != folder / name:
            shutil.copyfile(path, folder / name)
        (folder / name).chmod(0o644)  # safetensors writes for the owner alone
    artefact.write(folder)


@contextmanager
def _loaded(by: Runtime, artefact: Artefact, family: Family) -> Iterator[Executable]:
    executable = by.load(artefact, family, THREADS)
    try:
        yield executable
    finally:
        executable.close()


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that takes its place at the end, or goes if there is an error."""
    if out.exists():
        raise AlreadyExists(f"{out} exists; name a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield folder
        folder.chmod(0o755)  # mkdtemp's are for the owner alone
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder)
        raise
