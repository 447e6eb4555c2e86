"""All settings, read in one place: arguments, then ``FORETOKEN_*`` variables, then a TOML file.

A wrong or unknown setting stops the start, in a file as among the variables. The frozen object is
passed down; nothing below reads the environment or a configuration file.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from platformdirs import user_data_path
from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from foretoken.errors import InvalidInput

PREFIX = "FORETOKEN_"
# What the command line reads as a client; a server on the same machine passes it over.
CLIENTS = frozenset(f"FORETOKEN_{name}" for name in ("SERVER", "TOKEN", "CA", "CERT", "KEY"))
# What Kubernetes puts into every container of a namespace with a service called "foretoken".
_LINKS = re.compile(r"FORETOKEN_(SERVICE_(HOST|PORT)\w*|PORT(_\d+_(TCP|UDP)\w*)?)")


Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]


class Settings(BaseSettings):
    """What a plane, in a server or in the caller's own process, is started with.

    Args:
        data_dir: holds the catalogue and the blobs; created when missing.
        runtime: "onnx" or "torch", for models whose serving options name none.
        threads: cores for one call of a model; 0 takes the machine's cores divided by workers.
        batch_tokens: most tokens in one batch, after padding; beyond about a thousand, activations
            leave the caches and a batch gains nothing.
        batch_wait: seconds that a call waits for company while there is a core to run it on.
        request_tokens: most tokens of a single request; more is refused.
        queue: most calls waiting in one worker for a model.
        model_bytes: memory for the weights of loaded versions, in each worker; the least recently
            used one goes first.
        host: address to listen on.
        grpc_port, http_port: 0 takes a free one.
        workers: processes that share the ports.
        tls_cert, tls_key: PEM files; both or neither.
        tls_client_ca: PEM file; clients must show a certificate that it signed.
        require_tokens: refuse calls without a token; those that change the registry are refused
            without one anyway, unless ``host`` is the loopback.
        message_bytes: most bytes of one gRPC message.
        inflight_bytes: most bytes of all messages that one worker works on at once; what would be
            more is refused, unless it is alone.
        upload_bytes: most bytes of all files of a version that is registered over the network.
        table_cells: most values, rows times columns, of one table.
        table_columns: most columns of one table.
        graph_edges, graph_nodes: most edges and nodes of one graph.
        context_bytes: on the disk, for the states of all contexts; those that were not used for
            longest go first and are computed anew when they are asked for.
        context_memory: bytes of states that one worker has open; they lie in files that all workers
            share.
        context_quota: bytes of one tenant's contexts, training sets and states.
        context_ttl: seconds since its last use after which a context is erased; 0: never.
        sessions: most sessions whose states one worker has in memory.
        session_bytes: memory of those states, in each worker; the least recently used go to the
            disk first.
        session_idle: seconds without input after which a session's state goes to the disk.
        session_ttl: seconds after which the state of a session that nobody goes on with is erased;
            0: never.
        session_checkpoint: steps between two states of a durable session that are written, where it
            says nothing else.
        snapshot_quota: bytes on the disk of one tenant's snapshots and sessions.
        snapshot_ttl: seconds since its last use after which a snapshot is erased; 0: never.
        generation_bytes: memory for keys and values of a model that generates, in each worker;
            those of a prompt stay for the next one that begins alike, until their room is needed.
        curves: most learning curves of one call.
        curve_points: most observations of a curve, and of a run that is watched.
        curve_steps: most steps that are predicted in one call, over all of its curves.
        curve_levels: most quantile levels of one call.
        texts: most texts of one message; a stream takes any number of messages.
        text_bytes: most bytes of the texts of one message, a prompt counted with each of them.
        stream_sessions: most sessions of one stream, and most of its messages that wait for their
            answers; then it is read no further.
        deadline: seconds for calls that bring none of their own, and between messages of an upload.
        drain: seconds that calls in flight have to end after SIGTERM.
        streams: most open streams in one worker; those that need no token are counted apart, up to
            a quarter of it or 16.
        idle: seconds after which a connection without calls is closed.
        age: seconds, give or take a tenth, after which a caller is asked to connect anew, losing no
            call: so callers spread over the workers, and leave one that is replaced.
        follow: seconds between looks at what has changed in the registry.
        log: which calls are logged; errors of ours always are.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    data_dir: Path = Field(default_factory=lambda: user_data_path("foretoken", appauthor=False))
    runtime: Literal["onnx", "torch"] = "onnx"
    threads: int = Field(default=1, ge=0, le=1024)
    batch_tokens: int = Field(default=1024, ge=1)
    batch_wait: float = Field(default=0.0, ge=0, le=60, allow_inf_nan=False)
    request_tokens: int = Field(default=1 << 16, ge=1)
    queue: int = Field(default=1024, ge=1)
    model_bytes: int = Field(default=4 << 30, ge=1)
    host: str = "127.0.0.1"
    grpc_port: Port = 8100
    http_port: Port = 8101
    workers: int = Field(default=1, ge=1, le=256)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    require_tokens: bool = False
    message_bytes: int = Field(default=64 << 20, ge=1 << 10, le=(1 << 31) - 1)
    inflight_bytes: int = Field(default=512 << 20, ge=1)
    upload_bytes: int = Field(default=8 << 30, ge=1)
    table_cells: int = Field(default=1 << 23, ge=1)
    table_columns: int = Field(default=1 << 12, ge=1)
    graph_edges: int = Field(default=1 << 25, ge=1)
    graph_nodes: int = Field(default=1 << 24, ge=1, le=(1 << 31) - 1)
    context_bytes: int = Field(default=16 << 30, ge=0)
    context_memory: int = Field(default=4 << 30, ge=0)
    context_quota: int = Field(default=16 << 30, ge=0)
    context_ttl: float = Field(default=7 * 86400.0, ge=0, le=10 * 365 * 86400, allow_inf_nan=False)
    sessions: int = Field(default=1 << 17, ge=1)
    session_bytes: int = Field(default=2 << 30, ge=1)
    session_idle: Seconds = 300.0
    session_ttl: float = Field(default=86400.0, ge=0, le=10 * 365 * 86400, allow_inf_nan=False)
    session_checkpoint: int = Field(default=16, ge=1)
    snapshot_quota: int = Field(default=1 << 30, ge=0)
    snapshot_ttl: float = Field(default=7 * 86400.0, ge=0, le=10 * 365 * 86400, allow_inf_nan=False)
    generation_bytes: int = Field(default=1 << 30, ge=1 << 16)
    curves: int = Field(default=1024, ge=1)
    curve_points: int = Field(default=1 << 18, ge=1)
    curve_steps: int = Field(default=8192, ge=1)
    curve_levels: int = Field(default=100, ge=1)
    texts: int = Field(default=2048, ge=1)
    text_bytes: int = Field(default=4 << 20, ge=1)
    stream_sessions: int = Field(default=4096, ge=1)
    deadline: Seconds = 60.0
    drain: Seconds = 30.0
    streams: int = Field(default=1024, ge=1)
    idle: Seconds = 300.0
    age: Seconds = 300.0
    follow: Seconds = 0.2
    log: Literal["all", "errors"] = "all"

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together; give both or neither")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("tls_client_ca needs tls_cert and tls_key")
        return self


