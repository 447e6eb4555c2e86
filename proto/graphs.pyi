# mypy: disable-error-code="type-arg"
from foretoken.proto import tabular as _tabular_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Graph(_message.Message):
    __slots__ = ("edges", "csr", "arrow", "csv", "directed", "nodes", "self_loops", "duplicates")
    EDGES_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    ARROW_FIELD_NUMBER: _ClassVar[int]
    CSV_FIELD_NUMBER: _ClassVar[int]
    DIRECTED_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    SELF_LOOPS_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    edges: Edges
    csr: Csr
    arrow: bytes
    csv: bytes
    directed: bool
    nodes: int
    self_loops: str
    duplicates: str
    def __init__(self, edges: _Optional[_Union[Edges, _Mapping]] = ..., csr: _Optional[_Union[Csr, _Mapping]] = ..., arrow: _Optional[bytes] = ..., csv: _Optional[bytes] = ..., directed: bool = ..., nodes: _Optional[int] = ..., self_loops: _Optional[str] = ..., duplicates: _Optional[str] = ...) -> None: ...

class Edges(_message.Message):
    __slots__ = ("sources", "targets", "weights")
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    sources: Ids
    targets: Ids
    weights: bytes
    def __init__(self, sources: _Optional[_Union[Ids, _Mapping]] = ..., targets: _Optional[_Union[Ids, _Mapping]] = ..., weights: _Optional[bytes] = ...) -> None: ...

class Csr(_message.Message):
    __slots__ = ("starts", "columns", "weights")
    STARTS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    starts: Ids
    columns: Ids
    weights: bytes
    def __init__(self, starts: _Optional[_Union[Ids, _Mapping]] = ..., columns: _Optional[_Union[Ids, _Mapping]] = ..., weights: _Optional[bytes] = ...) -> None: ...

class Ids(_message.Message):
    __slots__ = ("wide", "narrow")
    WIDE_FIELD_NUMBER: _ClassVar[int]
    NARROW_FIELD_NUMBER: _ClassVar[int]
    wide: bytes
    narrow: bytes
    def __init__(self, wide: _Optional[bytes] = ..., narrow: _Optional[bytes] = ...) -> None: ...

class EmbedGraphRequest(_message.Message):
    __slots__ = ("model", "context_id", "graph", "options", "nodes", "plan_only", "key")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _tabular_pb2.Option
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_tabular_pb2.Option, _Mapping]] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_ID_FIELD_NUMBER: _ClassVar[int]
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    PLAN_ONLY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    model: str
    context_id: str
    graph: Graph
    options: _containers.MessageMap[str, _tabular_pb2.Option]
    nodes: Ids
    plan_only: bool
    key: str
    def __init__(self, model: _Optional[str] = ..., context_id: _Optional[str] = ..., graph: _Optional[_Union[Graph, _Mapping]] = ..., options: _Optional[_Mapping[str, _tabular_pb2.Option]] = ..., nodes: _Optional[_Union[Ids, _Mapping]] = ..., plan_only: bool = ..., key: _Optional[str] = ...) -> None: ...

class EmbedGraphResponse(_message.Message):
    __slots__ = ("context_id", "cache", "model", "version", "nodes", "dimensions", "nbytes", "vectors", "notes", "seconds")
    CONTEXT_ID_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    context_id: str
    cache: _tabular_pb2.Cache
    model: str
    version: int
    nodes: int
    dimensions: int
    nbytes: int
    vectors: bytes
    notes: _containers.RepeatedScalarFieldContainer[str]
    seconds: float
    def __init__(self, context_id: _Optional[str] = ..., cache: _Optional[_Union[_tabular_pb2.Cache, str]] = ..., model: _Optional[str] = ..., version: _Optional[int] = ..., nodes: _Optional[int] = ..., dimensions: _Optional[int] = ..., nbytes: _Optional[int] = ..., vectors: _Optional[bytes] = ..., notes: _Optional[_Iterable[str]] = ..., seconds: _Optional[float] = ...) -> None: ...
