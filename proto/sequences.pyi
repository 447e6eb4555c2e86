# mypy: disable-error-code="type-arg"
from foretoken.proto import tabular as _tabular_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Want(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVERY: _ClassVar[Want]
    LAST: _ClassVar[Want]
    NOTHING: _ClassVar[Want]
EVERY: Want
LAST: Want
NOTHING: Want

class SequenceRequest(_message.Message):
    __slots__ = ("session", "open", "observe", "snapshot", "fork", "close")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    OBSERVE_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    FORK_FIELD_NUMBER: _ClassVar[int]
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    session: int
    open: SequenceOpen
    observe: Observe
    snapshot: TakeSnapshot
    fork: Fork
    close: CloseSequence
    def __init__(self, session: _Optional[int] = ..., open: _Optional[_Union[SequenceOpen, _Mapping]] = ..., observe: _Optional[_Union[Observe, _Mapping]] = ..., snapshot: _Optional[_Union[TakeSnapshot, _Mapping]] = ..., fork: _Optional[_Union[Fork, _Mapping]] = ..., close: _Optional[_Union[CloseSequence, _Mapping]] = ...) -> None: ...

class SequenceOpen(_message.Message):
    __slots__ = ("model", "options", "digest", "snapshot", "id", "deterministic", "durable", "checkpoint_every", "key")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _tabular_pb2.Option
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_tabular_pb2.Option, _Mapping]] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    DETERMINISTIC_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_EVERY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    model: str
    options: _containers.MessageMap[str, _tabular_pb2.Option]
    digest: str
    snapshot: bytes
    id: str
    deterministic: bool
    durable: bool
    checkpoint_every: int
    key: str
    def __init__(self, model: _Optional[str] = ..., options: _Optional[_Mapping[str, _tabular_pb2.Option]] = ..., digest: _Optional[str] = ..., snapshot: _Optional[bytes] = ..., id: _Optional[str] = ..., deterministic: bool = ..., durable: bool = ..., checkpoint_every: _Optional[int] = ..., key: _Optional[str] = ...) -> None: ...

class Observe(_message.Message):
    __slots__ = ("values", "steps", "want", "delivered")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    WANT_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    values: bytes
    steps: int
    want: Want
    delivered: int
    def __init__(self, values: _Optional[bytes] = ..., steps: _Optional[int] = ..., want: _Optional[_Union[Want, str]] = ..., delivered: _Optional[int] = ...) -> None: ...

class TakeSnapshot(_message.Message):
    __slots__ = ("include_bytes", "bytes_only")
    INCLUDE_BYTES_FIELD_NUMBER: _ClassVar[int]
    BYTES_ONLY_FIELD_NUMBER: _ClassVar[int]
    include_bytes: bool
    bytes_only: bool
    def __init__(self, include_bytes: bool = ..., bytes_only: bool = ...) -> None: ...

class Fork(_message.Message):
    __slots__ = ("into",)
    INTO_FIELD_NUMBER: _ClassVar[int]
    into: int
    def __init__(self, into: _Optional[int] = ...) -> None: ...

class CloseSequence(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SequenceResponse(_message.Message):
    __slots__ = ("session", "opened", "outputs", "snapshot", "forked", "closed", "refusal")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    OPENED_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    FORKED_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    session: int
    opened: Opened
    outputs: Outputs
    snapshot: Snapshot
    forked: Opened
    closed: Closed
    refusal: Refusal
    def __init__(self, session: _Optional[int] = ..., opened: _Optional[_Union[Opened, _Mapping]] = ..., outputs: _Optional[_Union[Outputs, _Mapping]] = ..., snapshot: _Optional[_Union[Snapshot, _Mapping]] = ..., forked: _Optional[_Union[Opened, _Mapping]] = ..., closed: _Optional[_Union[Closed, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ...) -> None: ...

class Opened(_message.Message):
    __slots__ = ("id", "model", "version", "step", "durable_step", "state_nbytes", "options", "width")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _tabular_pb2.Option
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_tabular_pb2.Option, _Mapping]] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    DURABLE_STEP_FIELD_NUMBER: _ClassVar[int]
    STATE_NBYTES_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    version: int
    step: int
    durable_step: int
    state_nbytes: int
    options: _containers.MessageMap[str, _tabular_pb2.Option]
    width: int
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[int] = ..., step: _Optional[int] = ..., durable_step: _Optional[int] = ..., state_nbytes: _Optional[int] = ..., options: _Optional[_Mapping[str, _tabular_pb2.Option]] = ..., width: _Optional[int] = ...) -> None: ...

class Outputs(_message.Message):
    __slots__ = ("step", "durable_step", "outputs")
    STEP_FIELD_NUMBER: _ClassVar[int]
    DURABLE_STEP_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    step: int
    durable_step: int
    outputs: _containers.RepeatedCompositeFieldContainer[Output]
    def __init__(self, step: _Optional[int] = ..., durable_step: _Optional[int] = ..., outputs: _Optional[_Iterable[_Union[Output, _Mapping]]] = ...) -> None: ...

class Output(_message.Message):
    __slots__ = ("name", "dtype", "shape", "data")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Closed(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: int
    def __init__(self, step: _Optional[int] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("error", "message", "retry_after", "resume")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    error: str
    message: str
    retry_after: float
    resume: str
    def __init__(self, error: _Optional[str] = ..., message: _Optional[str] = ..., retry_after: _Optional[float] = ..., resume: _Optional[str] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("digest", "model", "version", "step", "nbytes", "created", "used", "expires", "data")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    digest: str
    model: str
    version: int
    step: int
    nbytes: int
    created: float
    used: float
    expires: float
    data: bytes
    def __init__(self, digest: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[int] = ..., step: _Optional[int] = ..., nbytes: _Optional[int] = ..., created: _Optional[float] = ..., used: _Optional[float] = ..., expires: _Optional[float] = ..., data: _Optional[bytes] = ...) -> None: ...

class RestoreRequest(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class DescribeSnapshotRequest(_message.Message):
    __slots__ = ("digest", "include_bytes")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_BYTES_FIELD_NUMBER: _ClassVar[int]
    digest: str
    include_bytes: bool
    def __init__(self, digest: _Optional[str] = ..., include_bytes: bool = ...) -> None: ...

class SnapshotsRequest(_message.Message):
    __slots__ = ("model", "after", "limit")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    model: str
    after: str
    limit: int
    def __init__(self, model: _Optional[str] = ..., after: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class SnapshotsResponse(_message.Message):
    __slots__ = ("snapshots", "next")
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    snapshots: _containers.RepeatedCompositeFieldContainer[Snapshot]
    next: str
    def __init__(self, snapshots: _Optional[_Iterable[_Union[Snapshot, _Mapping]]] = ..., next: _Optional[str] = ...) -> None: ...

class DeleteSnapshotRequest(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: str
    def __init__(self, digest: _Optional[str] = ...) -> None: ...

class DeleteSnapshotResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
