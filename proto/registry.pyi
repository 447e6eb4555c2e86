# mypy: disable-error-code="type-arg"
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Model(_message.Message):
    __slots__ = ("name", "versions", "latest", "aliases", "created", "owner", "served")
    class AliasesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    LATEST_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    SERVED_FIELD_NUMBER: _ClassVar[int]
    name: str
    versions: int
    latest: int
    aliases: _containers.ScalarMap[str, int]
    created: float
    owner: str
    served: bool
    def __init__(self, name: _Optional[str] = ..., versions: _Optional[int] = ..., latest: _Optional[int] = ..., aliases: _Optional[_Mapping[str, int]] = ..., created: _Optional[float] = ..., owner: _Optional[str] = ..., served: bool = ...) -> None: ...

class Version(_message.Message):
    __slots__ = ("name", "number", "manifest_digest", "status", "reason", "family", "precision", "size", "created", "origin", "release", "parent", "tags", "aliases", "owner")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_DIGEST_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    name: str
    number: int
    manifest_digest: str
    status: str
    reason: str
    family: str
    precision: str
    size: int
    created: float
    origin: str
    release: str
    parent: Parent
    tags: _containers.ScalarMap[str, str]
    aliases: _containers.RepeatedScalarFieldContainer[str]
    owner: str
    def __init__(self, name: _Optional[str] = ..., number: _Optional[int] = ..., manifest_digest: _Optional[str] = ..., status: _Optional[str] = ..., reason: _Optional[str] = ..., family: _Optional[str] = ..., precision: _Optional[str] = ..., size: _Optional[int] = ..., created: _Optional[float] = ..., origin: _Optional[str] = ..., release: _Optional[str] = ..., parent: _Optional[_Union[Parent, _Mapping]] = ..., tags: _Optional[_Mapping[str, str]] = ..., aliases: _Optional[_Iterable[str]] = ..., owner: _Optional[str] = ...) -> None: ...

