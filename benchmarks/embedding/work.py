"""The work that texts are: tokens, operations of a BERT's matrices, and how fast these can go."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from benchmarks.common import gemm
from foretoken.models.text_encoder.config import BertShape

__all__ = ["Shape", "flops", "rates", "tokens"]

ROWS = (128, 256, 512, 1024)  # of the products, of which the best counts
REPEATS = 9

Counts = NDArray[np.int64]
Shape = BertShape
# rows, inner, columns, threads -> a product, and its operations
Product = Callable[[int, int, int, int], tuple[Callable[[], Any], float]]


@dataclass(frozen=True)
class Tokens:
    """Tokens of texts, [n] each: as they are, and as the model reads them."""

    all: Counts
    read: Counts


def tokens(folder: Path, texts: Sequence[str]) -> Tokens:
    """Count them by a Hugging Face folder's tokenizer, special tokens included."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    counts = np.array([len(e.ids) for e in tokenizer.encode_batch_fast(list(texts))], np.int64)
    longest = json.loads((folder / "sentence_bert_config.json").read_text("utf-8"))
    return Tokens(counts, np.minimum(counts, longest["max_seq_length"]))


def flops(shape: Shape, read: Counts) -> float:
    """Operations of texts without padding: the matrices of all tokens, and attention."""
    W, M, L = shape.width, shape.mlp, shape.layers
    matrices = read.sum() * L * 2 * (4 * W * W + 2 * W * M)
    attention = (read**2).sum() * L * 2 * 2 * W
    return float(matrices + attention)


def rates(shape: Shape, threads: int) -> dict[str, float]:
    """Operations per second of the matrices in each precision, by what computes ours, at best."""
    return {
        "float32": _best(shape, gemm, threads),
        "int8": _best(shape, _int8, threads),
        "bfloat16": _best(shape, _bfloat16, threads),
    }


def _best(shape: Shape, product: Product, threads: int) -> float:
    W, M = shape.width, shape.mlp
    found = []
    for rows in ROWS:
        work = seconds = 0.0
        for inner, columns in ((W, 3 * W), (W, W), (W, M), (M, W)):
            call, operations = product(rows, inner, columns, threads)
            work += operations
            seconds += _timed(call)
        found.append(work / seconds)
    return max(found)


def _timed(call: Callable[[], Any]) -> float:
    taken = []
    call()
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken)  # whatever else runs here only makes it slower


def _int8(rows: int, inner: int, columns: int, threads: int) -> tuple[Callable[[], Any], float]:
    """A product of bytes in ONNX Runtime, into int32."""
    import onnxruntime as ort  # noqa: PLC0415
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

    rng = np.random.default_rng(0)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w", "zero"], ["y"])],
        "gemm",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [rows, inner])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [rows, columns])],
        [
            numpy_helper.from_array(rng.integers(-127, 128, (inner, columns), np.int8), "w"),
            numpy_helper.from_array(np.array(128, np.uint8), "zero"),
        ],
    )
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    x = {"x": rng.integers(0, 256, (rows, inner), np.uint8)}
    return lambda: session.run(None, x), 2.0 * rows * inner * columns


def _bfloat16(rows: int, inner: int, columns: int, threads: int) -> tuple[Callable[[], Any], float]:
    """A product in torch."""
    torch.set_num_threads(threads)
    x = torch.randn(rows, inner).bfloat16()
    weight = torch.randn(columns, inner).bfloat16()
    linear = torch.nn.functional.linear
    return lambda: linear(x, weight), 2.0 * rows * inner * columns
