# mypy: disable-error-code="type-arg"
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Prompt(_message.Message):
    __slots__ = ("text", "tokens")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    text: bytes
    tokens: Tokens
    def __init__(self, text: _Optional[bytes] = ..., tokens: _Optional[_Union[Tokens, _Mapping]] = ...) -> None: ...

class Tokens(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, ids: _Optional[_Iterable[int]] = ...) -> None: ...

class Chain(_message.Message):
    __slots__ = ("layers",)
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    layers: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, layers: _Optional[_Iterable[int]] = ...) -> None: ...

class Sampling(_message.Message):
    __slots__ = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    MIN_P_FIELD_NUMBER: _ClassVar[int]
    REPETITION_PENALTY_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    seed: int
    def __init__(self, temperature: _Optional[float] = ..., top_k: _Optional[int] = ..., top_p: _Optional[float] = ..., min_p: _Optional[float] = ..., repetition_penalty: _Optional[float] = ..., seed: _Optional[int] = ...) -> None: ...

class Verifier(_message.Message):
    __slots__ = ("exact", "pattern", "confident")
    EXACT_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    CONFIDENT_FIELD_NUMBER: _ClassVar[int]
    exact: str
    pattern: str
    confident: Confidence
    def __init__(self, exact: _Optional[str] = ..., pattern: _Optional[str] = ..., confident: _Optional[_Union[Confidence, _Mapping]] = ...) -> None: ...

