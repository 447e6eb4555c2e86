"""From a registered version to one that is loaded and warm; blocking, for a thread of its own."""

from __future__ import annotations

import os
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from foretoken.errors import Unsupported
from foretoken.models.artefact import WEIGHTS
from foretoken.models.catalog import family
from foretoken.models.weights import mapped
from foretoken.server.engine.batches import sizes
from foretoken.server.engine.lane import Lane, Limits
from foretoken.server.registry.loaded import Loaded
from foretoken.server.registry.registry import Registry, ServingOptions, Version
from foretoken.server.runtimes import runtime
from foretoken.server.runtimes.base import Executable, fitting, graphs_of, runs_layers
from foretoken.server.settings import Settings

if TYPE_CHECKING:
    from foretoken.server.engine.generation.generator import Generator

__all__ = ["BULK", "key_of", "load", "slots", "threads", "warm_up", "yielding"]

NICE = 5  # of threads that compute: a third of the event loop's share where they compete
BULK = 15  # of those that compute large requests: a tenth of what the others get
LOWEST = 19  # of the priorities that Linux has
EXAMPLES = 2  # of each graph that a version runs before it serves
COPIED = 1 / 8  # of a model's bytes: whoever copies more for company had better read them again


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(settings: Settings) -> int:
    """Cores for one call of a model: as set, or this worker's share of the machine."""
    return settings.threads or max(1, cores() // settings.workers)


def slots(settings: Settings) -> int:
    """Calls that may run at once in one worker, so that its share of the machine is in use."""
    return max(1, cores() // settings.workers // threads(settings))


def yielding(nice: int = NICE) -> None:
    """Let this thread, which computes, give way to the event loop's where both want a core.

    Otherwise, under load, calls wait unseen for their turn with the loop, and those that cannot be
    served hear of it too late. Only Linux has priorities by thread.

    Args:
        nice: how much more so than now, so that whatever the server was started with counts, too.
    """
    if sys.platform == "linux":
        here = threading.get_native_id()
        now = os.getpriority(os.PRIO_PROCESS, here)
        # To set it lower than it is takes a privilege, and would end the pool.
        os.setpriority(os.PRIO_PROCESS, here, min(now + nice, LOWEST))


def key_of(version: Version, options: ServingOptions) -> str:
    """What a loaded version is known by: its name, its content and the options in force."""
    return f"{version.ref} {version.manifest_digest} {options.model_dump_json()}"


def load(
    registry: Registry, version: Version, options: ServingOptions, settings: Settings
) -> Loaded:
    """Verify a version's files and load its graphs.

    Args:
        registry: where its files are.
        version: a READY one.
        options: in force for it.
        settings: for what the options leave open.

    Raises:
        DataLoss: if a file is not what was registered.
        NotFound: if this release has not its family.
        Unsupported: if the runtime cannot run it.
    """
    artefact = registry.artefact(version)
    kind = family(artefact.family)
    layers = runs_layers(artefact, kind)
    if layers and options.runtime == "onnx":
        raise Unsupported(f"{version.ref} runs layer by layer, which only the torch runtime does")
    chosen = runtime("torch" if layers else options.runtime or settings.runtime)
    weights = {n: stored.array for n, stored in mapped(artefact.files[WEIGHTS]).items()}
    executable = chosen.load(artefact, kind, options.threads or threads(settings))
    limits = Limits(
        batch_tokens=options.batch_tokens or settings.batch_tokens,
        request_tokens=settings.request_tokens,
        queue=settings.queue,
        wait=settings.batch_wait if options.batch_wait is None else options.batch_wait,
        copied=max(Limits.copied, int(COPIED * executable.nbytes)),
    )
    lanes = {
        graph.name: Lane(version.name, version.number, graph, executable.run, limits)
        for graph in graphs_of(artefact, kind)
    }
    predictor = kind.predictor(artefact.config, weights)
    key = key_of(version, options)
    bulk = {name: lane.beside() for name, lane in lanes.items()}
    generator = generator_of(executable, settings) if layers else None
    return Loaded(
        key, version, kind, predictor, executable, lanes, bulk, artefact.config, generator
    )


def generator_of(executable: Executable, settings: Settings) -> Generator:
    """What continues tokens by a module's layers.

    Raises:
        Unsupported: if the executable has none.
    """
    # Imported late: these import torch, which the server does without until it is needed.
    from foretoken.server.engine.generation.generator import Generator, Sizes  # noqa: PLC0415
    from foretoken.server.engine.generation.pool import Pool  # noqa: PLC0415
    from foretoken.server.runtimes.torch import TorchExecutable  # noqa: PLC0415

    if not isinstance(executable, TorchExecutable):
        raise Unsupported("only the torch runtime runs layers one by one")
    module, dtype = executable.layered, executable.dtype
    each = Pool.nbytes(Sizes.block, module.kv_heads, module.head_width, dtype)
    sizes = Sizes(blocks=max(1, settings.generation_bytes // each), queue=settings.queue)
    computing = partial(executable.computing, "layer")
    return Generator(module, sizes, dtype, executable.device, computing)


def warm_up(loaded: Loaded) -> None:
    """Run every graph on examples, so that the first request finds it warm and its cost known.

    Of a version that generates, a token is.

    Raises:
        ForetokenError: if a graph, or a layer, does not run.
    """
    if loaded.generator is not None:
        loaded.generator.warm()
    for name, lane in loaded.lanes.items():
        taken = (*lane.graph.inputs, *lane.graph.reads)
        examples = loaded.family.examples(loaded.config, name)
        for _, example in zip(range(EXAMPLES), examples, strict=False):
            fed = fitting(lane.graph, example)
            lane.run(name, fed)  # the first run of a shape is slower than those after it
            began = time.perf_counter()
            lane.run(name, fed)
            seconds = time.perf_counter() - began
            lane.cost.learn(lane.weigh(sizes(taken, fed)), seconds)
