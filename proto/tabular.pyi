# mypy: disable-error-code="type-arg"
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Cache(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NO_CACHE: _ClassVar[Cache]
    HIT: _ClassVar[Cache]
    MISS: _ClassVar[Cache]
NO_CACHE: Cache
HIT: Cache
MISS: Cache

class Table(_message.Message):
    __slots__ = ("columns", "arrow", "csv")
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    ARROW_FIELD_NUMBER: _ClassVar[int]
    CSV_FIELD_NUMBER: _ClassVar[int]
    columns: Columns
    arrow: bytes
    csv: bytes
    def __init__(self, columns: _Optional[_Union[Columns, _Mapping]] = ..., arrow: _Optional[bytes] = ..., csv: _Optional[bytes] = ...) -> None: ...

class Columns(_message.Message):
    __slots__ = ("columns",)
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    columns: _containers.RepeatedCompositeFieldContainer[Column]
    def __init__(self, columns: _Optional[_Iterable[_Union[Column, _Mapping]]] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("name", "doubles", "integers", "booleans", "strings")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DOUBLES_FIELD_NUMBER: _ClassVar[int]
    INTEGERS_FIELD_NUMBER: _ClassVar[int]
    BOOLEANS_FIELD_NUMBER: _ClassVar[int]
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    name: str
    doubles: bytes
    integers: bytes
    booleans: bytes
    strings: Strings
    def __init__(self, name: _Optional[str] = ..., doubles: _Optional[bytes] = ..., integers: _Optional[bytes] = ..., booleans: _Optional[bytes] = ..., strings: _Optional[_Union[Strings, _Mapping]] = ...) -> None: ...

class Strings(_message.Message):
    __slots__ = ("distinct", "codes")
    DISTINCT_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    distinct: _containers.RepeatedScalarFieldContainer[str]
    codes: bytes
    def __init__(self, distinct: _Optional[_Iterable[str]] = ..., codes: _Optional[bytes] = ...) -> None: ...

class Training(_message.Message):
    __slots__ = ("table", "target", "labels", "categorical", "options")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Option
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Option, _Mapping]] = ...) -> None: ...
    TABLE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CATEGORICAL_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    table: Table
    target: str
    labels: Column
    categorical: _containers.RepeatedScalarFieldContainer[str]
    options: _containers.MessageMap[str, Option]
    def __init__(self, table: _Optional[_Union[Table, _Mapping]] = ..., target: _Optional[str] = ..., labels: _Optional[_Union[Column, _Mapping]] = ..., categorical: _Optional[_Iterable[str]] = ..., options: _Optional[_Mapping[str, Option]] = ...) -> None: ...

class Option(_message.Message):
    __slots__ = ("number", "text")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    number: float
    text: str
    def __init__(self, number: _Optional[float] = ..., text: _Optional[str] = ...) -> None: ...

class FitRequest(_message.Message):
    __slots__ = ("model", "training", "plan_only", "key")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    PLAN_ONLY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    model: str
    training: Training
    plan_only: bool
    key: str
    def __init__(self, model: _Optional[str] = ..., training: _Optional[_Union[Training, _Mapping]] = ..., plan_only: bool = ..., key: _Optional[str] = ...) -> None: ...

class FitResponse(_message.Message):
    __slots__ = ("context", "cache", "notes", "seconds")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    context: Context
    cache: Cache
    notes: _containers.RepeatedScalarFieldContainer[str]
    seconds: float
    def __init__(self, context: _Optional[_Union[Context, _Mapping]] = ..., cache: _Optional[_Union[Cache, str]] = ..., notes: _Optional[_Iterable[str]] = ..., seconds: _Optional[float] = ...) -> None: ...

