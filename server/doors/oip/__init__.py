"""The Open Inference Protocol, with the extensions that Triton's clients use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from foretoken.proto import loading
from foretoken.server.doors.oip.absent import LogSettings, SharedMemory, TraceSettings
from foretoken.server.doors.oip.infer import Inference
from foretoken.server.doors.oip.metadata import Metadata
from foretoken.server.doors.oip.repository import Repository
from foretoken.server.doors.oip.statistics import StatisticsReader
from foretoken.server.doors.oip.streams import Streams
from foretoken.server.doors.service import Bidirectional, Service, Unary
from foretoken.server.doors.telling import telling
from foretoken.server.plane import Plane
from foretoken.server.sessions.sequences import Sequences
from foretoken.server.settings import Settings
from foretoken.server.statistics import Statistics
from foretoken.server.terms import Scope

__all__ = ["oip"]


def oip(
    plane: Plane,
    statistics: Statistics,
    settings: Settings,
    follow: Callable[[], Awaitable[None]],
    sequences: Sequences | None = None,
) -> Service:
    """The service ``inference.GRPCInferenceService``.

    Args:
        plane: that answers.
        statistics: of all workers.
        settings: for the limits, and the data dir.
        follow: returns when every worker knows what is committed now.
        sequences: that there are; None: none are kept.
    """
    inference = Inference(plane, settings, sequences)
    metadata = Metadata(plane, settings)
    repository, memory = Repository(plane, follow, telling(settings.data_dir)), SharedMemory()
    return Service(
        loading.service("inference/grpc_service.proto", "GRPCInferenceService"),
        {
            "ServerLive": Unary(metadata.live, None),
            "ServerReady": Unary(metadata.ready, None),
            "ModelReady": Unary(metadata.model_ready),
            "ServerMetadata": Unary(metadata.server),
            "ModelMetadata": Unary(metadata.model),
            "ModelConfig": Unary(metadata.configuration),
            "ModelInfer": Unary(inference.infer),
            "ModelStreamInfer": Bidirectional(Streams(inference, settings).infer),
            "ModelStatistics": Unary(StatisticsReader(plane, statistics).read),
            "RepositoryIndex": Unary(repository.index),
            "RepositoryModelLoad": Unary(repository.load, Scope.ADMIN),
            "RepositoryModelUnload": Unary(repository.unload, Scope.ADMIN),
            "SystemSharedMemoryStatus": Unary(memory.system_status),
            "SystemSharedMemoryRegister": Unary(memory.system_register),
            "SystemSharedMemoryUnregister": Unary(memory.system_unregister),
            "CudaSharedMemoryStatus": Unary(memory.cuda_status),
            "CudaSharedMemoryRegister": Unary(memory.cuda_register),
            "CudaSharedMemoryUnregister": Unary(memory.cuda_unregister),
            "TraceSetting": Unary(TraceSettings().settings),
            "LogSettings": Unary(LogSettings(settings).settings),
        },
    )
