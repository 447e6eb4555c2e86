"""Every metric of the server: its name, type, labels, unit and meaning, in one list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["EXPOSED", "KINDS", "ROWS", "SECONDS", "VERSION", "VERSION_BATCHES", "VERSION_LATEST"]
__all__ += ["Definition", "Kind"]

Kind = Literal["counter", "gauge", "histogram", "earliest", "latest"]

_SECONDS = "0.0001 0.00025 0.0005 0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 30 60"
SECONDS = tuple(map(float, _SECONDS.split()))
ROWS = tuple(float(1 << power) for power in range(11))  # 1, 2, 4, ..., 1024


@dataclass(frozen=True)
class Definition:
    """A metric.

    Args:
        name: as Prometheus shows it; a counter's ends with ``_total``.
        kind: workers' values are added up, but of the earliest the least and of the latest the
            greatest stands; a gauge's end with the worker, all others outlive it.
        labels: names, in the order in which series give their values.
        unit: of the values.
        help: one line, for people.
        bounds: upper bounds of a histogram's buckets, each inclusive.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    unit: str
    help: str
    bounds: tuple[float, ...] = ()


EXPOSED = (
    Definition(
        "foretoken_rpcs_total", "counter", ("method", "code"), "calls",
        "gRPC calls that have ended, by their status code.",
    ),
    Definition(
        "foretoken_rpc_seconds", "histogram", ("method",), "seconds",
        "From a gRPC call's arrival at the door to its end; for a stream, as long as it was open.",
        SECONDS,
    ),
    Definition(
        "foretoken_requests_total", "counter", ("model", "outcome"), "requests",
        "Requests that a model has answered (outcome ok) or not (the name of the error's class); "
        "those of one message count as one.",
    ),
    Definition(
        "foretoken_request_seconds", "histogram", ("model",), "seconds",
        "From a request's arrival at the plane to its end, answered or not.", SECONDS,
    ),
    Definition(
        "foretoken_phase_seconds", "histogram", ("model", "phase"), "seconds",
        "Parts of an answered request: waiting (queue), in the runtime (compute), and reading and "
        "making messages (encode; all those of a stream together).", SECONDS,
    ),
    Definition(
        "foretoken_batch_rows", "histogram", ("model",), "rows",
        "Rows of each batch that a runtime has run; its count is the number of batches.", ROWS,
    ),
    Definition(
        "foretoken_batch_tokens_total", "counter", ("model", "content"), "tokens",
        "Tokens of batches: those of requests (real), and those that fill up rows (padding).",
    ),
    Definition(
        "foretoken_sheds_total", "counter", ("model", "reason"), "requests",
        "Requests refused on arrival: the queue is full (queue), or the deadline cannot be met "
        "(deadline).",
    ),
    Definition(
        "foretoken_calls_waiting", "gauge", ("model",), "calls",
        "Calls of the runtime that wait for their turn now; those of \"other\" are not counted.",
    ),
    Definition(
        "foretoken_cancellations_total", "counter", ("method",), "calls",
        "gRPC calls whose caller went away before the answer.",
    ),
    Definition(
        "foretoken_deadline_misses_total", "counter", ("method",), "calls",
        "gRPC calls whose deadline passed before the answer.",
    ),
    Definition(
        "foretoken_streams_live", "gauge", ("method",), "streams", "gRPC streams open now.",
    ),
    Definition(
        "foretoken_auth_failures_total", "counter", ("reason",), "calls",
        "gRPC calls refused for their token: missing, unknown, expired, revoked, or one that does "
        "not reach so far (scope).",
    ),
    Definition(
        "foretoken_rate_limited_total", "counter", (), "calls",
        "gRPC calls refused because their token had used up its rate.",
    ),
    Definition(
        "foretoken_model_load_seconds", "histogram", ("model",), "seconds",
        "From the decision to load a version until it is warm; its count is the number of loads.",
        SECONDS,
    ),
    Definition(
        "foretoken_model_load_failures_total", "counter", ("model",), "loads",
        "Versions that could not be loaded; what served before goes on serving.",
    ),
    Definition(
        "foretoken_loaded_versions", "gauge", ("model",), "versions",
        "Versions held in memory now, each worker's counted.",
    ),
    Definition(
        "foretoken_loaded_bytes", "gauge", ("kind",), "bytes",
        "Memory that is held now for models' weights, each worker's counted.",
    ),
    Definition(
        "foretoken_contexts", "gauge", (), "contexts", "Fitted training sets that are kept now.",
    ),
    Definition(
        "foretoken_contexts_bytes", "gauge", ("kind",), "bytes",
        "What contexts take on the disk: training sets (table), and what models have computed of "
        "them (state).",
    ),
    Definition(
        "foretoken_sessions_live", "gauge", ("model",), "sessions",
        "Sessions whose state is in memory now; those that are idle and kept on the disk are not "
        "counted.",
    ),
    Definition(
        "foretoken_sessions_bytes", "gauge", ("model",), "bytes",
        "Memory that the states of live sessions take.",
    ),
    Definition(
        "foretoken_kv_blocks", "gauge", ("model",), "blocks",
        "Blocks for keys and values that a model that generates has, each worker's counted.",
    ),
    Definition(
        "foretoken_kv_blocks_free", "gauge", ("model",), "blocks",
        "Those of them that no request uses; what is kept of prefixes counts as free.",
    ),
    Definition(
        "foretoken_prompt_tokens_total", "counter", ("model",), "tokens",
        "Tokens of prompts whose answers have begun.",
    ),
    Definition(
        "foretoken_prompt_tokens_reused_total", "counter", ("model",), "tokens",
        "Those of them that were not computed, since their keys and values were there.",
    ),
    Definition(
        "foretoken_generated_tokens_total", "counter", ("model",), "tokens", "Tokens of answers.",
    ),
    Definition(
        "foretoken_time_to_first_token_seconds", "histogram", ("model",), "seconds",
        "From a prompt's arrival at the engine to the first token of its answer.", SECONDS,
    ),
    Definition(
        "foretoken_time_between_tokens_seconds", "histogram", ("model",), "seconds",
        "From a token of an answer to the next.", SECONDS,
    ),
    Definition(
        "foretoken_preemptions_total", "counter", ("model",), "requests",
        "How often a request gave its blocks back to others and was computed again.",
    ),
    Definition(
        "foretoken_context_requests_total", "counter", ("model", "outcome"), "requests",
        "Training sets that were asked for: kept (hit), not kept (miss), or kept but computed anew "
        "(rebuilt).",
    ),
    Definition(
        "foretoken_context_evictions_total", "counter", (), "contexts",
        "Contexts whose state was removed from the disk to make room for another's.",
    ),
    Definition("foretoken_workers", "gauge", (), "processes", "Workers alive."),
    Definition(
        "foretoken_worker_restarts_total", "counter", (), "restarts",
        "Workers that died and were replaced.",
    ),
    Definition(
        "foretoken_share_failures_total", "counter", (), "writes",
        "Workers' attempts to share their counts that failed, for instance on a full disk.",
    ),
    Definition(
        "foretoken_cpu_seconds_total", "counter", (), "seconds",
        "Processor time of all workers, user and system.",
    ),
    Definition(
        "foretoken_start_time_seconds", "earliest", (), "seconds since 1970",
        "When the server's first worker was started.",
    ),
    Definition(
        "foretoken_info", "latest", ("version",), "1", "The release of Foretoken that runs.",
    ),
)  # fmt: skip

# By version, for statistics alone: versions are no labels, for a registry makes ever more of them.
VERSION = Definition(
    "version", "counter", ("model", "version"), "", "See foretoken.server.statistics."
)
VERSION_BATCHES = Definition(
    "version_batches", "counter", ("model", "version", "rows"), "", "Batches, seconds."
)
VERSION_LATEST = Definition(
    "version_latest", "latest", ("model", "version"), "", "Seconds since 1970."
)

KINDS: dict[str, Kind] = {
    each.name: each.kind for each in (*EXPOSED, VERSION, VERSION_BATCHES, VERSION_LATEST)
}