class Confidence(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SearchOptions(_message.Message):
    __slots__ = ("simulations", "exploration", "length_penalty", "random_child", "block", "longest", "together", "seed")
    SIMULATIONS_FIELD_NUMBER: _ClassVar[int]
    EXPLORATION_FIELD_NUMBER: _ClassVar[int]
    LENGTH_PENALTY_FIELD_NUMBER: _ClassVar[int]
    RANDOM_CHILD_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    LONGEST_FIELD_NUMBER: _ClassVar[int]
    TOGETHER_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    simulations: int
    exploration: float
    length_penalty: float
    random_child: float
    block: int
    longest: int
    together: int
    seed: int
    def __init__(self, simulations: _Optional[int] = ..., exploration: _Optional[float] = ..., length_penalty: _Optional[float] = ..., random_child: _Optional[float] = ..., block: _Optional[int] = ..., longest: _Optional[int] = ..., together: _Optional[int] = ..., seed: _Optional[int] = ...) -> None: ...

class GenerateRequest(_message.Message):
    __slots__ = ("model", "prompt", "max_tokens", "sampling", "chain", "policy", "verifier", "search", "stop", "ends", "logprobs", "key")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    VERIFIER_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    ENDS_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    model: str
    prompt: Prompt
    max_tokens: int
    sampling: Sampling
    chain: Chain
    policy: str
    verifier: Verifier
    search: SearchOptions
    stop: _containers.RepeatedScalarFieldContainer[str]
    ends: _containers.RepeatedScalarFieldContainer[int]
    logprobs: int
    key: str
    def __init__(self, model: _Optional[str] = ..., prompt: _Optional[_Union[Prompt, _Mapping]] = ..., max_tokens: _Optional[int] = ..., sampling: _Optional[_Union[Sampling, _Mapping]] = ..., chain: _Optional[_Union[Chain, _Mapping]] = ..., policy: _Optional[str] = ..., verifier: _Optional[_Union[Verifier, _Mapping]] = ..., search: _Optional[_Union[SearchOptions, _Mapping]] = ..., stop: _Optional[_Iterable[str]] = ..., ends: _Optional[_Iterable[int]] = ..., logprobs: _Optional[int] = ..., key: _Optional[str] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("begun", "token", "ended")
    BEGUN_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    begun: Begun
    token: Token
    ended: Ended
    def __init__(self, begun: _Optional[_Union[Begun, _Mapping]] = ..., token: _Optional[_Union[Token, _Mapping]] = ..., ended: _Optional[_Union[Ended, _Mapping]] = ...) -> None: ...

class Begun(_message.Message):
    __slots__ = ("model", "version", "seed")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    seed: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., seed: _Optional[int] = ...) -> None: ...

class Token(_message.Message):
    __slots__ = ("id", "text", "logprob", "likeliest")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_FIELD_NUMBER: _ClassVar[int]
    LIKELIEST_FIELD_NUMBER: _ClassVar[int]
    id: int
    text: str
    logprob: float
    likeliest: _containers.RepeatedCompositeFieldContainer[Likely]
    def __init__(self, id: _Optional[int] = ..., text: _Optional[str] = ..., logprob: _Optional[float] = ..., likeliest: _Optional[_Iterable[_Union[Likely, _Mapping]]] = ...) -> None: ...

class Likely(_message.Message):
    __slots__ = ("id", "logprob")
    ID_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_FIELD_NUMBER: _ClassVar[int]
    id: int
    logprob: float
    def __init__(self, id: _Optional[int] = ..., logprob: _Optional[float] = ...) -> None: ...

class Ended(_message.Message):
    __slots__ = ("finish", "chain", "layers_run", "prompt_tokens", "cached_tokens", "model", "version")
    FINISH_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    LAYERS_RUN_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    finish: str
    chain: Chain
    layers_run: int
    prompt_tokens: int
    cached_tokens: int
    model: str
    version: int
    def __init__(self, finish: _Optional[str] = ..., chain: _Optional[_Union[Chain, _Mapping]] = ..., layers_run: _Optional[int] = ..., prompt_tokens: _Optional[int] = ..., cached_tokens: _Optional[int] = ..., model: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class ScoreRequest(_message.Message):
    __slots__ = ("model", "prompt", "chain", "key")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    model: str
    prompt: Prompt
    chain: Chain
    key: str
    def __init__(self, model: _Optional[str] = ..., prompt: _Optional[_Union[Prompt, _Mapping]] = ..., chain: _Optional[_Union[Chain, _Mapping]] = ..., key: _Optional[str] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("ids", "logprobs", "likeliest", "chain", "model", "version")
    IDS_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    LIKELIEST_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[int]
    logprobs: _containers.RepeatedScalarFieldContainer[float]
    likeliest: _containers.RepeatedScalarFieldContainer[int]
    chain: Chain
    model: str
    version: int
    def __init__(self, ids: _Optional[_Iterable[int]] = ..., logprobs: _Optional[_Iterable[float]] = ..., likeliest: _Optional[_Iterable[int]] = ..., chain: _Optional[_Union[Chain, _Mapping]] = ..., model: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class TokenizeRequest(_message.Message):
    __slots__ = ("model", "prompt", "key")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    model: str
    prompt: Prompt
    key: str
    def __init__(self, model: _Optional[str] = ..., prompt: _Optional[_Union[Prompt, _Mapping]] = ..., key: _Optional[str] = ...) -> None: ...

class TokenizeResponse(_message.Message):
    __slots__ = ("ids", "text", "model", "version")
    IDS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[int]
    text: str
    model: str
    version: int
    def __init__(self, ids: _Optional[_Iterable[int]] = ..., text: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("model", "problem", "problems", "max_tokens", "options", "key")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    model: str
    problem: Problem
    problems: Problems
    max_tokens: int
    options: SearchOptions
    key: str
    def __init__(self, model: _Optional[str] = ..., problem: _Optional[_Union[Problem, _Mapping]] = ..., problems: _Optional[_Union[Problems, _Mapping]] = ..., max_tokens: _Optional[int] = ..., options: _Optional[_Union[SearchOptions, _Mapping]] = ..., key: _Optional[str] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("prompt", "verifier")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    VERIFIER_FIELD_NUMBER: _ClassVar[int]
    prompt: Prompt
    verifier: Verifier
    def __init__(self, prompt: _Optional[_Union[Prompt, _Mapping]] = ..., verifier: _Optional[_Union[Verifier, _Mapping]] = ...) -> None: ...

class Problems(_message.Message):
    __slots__ = ("rows", "options")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[Labelled]
    options: MenuOptions
    def __init__(self, rows: _Optional[_Iterable[_Union[Labelled, _Mapping]]] = ..., options: _Optional[_Union[MenuOptions, _Mapping]] = ...) -> None: ...

class Labelled(_message.Message):
    __slots__ = ("prompt", "verifier")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    VERIFIER_FIELD_NUMBER: _ClassVar[int]
    prompt: bytes
    verifier: Verifier
    def __init__(self, prompt: _Optional[bytes] = ..., verifier: _Optional[_Union[Verifier, _Mapping]] = ...) -> None: ...

class MenuOptions(_message.Message):
    __slots__ = ("chains", "short", "held_out", "candidates", "chooser", "together", "seed")
    CHAINS_FIELD_NUMBER: _ClassVar[int]
    SHORT_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    CHOOSER_FIELD_NUMBER: _ClassVar[int]
    TOGETHER_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    chains: int
    short: int
    held_out: float
    candidates: int
    chooser: bool
    together: int
    seed: int
    def __init__(self, chains: _Optional[int] = ..., short: _Optional[int] = ..., held_out: _Optional[float] = ..., candidates: _Optional[int] = ..., chooser: bool = ..., together: _Optional[int] = ..., seed: _Optional[int] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("progress", "menu", "found", "stored")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    MENU_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    progress: SearchProgress
    menu: MenuProgress
    found: Found
    stored: Stored
    def __init__(self, progress: _Optional[_Union[SearchProgress, _Mapping]] = ..., menu: _Optional[_Union[MenuProgress, _Mapping]] = ..., found: _Optional[_Union[Found, _Mapping]] = ..., stored: _Optional[_Union[Stored, _Mapping]] = ...) -> None: ...

class Tried(_message.Message):
    __slots__ = ("chain", "reward", "simulation")
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    REWARD_FIELD_NUMBER: _ClassVar[int]
    SIMULATION_FIELD_NUMBER: _ClassVar[int]
    chain: Chain
    reward: float
    simulation: int
    def __init__(self, chain: _Optional[_Union[Chain, _Mapping]] = ..., reward: _Optional[float] = ..., simulation: _Optional[int] = ...) -> None: ...

class SearchProgress(_message.Message):
    __slots__ = ("simulations", "tried", "best")
    SIMULATIONS_FIELD_NUMBER: _ClassVar[int]
    TRIED_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    simulations: int
    tried: int
    best: Tried
    def __init__(self, simulations: _Optional[int] = ..., tried: _Optional[int] = ..., best: _Optional[_Union[Tried, _Mapping]] = ...) -> None: ...

class MenuProgress(_message.Message):
    __slots__ = ("stage", "done", "total", "row", "found")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    stage: str
    done: int
    total: int
    row: int
    found: Found
    def __init__(self, stage: _Optional[str] = ..., done: _Optional[int] = ..., total: _Optional[int] = ..., row: _Optional[int] = ..., found: _Optional[_Union[Found, _Mapping]] = ...) -> None: ...

class Found(_message.Message):
    __slots__ = ("layers", "tried", "model", "version")
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    TRIED_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    layers: int
    tried: _containers.RepeatedCompositeFieldContainer[Tried]
    model: str
    version: int
    def __init__(self, layers: _Optional[int] = ..., tried: _Optional[_Iterable[_Union[Tried, _Mapping]]] = ..., model: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class Stored(_message.Message):
    __slots__ = ("model", "version", "chains", "chooser", "figures")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CHAINS_FIELD_NUMBER: _ClassVar[int]
    CHOOSER_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    chains: _containers.RepeatedCompositeFieldContainer[Chain]
    chooser: bool
    figures: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., chains: _Optional[_Iterable[_Union[Chain, _Mapping]]] = ..., chooser: bool = ..., figures: _Optional[str] = ...) -> None: ...
