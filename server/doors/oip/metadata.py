"""What there is: the server, its models, their tensors and limits."""

from __future__ import annotations

import asyncio
from importlib.metadata import version as release

from foretoken.errors import NotFound
from foretoken.models.contract import Family
from foretoken.models.kinds import Kind
from foretoken.models.tasks import Task
from foretoken.proto import grpc_service as oip
from foretoken.proto import model_config as config
from foretoken.server.doors import tasks
from foretoken.server.doors.oip.datatypes import DATATYPES
from foretoken.server.doors.oip.names import reference
from foretoken.server.doors.oip.parameters import DEFAULT_LEVEL
from foretoken.server.doors.oip.repository import ready_versions
from foretoken.server.doors.service import Call
from foretoken.server.doors.tasks.base import Tensor
from foretoken.server.plane import Plane
from foretoken.server.registry.registry import Version
from foretoken.server.settings import Settings

__all__ = ["EXTENSIONS", "Metadata"]

NAME = "foretoken"
EXTENSIONS = (
    "model_repository",
    "statistics",
    "parameters",
    "sequence",
    "sequence(string_id)",
)
LEVELS = (1 << 64) - 1  # of priority: all that a uint64 can say


class Metadata:
    """Describes the server and its models.

    Args:
        plane: whose models they are.
        settings: for the limits that are announced.
    """

    def __init__(self, plane: Plane, settings: Settings) -> None:
        self._plane = plane
        self._limits = {
            "limits.message_bytes": str(settings.message_bytes),
            "limits.request_tokens": str(settings.request_tokens),
            "limits.queue": str(settings.queue),
            "limits.deadline_seconds": f"{settings.deadline:g}",
        }
        text_bytes = {"limits.text_bytes": str(settings.text_bytes)}
        self._of_tasks = {
            Task.TEXT: {"limits.texts": str(settings.texts), **text_bytes},
            Task.GENERATION: text_bytes,
        }
        self._wait = round(settings.batch_wait * 1e6)
        self._queue = settings.queue
        # Of any sequences that have input, as many as there are go together.
        self._sequences = config.ModelSequenceBatching(
            max_sequence_idle_microseconds=round(settings.session_ttl * 1e6),
            oldest=config.ModelSequenceBatching.StrategyOldest(
                max_queue_delay_microseconds=self._wait, preserve_ordering=True
            ),
        )

    async def live(self, request: oip.ServerLiveRequest, call: Call) -> oip.ServerLiveResponse:
        """Whoever gets an answer knows it."""
        return oip.ServerLiveResponse(live=True)

    async def ready(self, request: oip.ServerReadyRequest, call: Call) -> oip.ServerReadyResponse:
        """Whether requests are taken: not while the server drains."""
        return oip.ServerReadyResponse(ready=not self._plane.closing)

    async def model_ready(
        self, request: oip.ModelReadyRequest, call: Call
    ) -> oip.ModelReadyResponse:
        """Whether the model would answer; what is not there is not ready."""
        ref = reference(request.name, request.version)
        try:
            return oip.ModelReadyResponse(ready=await self._plane.ready(ref, call.terms))
        except NotFound:
            return oip.ModelReadyResponse(ready=False)

    async def server(
        self, request: oip.ServerMetadataRequest, call: Call
    ) -> oip.ServerMetadataResponse:
        """Name, release and extensions."""
        return oip.ServerMetadataResponse(
            name=NAME, version=release("foretoken"), extensions=EXTENSIONS
        )

    async def model(
        self, request: oip.ModelMetadataRequest, call: Call
    ) -> oip.ModelMetadataResponse:
        """A model's versions, tensors and limits.

        Raises:
            NotFound: if there is no such model, version or alias.
        """
        ref = reference(request.name, request.version)
        loaded = await self._plane.describe(ref, call.terms)
        version, kind = loaded.version, loaded.family
        versions = await asyncio.to_thread(ready_versions, self._plane.registry, version.name)
        codec = tasks.codec(kind.task)
        return oip.ModelMetadataResponse(
            name=version.name,
            versions=[str(each.number) for each in reversed(versions)],
            platform=_platform(version),
            inputs=[_described(tensor) for tensor in codec.inputs],
            outputs=[_described(tensor) for tensor in codec.outputs],
            properties=self._properties(version, kind),
        )

    async def configuration(
        self, request: oip.ModelConfigRequest, call: Call
    ) -> oip.ModelConfigResponse:
        """How a model is served, in Triton's terms.

        Raises:
            NotFound: if there is no such model, version or alias.
        """
        ref = reference(request.name, request.version)
        loaded = await self._plane.describe(ref, call.terms)
        version, kind = loaded.version, loaded.family
        codec = tasks.codec(kind.task)
        parameters = {
            key: config.ModelParameter(string_value=value)
            for key, value in self._properties(version, kind).items()
        }
        made = config.ModelConfig(
            name=version.name,
            platform=_platform(version),
            backend=NAME,
            version_policy=config.ModelVersionPolicy(all=config.ModelVersionPolicy.All()),
            max_batch_size=0,
            input=[_input(tensor) for tensor in codec.inputs],
            output=[_output(tensor) for tensor in codec.outputs],
            parameters=parameters,
        )
        if kind.kind is Kind.RECURRENT:
            made.sequence_batching.CopyFrom(self._sequences)
        else:
            made.dynamic_batching.CopyFrom(self._batching())
        return oip.ModelConfigResponse(config=made)

    def _properties(self, version: Version, kind: Family) -> dict[str, str]:
        return {
            "version": str(version.number),
            "task": kind.task,
            "kind": kind.kind,
            "family": version.family,
            "precision": version.precision,
            **self._limits,
            **self._of_tasks.get(kind.task, {}),
        }

    def _batching(self) -> config.ModelDynamicBatching:
        policy = config.ModelQueuePolicy(
            timeout_action=config.ModelQueuePolicy.REJECT,
            allow_timeout_override=True,
            max_queue_size=self._queue,
        )
        return config.ModelDynamicBatching(
            max_queue_delay_microseconds=self._wait,
            priority_levels=LEVELS,
            default_priority_level=DEFAULT_LEVEL,
            default_queue_policy=policy,
        )


def _platform(version: Version) -> str:
    return f"{NAME}_{version.family}"


def _described(tensor: Tensor) -> oip.ModelMetadataResponse.TensorMetadata:
    return oip.ModelMetadataResponse.TensorMetadata(
        name=tensor.name, datatype=tensor.datatypes[0], shape=tensor.shape
    )


def _input(tensor: Tensor) -> config.ModelInput:
    return config.ModelInput(
        name=tensor.name,
        data_type=DATATYPES[tensor.datatypes[0]].number,
        dims=tensor.shape,
        optional=tensor.optional,
    )


def _output(tensor: Tensor) -> config.ModelOutput:
    return config.ModelOutput(
        name=tensor.name, data_type=DATATYPES[tensor.datatypes[0]].number, dims=tensor.shape
    )