def load_settings(config: Path | None = None, **given: Any) -> Settings:
    """Read the settings; ``given`` ones that are not None win over variables, those over a file.

    Raises:
        InvalidInput: naming each setting that is unknown or out of range, or a file that cannot
            be read.
    """
    fields = Settings.model_fields
    every = {name.upper() for name in os.environ if name.upper().startswith(PREFIX)}
    said = {name for name in every if name not in CLIENTS and not _LINKS.fullmatch(name)}
    if unknown := sorted(said - {PREFIX + field.upper() for field in fields}):
        raise InvalidInput(
            f"no such settings: {', '.join(unknown)}; there are "
            + ", ".join(PREFIX + field.upper() for field in fields)
        )
    file = {} if config is None else _read(config)
    values = {name: value for name, value in file.items() if PREFIX + name.upper() not in said}
    values.update({name: value for name, value in given.items() if value is not None})
    try:
        return Settings(**values)
    except ValidationError as e:
        wrong = "; ".join(_told(problem) for problem in e.errors())
        raise InvalidInput(f"settings are not acceptable: {wrong}") from e


def _told(problem: Mapping[str, Any]) -> str:
    where = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"there is no {where}; there are {', '.join(Settings.model_fields)}"
    said = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


def _read(config: Path) -> dict[str, Any]:
    if not config.is_file():
        raise InvalidInput(f"no configuration file {config}")
    try:
        return tomllib.loads(config.read_text("utf-8"))
    except ValueError as e:  # of TOML or UTF-8
        raise InvalidInput(f"{config} is not acceptable as TOML: {e}") from e
