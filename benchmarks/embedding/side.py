"""One side of a comparison, a process of its own: ``python side.py KIND CORES ARGUMENT ...``.

KIND is "torch" or "onnx" (sentence-transformers, in an environment without anything of ours), or
"ours"; CORES are numbers between commas. It is told of files with texts, a JSON line each on
standard input, and answers with what it took to embed them, a JSON line each on standard output.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

LEAST = 0.5  # seconds that a measurement takes: what is quicker is done again and again
WARM = 64  # texts before anything is measured

# -> vectors [N, D], and the share of computed tokens that are real, where that is known
Embed = Callable[[Sequence[str]], tuple[Any, float | None]]
Ways = dict[str, Embed]  # how a side may be run, by name


def main() -> None:
    """Read jobs until there are none: ``texts`` and ``out`` are paths, ``way`` one of those told.

    The first line told has the names of the ways.
    """
    kind, cores, *arguments = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print
    ways = KINDS[kind](on(cores), *arguments)

    def say(what: Any) -> None:
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    say(list(ways))
    for line in sys.stdin:
        job = json.loads(line)
        with open(job["texts"], encoding="utf-8") as file:
            texts = json.load(file)
        embed = ways[job["way"]]
        if job.get("warm"):
            embed(texts[:WARM])
        taken, vectors = timed(embed, texts)
        if job.get("out"):
            np.save(job["out"], np.asarray(vectors, np.float32))
        say(taken)


def on(cores: str) -> int:
    """Run on these cores only; how many there are.

    ONNX Runtime is loaded before: where it finds a single core then, it does without the tiles of
    processors that have them (AMX), and products of bytes take three times as long.
    """
    with contextlib.suppress(ImportError):
        import onnxruntime  # noqa: F401, PLC0415
    chosen = [int(core) for core in cores.split(",")]
    os.sched_setaffinity(0, chosen)
    return len(chosen)


def timed(embed: Embed, texts: Sequence[str]) -> tuple[dict[str, float], Any]:
    """Seconds for all texts, by the clock and of the processor."""
    wall, cpu, passes = time.perf_counter(), time.process_time(), 0
    while not passes or time.perf_counter() - wall < LEAST:
        vectors, real = embed(texts)
        passes += 1
    spent, worked = time.perf_counter() - wall, time.process_time() - cpu
    taken = {"seconds": spent / passes, "cpu_seconds": worked / passes}
    return taken if real is None else {**taken, "real": real}, vectors


def _torch(threads: int, folder: str, dtype: str) -> Ways:
    """sentence-transformers as it is installed, in batches of several sizes."""
    import torch  # noqa: PLC0415
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    torch.set_num_threads(threads)
    model = SentenceTransformer(folder, device="cpu", model_kwargs={"torch_dtype": dtype})
    return {f"batches of {n}": _encode(model, n) for n in BATCHES}


def _onnx(threads: int, folder: str, *files: str) -> Ways:
    """sentence-transformers on ONNX Runtime: the graphs that it exported, batches of each size."""
    import onnxruntime as ort  # noqa: PLC0415
    import torch  # noqa: PLC0415
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    torch.set_num_threads(threads)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    ways: Ways = {}
    for file in files:
        model = SentenceTransformer(
            folder,
            device="cpu",
            backend="onnx",
            model_kwargs={
                "file_name": f"onnx/{file}",
                "provider": "CPUExecutionProvider",
                "session_options": options,
            },
        )
        ways |= {f"{file}, batches of {n}": _encode(model, n) for n in BATCHES}
    return ways


def _encode(model: Any, batch: int) -> Embed:
    def embed(texts: Sequence[str]) -> tuple[Any, float]:
        masks: list[Any] = []
        hook = model[0].register_forward_pre_hook(
            lambda _, given: masks.append(given[0]["attention_mask"])
        )
        vectors = model.encode(list(texts), batch_size=batch, show_progress_bar=False)
        hook.remove()
        return vectors, sum(int(m.sum()) for m in masks) / sum(m.numel() for m in masks)

    return embed


def _exported(_threads: int, folder: str, out: str) -> Ways:
    """Not a side: has sentence-transformers export its graphs, and make them faster, in ``out``."""
    from sentence_transformers import (  # noqa: PLC0415
        SentenceTransformer,
        export_dynamic_quantized_onnx_model,
        export_optimized_onnx_model,
    )

    model = SentenceTransformer(folder, device="cpu", backend="onnx", model_kwargs={"export": True})
    model.save_pretrained(out)
    export_optimized_onnx_model(model, "O3", out)
    export_dynamic_quantized_onnx_model(model, "avx512_vnni", out)
    return {}


def _ours(_threads: int, data_dir: str, model: str) -> Ways:
    """A plane in this process, as a server has one; it takes the cores that it may run on."""
    from foretoken import Embedder  # noqa: PLC0415

    embedder = Embedder(model, data_dir=data_dir)
    return {"": lambda texts: (embedder.embed(texts), None)}


BATCHES = (8, 32, 64)
KINDS: dict[str, Callable[..., Ways]] = {
    "torch": _torch,
    "onnx": _onnx,
    "export": _exported,
    "ours": _ours,
}

if __name__ == "__main__":
    main()
