"""ONNX Runtime on the CPU: the default, and the one that answers without torch.

Graphs carry no weights. Those of a version are mapped from its safetensors, so that processes share
the pages, and handed to each session as external initialisers. ONNX Runtime repacks matrices at
load, per session; what is mapped then stays on disk until something reads it again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort

from foretoken.errors import DataLoss, InternalError, InvalidInput, Unsupported
from foretoken.exporters.names import input_names, output_names, weights_of
from foretoken.models.artefact import WEIGHTS, Artefact, graph_file
from foretoken.models.contract import Array, Arrays, Family, Graph
from foretoken.models.weights import Stored, mapped

__all__ = ["OnnxRuntime"]

PRECISIONS = ("float32", "int8")
_BFLOAT16 = 16  # in onnx.TensorProto.DataType
_FATAL = 4  # severity; whatever is less is raised, and said once
# Scalar on CPUs, and slower than the vectorised Add and LayerNormalization that it replaces.
_WITHOUT = ["SkipLayerNormFusion"]


class OnnxRuntime:
    """Loads ``<graph>.onnx`` of a version; arithmetic in float32, or in int8 where exported so."""

    name = "onnx"

    def load(self, artefact: Artefact, family: Family, threads: int) -> OnnxExecutable:
        """See ``Runtime.load``.

        Raises:
            Unsupported: for another precision, or a version that was not exported.
            DataLoss: if a graph or the weights cannot be read.
            InvalidInput: if a graph is not what this release's exporter makes of the family.
        """
        if artefact.precision not in PRECISIONS:
            raise Unsupported(
                f"the onnx runtime computes in {' or '.join(PRECISIONS)}, not "
                f"{artefact.precision}; serve this version with the torch runtime"
            )
        weights = mapped(artefact.files[WEIGHTS])
        graphs = {graph.name: graph for graph in family.graphs(artefact.config)}
        sessions = {
            name: _session(artefact, graph, weights, threads) for name, graph in graphs.items()
        }
        used = [weights[w] for name in graphs for w in weights_of(artefact.export, name)]
        nbytes = sum(stored.array.nbytes for stored in used)
        return OnnxExecutable(graphs, sessions, weights, nbytes)


class OnnxExecutable:
    """One session per graph; sessions may run in several threads at once.

    Args:
        graphs: by name.
        sessions: of the graphs.
        weights: that the sessions read, without holding them in memory themselves.
        nbytes: of the weights that the sessions have repacked.
    """

    def __init__(
        self,
        graphs: Mapping[str, Graph],
        sessions: Mapping[str, ort.InferenceSession],
        weights: Mapping[str, Stored],
        nbytes: int,
    ) -> None:
        self.nbytes = nbytes
        self._names = {
            name: (input_names(graph), [t.name for t in (*graph.outputs, *graph.writes)])
            for name, graph in graphs.items()
        }
        self._weights = weights
        self._sessions = dict(sessions)

    def run(self, graph: str, inputs: Arrays) -> dict[str, Array]:
        """See ``Executable.run``.

        Raises:
            InvalidInput: if an input is missing or does not fit.
            Unsupported: if there is no such graph, or it has been closed.
        """
        session = self._sessions.get(graph)
        if session is None:
            raise Unsupported(f"no graph {graph!r}; loaded are {', '.join(self._sessions)}")
        takes, gives = self._names[graph]
        try:
            fed = {name: inputs[name] for name in takes}
            made = session.run(None, fed)
        except KeyError as e:
            raise InvalidInput(f"graph {graph!r} lacks its input {e}") from e
        except _ORT.InvalidArgument as e:
            raise InvalidInput(f"graph {graph!r}: {e}") from e
        except Exception as e:  # ONNX Runtime's errors share no base class of their own
            raise InternalError(f"graph {graph!r} failed in ONNX Runtime: {e}") from e
        return dict(zip(gives, made, strict=True))

    def close(self) -> None:
        """Release the sessions and their weights."""
        self._sessions.clear()


def _session(
    artefact: Artefact, graph: Graph, weights: Mapping[str, Stored], threads: int
) -> ort.InferenceSession:
    path = artefact.files.get(graph_file(graph.name))
    if path is None or graph.name not in artefact.export:
        raise Unsupported(
            f"this version of family {artefact.family!r} has no ONNX graph {graph.name!r}; export "
            "it with `foretoken models export`, or serve it with the torch runtime"
        )
    options = _options(threads)
    used = weights_of(artefact.export, graph.name)
    if missing := sorted(set(used) - set(weights)):
        raise InvalidInput(f"{artefact.files[WEIGHTS]} lacks weights of {path}: {missing}")
    options.add_external_initializers(list(used), [_value(weights[name]) for name in used])
    try:
        session = ort.InferenceSession(
            path.read_bytes(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=_WITHOUT,
        )
    except (OSError, _ORT.InvalidProtobuf) as e:
        raise DataLoss(f"{path} cannot be read as an ONNX graph: {e}") from e
    except (*_FAILURES, _ORT.InvalidArgument) as e:
        raise InvalidInput(_foreign(path, graph, str(e))) from e
    _expect_names(session, graph, path)
    return session


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads
    # Threads that wait for work by spinning take the cores of other models and workers: on a busy
    # machine a call then takes twice as long, and on an idle one it gains little.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A plan is kept for every combination of input shapes ever seen: unbounded with ours.
    options.enable_mem_pattern = False
    # A foreign graph may name a file for its weights; no path under this one exists.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", os.devnull
    )
    return options


def _value(stored: Stored) -> ort.OrtValue:
    if stored.dtype == "BF16":
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(stored.array, _BFLOAT16)
    return ort.OrtValue.ortvalue_from_numpy(stored.array)


def _expect_names(session: ort.InferenceSession, graph: Graph, path: Path) -> None:
    found = ([i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()])
    wanted = (input_names(graph), output_names(graph))
    if found != wanted:
        raise InvalidInput(_foreign(path, graph, f"its inputs and outputs are {found}"))


def _foreign(path: Path, graph: Graph, why: str) -> str:
    return (
        f"{path} is not the graph {graph.name!r} as this release exports it, which takes "
        f"{input_names(graph)} and gives {output_names(graph)}: {why}; export the version again "
        "with `foretoken models export`"
    )


_ORT: Any = ort.capi.onnxruntime_pybind11_state
_FAILURES: tuple[type[Exception], ...] = (
    _ORT.EPFail,
    _ORT.Fail,
    _ORT.InvalidGraph,
    _ORT.NoModel,
    _ORT.NotFound,
    _ORT.NotImplemented,
    _ORT.RuntimeException,
)
