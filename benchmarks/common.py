"""What benchmarks share: interleaved timing, the machine's own limits, and keeping results."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
PACKAGES = ("numpy", "onnxruntime", "torch")


def keep(name: str, result: Mapping[str, Any]) -> Path:
    """Write ``results/<name>.json``: the result, when, and with which packages on what."""
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "packages": {package: version(package) for package in PACKAGES},
    }
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**about, **result}, indent=1) + "\n", "utf-8")
    print(f"written to benchmarks/results/{path.name}")
    return path


def interleaved(
    sides: Mapping[str, Callable[[], object]], rounds: int = 7, calls: int = 1
) -> dict[str, float]:
    """Median seconds of one call of each side, measured in turn so that drift hits all alike."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side()
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.perf_counter()
            for _ in range(calls):
                side()
            taken[name].append((time.perf_counter() - start) / calls)
    return {name: statistics.median(times) for name, times in taken.items()}


def gemm(rows: int, inner: int, columns: int, threads: int) -> tuple[Callable[[], object], float]:
    """A float32 matrix product in ONNX Runtime, and its floating-point operations."""
    import onnx  # noqa: PLC0415
    import onnxruntime as ort  # noqa: PLC0415
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

    rng = np.random.default_rng(0)
    weight = rng.standard_normal((inner, columns), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "gemm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, inner])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, columns])],
        [numpy_helper.from_array(weight, "w")],
    )
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    x = {"x": rng.standard_normal((rows, inner), np.float32)}
    return lambda: session.run(None, x), 2.0 * rows * inner * columns
