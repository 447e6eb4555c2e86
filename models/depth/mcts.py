"""Monte Carlo tree search over chains of layers: asked for chains to try, told what they are worth.

Li et al. 2025, Skip a Layer or Loop it?, section 3: the root is the whole chain, a child is its
parent after one edit, and a simulation goes down by the upper confidence bound
Q / v + c sqrt(ln V / v) - lambda |P| / N.

Letters: N layers of the model, |P| layers of a chain, V simulations so far, v of them through a
node, Q the sum of what they were worth.
"""

from __future__ import annotations

import math
import random
from bisect import insort
from dataclasses import dataclass, field

from foretoken.errors import InternalError, InvalidInput
from foretoken.generated import best_of
from foretoken.models.depth.chains import Chain, edited, full, repeated, skipped
from foretoken.models.depth.requests import SearchOptions, SearchReply, Tried

__all__ = ["TreeSearch", "edits_of"]

DRAWS = 16  # of a child that was never tried, before all of them are listed


@dataclass(eq=False, slots=True)
class _Node:
    """A chain in the tree.

    Args:
        chain: of it.
        cost: lambda |P| / N.
    """

    chain: Chain
    cost: float
    worth: float = 0.0  # Q
    visits: int = 0  # v, those that are under way included
    tried: list[_Node] = field(default_factory=list)  # its children that were chosen
    spent: bool = False  # whether all edits of its chain have been chosen
    closed: bool = False  # whether nothing below it is left to choose


def _simulation(one: Tried) -> int:
    return one.simulation


def edits_of(chain: Chain, block: int, longest: int) -> list[Chain]:
    """The chains that one edit makes of a chain, in order of kind, size and place, each once.

    Args:
        chain: to be edited.
        block: layers that are skipped or repeated together, and times that they are, at most.
        longest: layers of a chain, at most.
    """
    found: dict[Chain, None] = {}
    for k in range(1, min(block, len(chain)) + 1):
        for at in range(len(chain) - k + 1):
            if k < len(chain):
                found[skipped(chain, at, k)] = None
            for times in range(1, min(block, (longest - len(chain)) // k) + 1):
                found[repeated(chain, at, k, times)] = None
    found.pop(chain, None)
    return list(found)


class TreeSearch:
    """Chooses chains; deterministic by the seed and the order of what it is told.

    A simulation goes down from the root. At each node it takes, with the probability
    ``random_child``, an edit that makes a chain which no simulation has chosen, and ends with it;
    otherwise it goes on to the child with the highest bound. Where there is but one of the two, it
    takes that. Chains are told apart by their layers, however they were edited, so none is chosen
    twice.

    Args:
        layers: N.
        options: of the search; ``longest`` None is twice the model's layers.

    Raises:
        InvalidInput: ``longest`` is less than the model's layers.
    """

    def __init__(self, layers: int, options: SearchOptions) -> None:
        self.options = options
        self.longest = options.longest or 2 * layers
        if self.longest < layers:
            raise InvalidInput(
                f"chains of at most {self.longest} layers leave out the whole one, of {layers}"
            )
        self.layers = layers
        self.tried: list[Tried] = []  # in the order in which chains were chosen
        self.best: Tried | None = None  # of them, as ``best_of`` says it
        self._random = random.Random(options.seed)
        self._root = self._node(full(layers))
        self._chosen: dict[Chain, int] = {}  # and the simulation that did, from 0 on
        self._paths: dict[Chain, list[_Node]] = {}  # of simulations under way

    @property
    def simulations(self) -> int:
        """V, those under way included."""
        return len(self._chosen)

    @property
    def reply(self) -> SearchReply:
        """What was found among the chains that have been told, at least one."""
        return SearchReply(self.layers, tuple(self.tried))

    def ask(self, most: int = 1) -> list[Chain]:
        """Chains to be run and told of, at most ``most``; none once the search is over.

        Until it is told, what a chain is worth counts as 0 in all nodes on its way, so that those
        chosen after it go other ways.
        """
        found: list[Chain] = []
        while len(found) < most and self.simulations < self.options.simulations:
            if (path := self._down()) is None:
                break
            chain = path[-1].chain
            self._chosen[chain] = self.simulations
            self._paths[chain] = path
            for node in path:
                node.visits += 1
            found.append(chain)
        return found

    def tell(self, chain: Chain, reward: float) -> None:
        """What a chain that was asked for is worth, in [0, 1].

        Raises:
            InternalError: it was not asked for, or has been told.
        """
        path = self._paths.pop(chain, None)
        if path is None:
            raise InternalError(f"chain {chain} is told of, but was not asked for")
        for node in path:
            node.worth += reward
        one = Tried(chain, reward, self._chosen[chain])
        insort(self.tried, one, key=_simulation)
        # Not of all: a search is asked for it after each of its rounds.
        self.best = one if self.best is None else best_of(sorted((self.best, one), key=_simulation))

    def _down(self) -> list[_Node] | None:
        """The nodes of a simulation, the chain that it chooses last; None if none is left."""
        if not self._chosen:
            return [self._root]
        while not self._root.closed:
            node, path = self._root, [self._root]
            while not node.closed:
                below = self._likeliest(node.tried)
                wanted = below is None or self._random.random() < self.options.random_child
                if wanted and (child := self._fresh(node)) is not None:
                    return [*path, child]
                if below is None:
                    node.closed = True
                else:
                    path.append(node := below)
        return None

    def _likeliest(self, nodes: list[_Node]) -> _Node | None:
        """The node with the highest bound, the first of equal ones; None if all are closed."""
        seen = self.options.exploration**2 * math.log(self.simulations)
        best, highest = None, -math.inf
        for node in nodes:
            v = node.visits
            bound = node.worth / v + math.sqrt(seen / v) - node.cost
            if bound > highest and not node.closed:
                best, highest = node, bound
        return best

    def _fresh(self, node: _Node) -> _Node | None:
        """A new child of a node, at random, whose chain nobody has chosen; None if there is none.

        Skips and repeats are as likely, and so are all sizes and places, as in ``chains.edited``.
        """
        block = self.options.block
        for _ in range(DRAWS):
            chain = edited(node.chain, 1, self.longest, self._random, block)
            if chain not in self._chosen:
                break
        else:
            if node.spent:
                return None
            every = edits_of(node.chain, block, self.longest)
            left = [chain for chain in every if chain not in self._chosen]
            if not left:
                node.spent = True
                return None
            chain = self._random.choice(left)
        child = self._node(chain)
        node.tried.append(child)
        return child

    def _node(self, chain: Chain) -> _Node:
        return _Node(chain, self.options.length_penalty * len(chain) / self.layers)
