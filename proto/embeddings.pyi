# mypy: disable-error-code="type-arg"
from foretoken.proto import graphs as _graphs_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EmbedOptions(_message.Message):
    __slots__ = ("dimensions", "prompt", "truncate")
    class Truncate(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        END: _ClassVar[EmbedOptions.Truncate]
        ERROR: _ClassVar[EmbedOptions.Truncate]
    END: EmbedOptions.Truncate
    ERROR: EmbedOptions.Truncate
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    TRUNCATE_FIELD_NUMBER: _ClassVar[int]
    dimensions: int
    prompt: str
    truncate: EmbedOptions.Truncate
    def __init__(self, dimensions: _Optional[int] = ..., prompt: _Optional[str] = ..., truncate: _Optional[_Union[EmbedOptions.Truncate, str]] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("model", "texts", "options", "key")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    model: str
    texts: _containers.RepeatedScalarFieldContainer[bytes]
    options: EmbedOptions
    key: str
    def __init__(self, model: _Optional[str] = ..., texts: _Optional[_Iterable[bytes]] = ..., options: _Optional[_Union[EmbedOptions, _Mapping]] = ..., key: _Optional[str] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("vectors", "dimensions", "tokens", "cut", "model", "version")
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    vectors: bytes
    dimensions: int
    tokens: _containers.RepeatedScalarFieldContainer[int]
    cut: _containers.RepeatedScalarFieldContainer[int]
    model: str
    version: int
    def __init__(self, vectors: _Optional[bytes] = ..., dimensions: _Optional[int] = ..., tokens: _Optional[_Iterable[int]] = ..., cut: _Optional[_Iterable[int]] = ..., model: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class EmbedStreamRequest(_message.Message):
    __slots__ = ("open", "chunk")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    open: EmbedOpen
    chunk: EmbedChunk
    def __init__(self, open: _Optional[_Union[EmbedOpen, _Mapping]] = ..., chunk: _Optional[_Union[EmbedChunk, _Mapping]] = ...) -> None: ...

class EmbedOpen(_message.Message):
    __slots__ = ("model", "options", "key")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    model: str
    options: EmbedOptions
    key: str
    def __init__(self, model: _Optional[str] = ..., options: _Optional[_Union[EmbedOptions, _Mapping]] = ..., key: _Optional[str] = ...) -> None: ...

class EmbedChunk(_message.Message):
    __slots__ = ("texts",)
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    texts: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, texts: _Optional[_Iterable[bytes]] = ...) -> None: ...