class Context(_message.Message):
    __slots__ = ("id", "model", "version", "rows", "columns", "classes", "members", "nbytes", "kept_nbytes", "created", "used", "expires", "texts")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    KEPT_NBYTES_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    version: int
    rows: int
    columns: _containers.RepeatedScalarFieldContainer[str]
    classes: _containers.RepeatedScalarFieldContainer[str]
    members: int
    nbytes: int
    kept_nbytes: int
    created: float
    used: float
    expires: float
    texts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[int] = ..., rows: _Optional[int] = ..., columns: _Optional[_Iterable[str]] = ..., classes: _Optional[_Iterable[str]] = ..., members: _Optional[int] = ..., nbytes: _Optional[int] = ..., kept_nbytes: _Optional[int] = ..., created: _Optional[float] = ..., used: _Optional[float] = ..., expires: _Optional[float] = ..., texts: _Optional[_Iterable[str]] = ...) -> None: ...

class PredictRequest(_message.Message):
    __slots__ = ("model", "context_id", "training", "test", "uncertainty", "key")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_ID_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    TEST_FIELD_NUMBER: _ClassVar[int]
    UNCERTAINTY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    model: str
    context_id: str
    training: Training
    test: Table
    uncertainty: bool
    key: str
    def __init__(self, model: _Optional[str] = ..., context_id: _Optional[str] = ..., training: _Optional[_Union[Training, _Mapping]] = ..., test: _Optional[_Union[Table, _Mapping]] = ..., uncertainty: bool = ..., key: _Optional[str] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("classes", "probabilities", "uncertainty", "cache", "context_id", "model", "version", "notes")
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    UNCERTAINTY_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    classes: Classes
    probabilities: _containers.RepeatedScalarFieldContainer[float]
    uncertainty: _containers.RepeatedScalarFieldContainer[float]
    cache: Cache
    context_id: str
    model: str
    version: int
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, classes: _Optional[_Union[Classes, _Mapping]] = ..., probabilities: _Optional[_Iterable[float]] = ..., uncertainty: _Optional[_Iterable[float]] = ..., cache: _Optional[_Union[Cache, str]] = ..., context_id: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[int] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class Classes(_message.Message):
    __slots__ = ("integers", "booleans", "texts")
    INTEGERS_FIELD_NUMBER: _ClassVar[int]
    BOOLEANS_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    integers: Integers
    booleans: Booleans
    texts: Texts
    def __init__(self, integers: _Optional[_Union[Integers, _Mapping]] = ..., booleans: _Optional[_Union[Booleans, _Mapping]] = ..., texts: _Optional[_Union[Texts, _Mapping]] = ...) -> None: ...

class Integers(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, values: _Optional[_Iterable[int]] = ...) -> None: ...

class Booleans(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, values: _Optional[_Iterable[bool]] = ...) -> None: ...

class Texts(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class PredictStreamRequest(_message.Message):
    __slots__ = ("open", "test")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    TEST_FIELD_NUMBER: _ClassVar[int]
    open: PredictOpen
    test: Table
    def __init__(self, open: _Optional[_Union[PredictOpen, _Mapping]] = ..., test: _Optional[_Union[Table, _Mapping]] = ...) -> None: ...

class PredictOpen(_message.Message):
    __slots__ = ("model", "context_id", "training", "uncertainty", "key")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_ID_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    UNCERTAINTY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    model: str
    context_id: str
    training: Training
    uncertainty: bool
    key: str
    def __init__(self, model: _Optional[str] = ..., context_id: _Optional[str] = ..., training: _Optional[_Union[Training, _Mapping]] = ..., uncertainty: bool = ..., key: _Optional[str] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ContextsRequest(_message.Message):
    __slots__ = ("model", "after", "limit")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    model: str
    after: str
    limit: int
    def __init__(self, model: _Optional[str] = ..., after: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ContextsResponse(_message.Message):
    __slots__ = ("contexts", "next")
    CONTEXTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    contexts: _containers.RepeatedCompositeFieldContainer[Context]
    next: str
    def __init__(self, contexts: _Optional[_Iterable[_Union[Context, _Mapping]]] = ..., next: _Optional[str] = ...) -> None: ...

class DeleteContextRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class DeleteContextResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
