"""Extensions that this server lacks: what there is of them is told, changes are refused."""

from __future__ import annotations

from foretoken.errors import InvalidInput, NotFound, Unsupported
from foretoken.proto import grpc_service as oip
from foretoken.server.doors.service import Call
from foretoken.server.settings import Settings

__all__ = ["LogSettings", "SharedMemory", "TraceSettings"]

SHARED = (
    "this server reads and writes no shared memory; send tensors in raw_input_contents and read "
    "them from raw_output_contents"
)


class SharedMemory:
    """No region is ever registered."""

    async def system_status(
        self, request: oip.SystemSharedMemoryStatusRequest, call: Call
    ) -> oip.SystemSharedMemoryStatusResponse:
        """Nothing."""
        _expect_all(request.name)
        return oip.SystemSharedMemoryStatusResponse()

    async def system_register(
        self, request: oip.SystemSharedMemoryRegisterRequest, call: Call
    ) -> oip.SystemSharedMemoryRegisterResponse:
        """Refused."""
        raise Unsupported(SHARED)

    async def system_unregister(
        self, request: oip.SystemSharedMemoryUnregisterRequest, call: Call
    ) -> oip.SystemSharedMemoryUnregisterResponse:
        """Nothing is registered afterwards, as before."""
        return oip.SystemSharedMemoryUnregisterResponse()

    async def cuda_status(
        self, request: oip.CudaSharedMemoryStatusRequest, call: Call
    ) -> oip.CudaSharedMemoryStatusResponse:
        """Nothing."""
        _expect_all(request.name)
        return oip.CudaSharedMemoryStatusResponse()

    async def cuda_register(
        self, request: oip.CudaSharedMemoryRegisterRequest, call: Call
    ) -> oip.CudaSharedMemoryRegisterResponse:
        """Refused."""
        raise Unsupported(SHARED)

    async def cuda_unregister(
        self, request: oip.CudaSharedMemoryUnregisterRequest, call: Call
    ) -> oip.CudaSharedMemoryUnregisterResponse:
        """Nothing is registered afterwards, as before."""
        return oip.CudaSharedMemoryUnregisterResponse()


class TraceSettings:
    """Tracing is off."""

    async def settings(
        self, request: oip.TraceSettingRequest, call: Call
    ) -> oip.TraceSettingResponse:
        """Tell so; a setting without a value asks for its default, which it has already."""
        current = {"trace_level": ["OFF"]}
        for name, value in request.settings.items():
            if name not in current:
                raise InvalidInput(f"no trace setting {name!r}; there is trace_level")
            if list(value.value) not in ([], current[name]):
                raise Unsupported("this server traces nothing: trace_level stays OFF")
        response = oip.TraceSettingResponse()
        for name, values in current.items():
            response.settings[name].value.extend(values)
        return response


class LogSettings:
    """What is logged is decided at the start.

    Args:
        settings: by which it was.
    """

    def __init__(self, settings: Settings) -> None:
        self._current: dict[str, bool | int | str] = {
            "log_info": settings.log == "all",
            "log_warning": True,
            "log_error": True,
            "log_verbose_level": 0,
            "log_format": "json",
        }

    async def settings(
        self, request: oip.LogSettingsRequest, call: Call
    ) -> oip.LogSettingsResponse:
        """Tell the current ones."""
        for name, value in request.settings.items():
            if name not in self._current:
                there = ", ".join(self._current)
                raise InvalidInput(f"no log setting {name!r}; there are {there}")
            which = value.WhichOneof("parameter_choice")
            if which is not None and getattr(value, which) != self._current[name]:
                raise Unsupported(
                    f"{name} stays {self._current[name]!r}: what is logged is set when the server "
                    "starts"
                )
        response = oip.LogSettingsResponse()
        for name, current in self._current.items():
            setting = response.settings[name]
            if isinstance(current, bool):
                setting.bool_param = current
            elif isinstance(current, int):
                setting.uint32_param = current
            else:
                setting.string_param = current
        return response


def _expect_all(region: str) -> None:
    if region:
        raise NotFound(f"no shared memory region {region!r}; none is registered")