class Parent(_message.Message):
    __slots__ = ("name", "number", "digest", "relation")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    RELATION_FIELD_NUMBER: _ClassVar[int]
    name: str
    number: int
    digest: str
    relation: str
    def __init__(self, name: _Optional[str] = ..., number: _Optional[int] = ..., digest: _Optional[str] = ..., relation: _Optional[str] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("after", "limit")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    after: str
    limit: int
    def __init__(self, after: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("models", "next")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    next: str
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., next: _Optional[str] = ...) -> None: ...

class VersionsRequest(_message.Message):
    __slots__ = ("name", "after", "limit", "unready")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    UNREADY_FIELD_NUMBER: _ClassVar[int]
    name: str
    after: int
    limit: int
    unready: bool
    def __init__(self, name: _Optional[str] = ..., after: _Optional[int] = ..., limit: _Optional[int] = ..., unready: bool = ...) -> None: ...

class VersionsResponse(_message.Message):
    __slots__ = ("versions", "next")
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[Version]
    next: int
    def __init__(self, versions: _Optional[_Iterable[_Union[Version, _Mapping]]] = ..., next: _Optional[int] = ...) -> None: ...

class ShowRequest(_message.Message):
    __slots__ = ("ref",)
    REF_FIELD_NUMBER: _ClassVar[int]
    ref: str
    def __init__(self, ref: _Optional[str] = ...) -> None: ...

class File(_message.Message):
    __slots__ = ("name", "digest", "size", "media_type")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    digest: str
    size: int
    media_type: str
    def __init__(self, name: _Optional[str] = ..., digest: _Optional[str] = ..., size: _Optional[int] = ..., media_type: _Optional[str] = ...) -> None: ...

class ShowResponse(_message.Message):
    __slots__ = ("version", "task", "kind", "config", "training", "export", "signature", "files", "options")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    EXPORT_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    version: Version
    task: str
    kind: str
    config: str
    training: str
    export: str
    signature: str
    files: _containers.RepeatedCompositeFieldContainer[File]
    options: ServingOptions
    def __init__(self, version: _Optional[_Union[Version, _Mapping]] = ..., task: _Optional[str] = ..., kind: _Optional[str] = ..., config: _Optional[str] = ..., training: _Optional[str] = ..., export: _Optional[str] = ..., signature: _Optional[str] = ..., files: _Optional[_Iterable[_Union[File, _Mapping]]] = ..., options: _Optional[_Union[ServingOptions, _Mapping]] = ...) -> None: ...

class AliasesRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class AliasesResponse(_message.Message):
    __slots__ = ("aliases",)
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    aliases: _containers.RepeatedCompositeFieldContainer[Alias]
    def __init__(self, aliases: _Optional[_Iterable[_Union[Alias, _Mapping]]] = ...) -> None: ...

class Canary(_message.Message):
    __slots__ = ("version", "percent")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    version: int
    percent: float
    def __init__(self, version: _Optional[int] = ..., percent: _Optional[float] = ...) -> None: ...

class Target(_message.Message):
    __slots__ = ("version", "canary")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    version: int
    canary: Canary
    def __init__(self, version: _Optional[int] = ..., canary: _Optional[_Union[Canary, _Mapping]] = ...) -> None: ...

class Alias(_message.Message):
    __slots__ = ("name", "alias", "target", "generation")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    name: str
    alias: str
    target: Target
    generation: int
    def __init__(self, name: _Optional[str] = ..., alias: _Optional[str] = ..., target: _Optional[_Union[Target, _Mapping]] = ..., generation: _Optional[int] = ...) -> None: ...

class SetAliasRequest(_message.Message):
    __slots__ = ("name", "alias", "version", "canary", "expect_generation")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    EXPECT_GENERATION_FIELD_NUMBER: _ClassVar[int]
    name: str
    alias: str
    version: int
    canary: float
    expect_generation: int
    def __init__(self, name: _Optional[str] = ..., alias: _Optional[str] = ..., version: _Optional[int] = ..., canary: _Optional[float] = ..., expect_generation: _Optional[int] = ...) -> None: ...

class DeleteAliasRequest(_message.Message):
    __slots__ = ("name", "alias", "expect_generation")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    EXPECT_GENERATION_FIELD_NUMBER: _ClassVar[int]
    name: str
    alias: str
    expect_generation: int
    def __init__(self, name: _Optional[str] = ..., alias: _Optional[str] = ..., expect_generation: _Optional[int] = ...) -> None: ...

class DeleteAliasResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("name", "alias")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    name: str
    alias: str
    def __init__(self, name: _Optional[str] = ..., alias: _Optional[str] = ...) -> None: ...

class HistoryRequest(_message.Message):
    __slots__ = ("name", "alias")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    name: str
    alias: str
    def __init__(self, name: _Optional[str] = ..., alias: _Optional[str] = ...) -> None: ...

class AliasEvent(_message.Message):
    __slots__ = ("name", "alias", "generation", "at", "actor", "action", "before", "after")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    name: str
    alias: str
    generation: int
    at: float
    actor: str
    action: str
    before: Target
    after: Target
    def __init__(self, name: _Optional[str] = ..., alias: _Optional[str] = ..., generation: _Optional[int] = ..., at: _Optional[float] = ..., actor: _Optional[str] = ..., action: _Optional[str] = ..., before: _Optional[_Union[Target, _Mapping]] = ..., after: _Optional[_Union[Target, _Mapping]] = ...) -> None: ...

class HistoryResponse(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[AliasEvent]
    def __init__(self, events: _Optional[_Iterable[_Union[AliasEvent, _Mapping]]] = ...) -> None: ...

class RegisterRequest(_message.Message):
    __slots__ = ("open", "chunk")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    open: RegisterOpen
    chunk: bytes
    def __init__(self, open: _Optional[_Union[RegisterOpen, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class RegisterOpen(_message.Message):
    __slots__ = ("name", "family", "config", "precision", "training", "export", "serving", "tags", "files", "parent", "relation")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    EXPORT_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    RELATION_FIELD_NUMBER: _ClassVar[int]
    name: str
    family: str
    config: str
    precision: str
    training: str
    export: str
    serving: str
    tags: _containers.ScalarMap[str, str]
    files: _containers.RepeatedCompositeFieldContainer[Upload]
    parent: str
    relation: str
    def __init__(self, name: _Optional[str] = ..., family: _Optional[str] = ..., config: _Optional[str] = ..., precision: _Optional[str] = ..., training: _Optional[str] = ..., export: _Optional[str] = ..., serving: _Optional[str] = ..., tags: _Optional[_Mapping[str, str]] = ..., files: _Optional[_Iterable[_Union[Upload, _Mapping]]] = ..., parent: _Optional[str] = ..., relation: _Optional[str] = ...) -> None: ...

class Upload(_message.Message):
    __slots__ = ("name", "size", "digest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    size: int
    digest: str
    def __init__(self, name: _Optional[str] = ..., size: _Optional[int] = ..., digest: _Optional[str] = ...) -> None: ...

class ServingOptions(_message.Message):
    __slots__ = ("threads", "batch_tokens", "runtime", "batch_wait")
    THREADS_FIELD_NUMBER: _ClassVar[int]
    BATCH_TOKENS_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    BATCH_WAIT_FIELD_NUMBER: _ClassVar[int]
    threads: int
    batch_tokens: int
    runtime: str
    batch_wait: float
    def __init__(self, threads: _Optional[int] = ..., batch_tokens: _Optional[int] = ..., runtime: _Optional[str] = ..., batch_wait: _Optional[float] = ...) -> None: ...

class GetOptionsRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class SetOptionsRequest(_message.Message):
    __slots__ = ("name", "options")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    options: ServingOptions
    def __init__(self, name: _Optional[str] = ..., options: _Optional[_Union[ServingOptions, _Mapping]] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("ref", "force")
    REF_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    ref: str
    force: bool
    def __init__(self, ref: _Optional[str] = ..., force: bool = ...) -> None: ...

class LoadRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class LoadResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UnloadRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class UnloadResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VerifyRequest(_message.Message):
    __slots__ = ("ref", "after")
    REF_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    ref: str
    after: str
    def __init__(self, ref: _Optional[str] = ..., after: _Optional[str] = ...) -> None: ...

class VerifyResponse(_message.Message):
    __slots__ = ("reports", "next")
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    reports: _containers.RepeatedCompositeFieldContainer[FileReport]
    next: str
    def __init__(self, reports: _Optional[_Iterable[_Union[FileReport, _Mapping]]] = ..., next: _Optional[str] = ...) -> None: ...

class FileReport(_message.Message):
    __slots__ = ("version", "file", "digest", "size", "problem")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    version: str
    file: str
    digest: str
    size: int
    problem: str
    def __init__(self, version: _Optional[str] = ..., file: _Optional[str] = ..., digest: _Optional[str] = ..., size: _Optional[int] = ..., problem: _Optional[str] = ...) -> None: ...

class ReadRequest(_message.Message):
    __slots__ = ("ref", "file", "offset", "limit")
    REF_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    ref: str
    file: str
    offset: int
    limit: int
    def __init__(self, ref: _Optional[str] = ..., file: _Optional[str] = ..., offset: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class ReadResponse(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...
