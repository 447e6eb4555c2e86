"""The typed requests and replies of the six tasks; doors, CLI and estimators speak these.

A request checks itself when it is made, so whatever reaches a family is well formed; limits that
depend on the model (rows, steps, tokens) are the family's to check. The reply to a curve is a
``foretoken.posterior.Posterior``, which clients build as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from numbers import Integral
from typing import NoReturn

import numpy as np

from foretoken.arrays import expect_unicode
from foretoken.errors import InvalidInput, InvalidType
from foretoken.models.contract import Array
from foretoken.models.generation import Chat, Sampling

LOGPROBS, STOPS = 20, 16  # at most
HORIZON = 100  # points of a curve, seen and predicted, unless twice what was seen is more


class Task(StrEnum):
    """Which requests a family answers."""

    TABULAR = "tabular"
    CURVE = "curve"
    TEXT = "text"
    GRAPH = "graph"
    SEQUENCE = "sequence"
    GENERATION = "generation"


def _expect_increasing(what: str, steps: Array) -> None:
    line = steps.ndim == 1 and steps.size > 0
    # Whatever begins at 0 or later, rises and ends before infinity is finite throughout.
    if line and steps[0] >= 0 and steps[-1] < np.inf and (steps[1:] > steps[:-1]).all():
        return
    if steps.ndim != 1 or steps.size == 0 or not np.isfinite(steps).all():
        raise InvalidInput(f"{what} must be a non-empty list of finite numbers")
    if steps[0] < 0:
        raise InvalidInput(f"{what} must not be negative; the first is {steps[0]:g}")
    falls = np.flatnonzero(np.diff(steps) <= 0)
    if falls.size:
        i = int(falls[0]) + 1
        how = "duplicate" if steps[i] == steps[i - 1] else "out of order"
        raise InvalidInput(
            f"{what} must be strictly increasing; entry {i} ({steps[i]:g}) is {how}: "
            "sort them and keep one value per step"
        )


@dataclass(frozen=True)
class CurveRequest:
    """A learning curve seen so far, and where to extrapolate it.

    Args:
        values: observed metric, float64 [N], in the caller's units.
        steps: when each was observed, float64 [N], strictly increasing, in the caller's units.
        at: steps to predict, float64 [Q], strictly increasing; may lie anywhere.
        quantiles: levels in (0, 1) to report, float64 [K].
        minimize: whether lower is better.
        bounds: hard limits of the metric, either may be infinite.
        soft_bounds: range in which values of interest lie; the default is learned from ``values``
            and ``bounds``.
    """

    values: Array
    steps: Array
    at: Array
    quantiles: Array
    minimize: bool = False
    bounds: tuple[float, float] = (0.0, 1.0)
    soft_bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or self.values.shape != self.steps.shape:
            raise InvalidInput(
                f"values {self.values.shape} and steps {self.steps.shape} must be two lists of the "
                "same length"
            )
        _expect_increasing("steps", self.steps)
        _expect_increasing("at", self.at)
        low, high = self.bounds
        least, most = self.values.min(), self.values.max()
        if not (low <= least <= most <= high and -np.inf < least and most < np.inf and low < high):
            self._refuse_values()
        levels = self.quantiles
        if levels.ndim != 1 or not ((levels > 0) & (levels < 1)).all():
            raise InvalidInput(
                f"quantiles must lie strictly between 0 and 1, not {levels.tolist()}"
            )

    def _refuse_values(self) -> NoReturn:
        bad = np.flatnonzero(~np.isfinite(self.values))
        if bad.size:
            raise InvalidInput(
                f"values must be finite; entry {int(bad[0])} is {self.values[bad[0]]}: "
                "drop diverged or missing steps"
            )
        low, high = self.bounds
        if not low < high:
            raise InvalidInput(f"bounds must be (low, high) with low < high, not {self.bounds}")
        i = int(np.flatnonzero((self.values < low) | (self.values > high))[0])
        raise InvalidInput(
            f"value {self.values[i]:g} at step {self.steps[i]:g} lies outside bounds "
            f"[{low:g}, {high:g}]: pass bounds that hold the metric, infinite ones if need be"
        )


def following(steps: Array) -> Array:
    """The steps after ``steps`` [N], at their median spacing, up to ``HORIZON`` in all, or 2 N.

    Raises:
        InvalidInput: if there are none.
    """
    if steps.size == 0:
        raise InvalidInput("y must hold at least one value")
    spacing = float(np.median(np.diff(steps))) if steps.size > 1 else 1.0
    ahead = max(HORIZON, 2 * steps.size) - steps.size
    after: Array = steps[-1] + spacing * np.arange(1, ahead + 1)
    return after


@dataclass(frozen=True)
class TabularRequest:
    """Rows to classify, and the labelled rows to classify them by; to fit, the latter alone.

    A column is float, int or bool [rows], or str [rows] (dtype ``str`` or ``object``, where None
    is a missing value); in floats NaN is one.

    Args:
        test: columns by name, each [M]; empty to fit.
        train: columns by name, each [N]; empty when a context stands for them.
        target: class labels, [N]: int, bool or str.
        categorical: names of numeric columns whose values have no order; columns of str and bool
            are categorical anyway.
        options: of the family, such as the number of ensemble members.
        context: id of the fitted context that stands for ``train`` and ``target``.
    """

    test: Mapping[str, Array] = field(default_factory=dict)
    train: Mapping[str, Array] = field(default_factory=dict)
    target: Array | None = None
    categorical: frozenset[str] = frozenset()
    options: Mapping[str, float | str] = field(default_factory=dict)
    context: str | None = None

    def __post_init__(self) -> None:
        for part, columns in (("test", self.test), ("train", self.train)):
            shapes = {getattr(column, "shape", None) for column in columns.values()}
            if columns and (len(shapes) > 1 or len(shapes.pop() or ()) != 1):
                self._expect_lists(part, columns)
        if self.context is not None and (self.train or self.target is not None):
            raise InvalidInput("give either a context or rows to learn from, not both")
        if self.train and self.test and (differing := set(self.train) ^ set(self.test)):
            raise InvalidInput(
                f"train and test must have the same columns; differing: {sorted(differing)}"
            )
        if self.target is not None and self.train:
            rows = len(next(iter(self.train.values())))
            if self.target.shape != (rows,):
                raise InvalidInput(
                    f"the target has shape {self.target.shape}; one label for each of the {rows} "
                    "rows to learn from is needed"
                )
        if unknown := self.categorical - set(self.train or self.test):
            raise InvalidInput(f"categorical names columns that there are not: {sorted(unknown)}")

    @staticmethod
    def _expect_lists(part: str, columns: Mapping[str, Array]) -> None:
        for name, column in columns.items():
            if getattr(column, "ndim", 1) != 1:
                raise InvalidInput(
                    f"{part} column {name!r} has shape {column.shape}; one value for each row "
                    "is needed"
                )
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise InvalidInput(f"{part} columns must have one length, not {lengths}")


@dataclass(frozen=True)
class TabularReply:
    """Class probabilities, and how far the members of the ensemble disagree.

    Args:
        probabilities: float64 [M, C]; rows sum to 1.
        classes: [C] the labels, sorted, naming the columns.
        uncertainty: float64 [M], nats: entropy of the members' mean minus the mean of their
            entropies (the mutual information of label and member); 0 with one member.
        notes: choices that were made for the caller, such as which rows were left out.
    """

    probabilities: Array
    classes: Array
    uncertainty: Array
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextRequest:
    """Texts to embed; ``dimensions`` cuts the vectors (Matryoshka), ``prompt`` precedes each text.

    Args:
        texts: at least one; empty ones are texts, too.
        dimensions: length of the vectors; the default is the model's own.
        prompt: text put before each of ``texts``.
        truncate: "end" cuts what is too long and reports it, "error" refuses it.
    """

    texts: tuple[str, ...]
    dimensions: int | None = None
    prompt: str | None = None
    truncate: str = "end"

    def __post_init__(self) -> None:
        if not self.texts:
            raise InvalidInput("texts must not be empty; give at least one")
        expect_unicode(self.texts)
        if self.prompt is not None:
            if not isinstance(self.prompt, str):
                raise InvalidType(f"the prompt is a str, not the {type(self.prompt).__name__}")
            expect_unicode((self.prompt,), "the prompt")
        d = 1 if self.dimensions is None else self.dimensions
        if isinstance(d, bool) or not isinstance(d, Integral):
            raise InvalidType(f"dimensions are an int, not the {type(d).__name__}")
        if d < 1:
            raise InvalidInput(f"dimensions must be 1 or more, not {self.dimensions}")
        if self.truncate not in ("end", "error"):
            raise InvalidInput(f"truncate is 'end' or 'error', not {self.truncate!r}")


@dataclass(frozen=True)
class TextReply:
    """Unit vectors, float32 [texts, dimensions], tokens used and tokens cut off, int64 [texts]."""

    vectors: Array
    tokens: Array
    cut: Array


@dataclass(frozen=True)
class GraphRequest:
    """A graph whose nodes are embedded, and nodes whose vectors to tell; to fit, the former alone.

    Nodes are numbered from 0. An edge of an undirected graph may be given from either end or, with
    one weight, from both.

    Args:
        sources, targets: the ends of each edge, int [E]; None when a context stands for the graph.
        weights: of the edges, float64 [E], above 0; None: all alike.
        count: of the graph's nodes; the default is the largest number of an end, and one more.
        directed: whether edges lead from source to target alone.
        self_loops: of edges from a node to itself: "refuse", "keep" (each once) or "drop" them.
        duplicates: of edges that are given more than once: "refuse" them, or "sum" their weights,
            of undirected ones from either end.
        nodes: whose vectors to tell, int [M]; None: all, in order, or none to fit.
        options: of the family, such as the number of dimensions.
        context: id of the fitted context that stands for the graph.
    """

    sources: Array | None = None
    targets: Array | None = None
    weights: Array | None = None
    count: int | None = None
    directed: bool = False
    self_loops: str = "refuse"
    duplicates: str = "refuse"
    nodes: Array | None = None
    options: Mapping[str, float | str] = field(default_factory=dict)
    context: str | None = None

    def __post_init__(self) -> None:
        if self.self_loops not in ("refuse", "keep", "drop"):
            raise InvalidInput(f"self_loops is 'refuse', 'keep' or 'drop', not {self.self_loops!r}")
        if self.duplicates not in ("refuse", "sum"):
            raise InvalidInput(f"duplicates is 'refuse' or 'sum', not {self.duplicates!r}")
        if self.nodes is not None:
            _expect_nodes("nodes", self.nodes, None)
        if (self.sources is None) != (self.targets is None):
            raise InvalidInput("sources and targets, the ends of each edge, go together")
        if self.sources is not None and self.targets is not None:
            self._expect_edges(self.sources, self.targets)
        elif self.weights is not None or self.count is not None:
            raise InvalidInput("weights and count go with the edges of a graph; give sources")

    def _expect_edges(self, sources: Array, targets: Array) -> None:
        if self.context is not None:
            raise InvalidInput("give either a context or a graph, not both")
        if self.count is not None and self.count < 1:
            raise InvalidInput(f"count is {self.count}; a graph has at least one node")
        _expect_nodes("sources", sources, self.count)
        _expect_nodes("targets", targets, self.count)
        if sources.shape != targets.shape:
            raise InvalidInput(
                f"sources {sources.shape} and targets {targets.shape} must have one length: an "
                "edge has two ends"
            )
        if self.weights is not None:
            _expect_weights(self.weights, len(sources))


def _expect_nodes(what: str, nodes: Array, count: int | None) -> None:
    if nodes.ndim != 1 or nodes.dtype.kind not in "iu":
        raise InvalidInput(
            f"{what} must be a list of integers, not {nodes.dtype} of shape {nodes.shape}: number "
            "the nodes from 0"
        )
    most = int(np.iinfo(np.int64).max) if count is None else count - 1
    if nodes.size and not 0 <= int(nodes.min()) <= int(nodes.max()) <= most:
        i = int(np.flatnonzero((nodes < 0) | (nodes > most))[0])
        there = "are numbered from 0" if count is None else f"are 0 to {most}"
        raise InvalidInput(f"entry {i} of {what} is {nodes[i]}, which is no node: these {there}")


def _expect_weights(weights: Array, edges: int) -> None:
    if weights.shape != (edges,) or weights.dtype.kind not in "fiu":
        raise InvalidInput(
            f"weights are {weights.dtype} of shape {weights.shape}; one number for each of the "
            f"{edges} edges is needed"
        )
    if edges and not (weights.min() > 0 and weights.max() < np.inf):
        i = int(np.flatnonzero(~((weights > 0) & (weights < np.inf)))[0])
        raise InvalidInput(
            f"the weight of edge {i} is {weights[i]}; weights are finite and above 0: leave out "
            "edges that are none"
        )


@dataclass(frozen=True)
class GraphReply:
    """Vectors of nodes.

    Args:
        vectors: float32 [M, D], in the order of the nodes that were asked for.
        count: of the graph's nodes.
        notes: choices that were made for the caller, such as what nodes without edges get.
    """

    vectors: Array
    count: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SequenceRequest:
    """The next ``T`` observations of a running sequence.

    Args:
        values: float64 [T, D].
        options: of the family, such as the horizon of a forecast; the same for a whole sequence.
    """

    values: Array
    options: Mapping[str, float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or 0 in self.values.shape:
            raise InvalidInput(f"values must be [T, D], both at least 1, not {self.values.shape}")


@dataclass(frozen=True)
class SequenceReply:
    """What a stream answers after each of ``T`` observations, by name, each [T, ...]."""

    outputs: Mapping[str, Array]


@dataclass(frozen=True)
class GenerationRequest:
    """A prompt to continue.

    Args:
        prompt: a text, token ids, int [T], or a conversation.
        max_tokens: stop after that many; None: after as many as the model has positions for.
        sampling: how tokens are drawn.
        chain: indices of the layers to run, in order, repeats allowed; the default is all.
        stop: texts before which the answer ends.
        ends: token ids that end the answer, beside the model's own.
        logprobs: how many of the likeliest tokens to tell beside each that was chosen.
    """

    prompt: str | Array | Chat
    max_tokens: int | None
    sampling: Sampling = field(default_factory=Sampling)
    chain: tuple[int, ...] | None = None
    stop: tuple[str, ...] = ()
    ends: tuple[int, ...] = ()
    logprobs: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.prompt, str):
            expect_unicode((self.prompt,), "the prompt")
        elif not isinstance(self.prompt, Chat) and not _are_tokens(self.prompt):
            raise InvalidInput("prompt must be a text or a list of at least one token")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InvalidInput(f"max_tokens must be at least 1, not {self.max_tokens}")
        if not 0 <= self.logprobs <= LOGPROBS:
            raise InvalidInput(f"logprobs is 0 to {LOGPROBS}, not {self.logprobs}")
        if "" in self.stop or len(self.stop) > STOPS:
            raise InvalidInput(f"stop holds at most {STOPS} texts, none of them empty")
        expect_unicode(self.stop, "stop")


def _are_tokens(ids: Array) -> bool:
    return ids.ndim == 1 and ids.size > 0 and ids.dtype.kind in "iu"


@dataclass(frozen=True)
class Token:
    """One generated token.

    Args:
        id: of the vocabulary.
        text: what is certain once it has come, which may be nothing yet, or more than its own.
        logprob: log-softmax of the raw logits, nats.
        likeliest: the likeliest tokens and their ``logprob``, as many as were asked for.
        finish: why the answer ends with it, as of the reply; empty: it goes on.
    """

    id: int
    text: str
    logprob: float
    likeliest: tuple[tuple[int, float], ...] = ()
    finish: str = ""


@dataclass(frozen=True)
class GenerationReply:
    """The whole answer.

    Args:
        tokens: all of them.
        finish: why it ended: "stop" or "length".
        chain: that was run.
        prompt: tokens of the prompt.
        reused: tokens of the prompt whose keys and values were there already.
        layers: that were run, each token counted; what is computed again counts again.
    """

    tokens: tuple[Token, ...]
    finish: str
    chain: tuple[int, ...] = ()
    prompt: int = 0
    reused: int = 0
    layers: int = 0

    @property
    def text(self) -> str:
        """The answer's."""
        return "".join(token.text for token in self.tokens)


_TASKS = {
    TabularRequest: Task.TABULAR,
    CurveRequest: Task.CURVE,
    TextRequest: Task.TEXT,
    GraphRequest: Task.GRAPH,
    SequenceRequest: Task.SEQUENCE,
    GenerationRequest: Task.GENERATION,
}


def task_of(request: object) -> Task:
    """The task that a request belongs to.

    Raises:
        InvalidInput: if it is no request.
    """
    if type(request) not in _TASKS:
        raise InvalidInput(f"{type(request).__name__} is not a request of any task")
    return _TASKS[type(request)]
