"""A search for chains of layers, as it goes on and as a picture of what it has found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foretoken.cli.output import progress, show, show_record, show_table
from foretoken.cli.prompts import Rows, menu_of
from foretoken.cli.remote import Remote
from foretoken.generated import Menu, MenuProgress, best_of

__all__ = ["Chains", "bars", "search_chains"]

STAGES = {"search": (0.0, 0.8), "choose": (0.8, 0.1), "measure": (0.9, 0.1)}  # of a bar
WIDTH = 40  # of a bar of text


@dataclass
class Chains:
    """The best right chain of each prompt that a search has found one for.

    Attributes:
        layers: of the model.
        prompts: that were searched.
        found: best right chains.
    """

    layers: int = 0
    prompts: int = 0
    found: list[tuple[int, ...]] = field(default_factory=list)

    def add(self, done: MenuProgress) -> None:
        """Take in what was found for one prompt, if that is what is told."""
        if not done.tried:
            return
        self.layers, self.prompts = done.layers, self.prompts + 1
        if (best := best_of(done.tried)).reward > 0:
            self.found.append(best.chain)

    @property
    def lengths(self) -> dict[int, int]:
        """How many chains have each length, from the shortest to the longest, gaps included."""
        counts = Counter(map(len, self.found))
        return {n: counts[n] for n in range(min(counts), max(counts) + 1)} if counts else {}

    @property
    def usage(self) -> dict[int, float]:
        """How often a chain runs each layer, on average; 1 in the whole chain."""
        runs = Counter(layer for chain in self.found for layer in chain)
        count = max(1, len(self.found))
        return {layer: runs[layer] / count for layer in range(self.layers)}


def search_chains(
    rows: Rows,
    server: Remote | None,
    data_dir: Path | None,
    plot: Path | None,
    *,
    as_json: bool,
) -> None:
    """Search, with a bar on stderr; then show the menu, and draw the chains."""
    chains = Chains()
    with progress("searching chains") as bar:

        def heard(done: MenuProgress) -> None:
            chains.add(done)
            begin, share = STAGES.get(done.stage, (1.0, 0.0))
            bar(begin + share * done.done / max(1, done.total))

        menu = menu_of(rows, server, data_dir, heard)
    if plot is not None:
        from foretoken.cli.plot_chains import plot_chains  # noqa: PLC0415 - matplotlib is slow

        plot_chains(plot, chains, f"{rows.file.stem}: chains of {rows.model}")
    if as_json:
        show("", as_json=True, **_record(menu, chains), plot=None if plot is None else str(plot))
        return
    _show(menu, chains)


def _record(menu: Menu, chains: Chains) -> dict[str, Any]:
    return {
        "model": menu.model,
        "version": menu.version,
        "chains": [list(chain) for chain in menu.chains],
        "chooser": menu.chooser,
        "figures": dict(menu.figures),
        "searched": chains.prompts,
        "found": len(chains.found),
        "lengths": chains.lengths,
        "usage": chains.usage,
    }


def _show(menu: Menu, chains: Chains) -> None:
    title = f"For {len(chains.found)} of {chains.prompts} prompts a right chain was found"
    show(title)
    _bars("layers of the chain", chains.lengths, f"{chains.layers} in the whole one")
    _bars("runs of the layer", chains.usage, "1 in the whole chain")
    listed = [
        {"place": i, "layers": len(chain), "chain": ",".join(map(str, chain))}
        for i, chain in enumerate(menu.chains, 1)
    ]
    show_table(listed, title=f"Menu of {menu.ref}", as_json=False)
    show_record(dict(menu.figures), title="On prompts that were held out", as_json=False)
    show(f"Stored as {menu.ref}; try it with `foretoken generate {menu.ref} --policy menu PROMPT`.")


def _bars(title: str, values: Mapping[int, float], note: str) -> None:
    """A bar of text for each value."""
    if not values:
        return
    show(f"{title} ({note})")
    for line in bars(list(values.items())):
        show(line)


def bars(values: Sequence[tuple[int, float]]) -> list[str]:
    """Lines of a name, a bar and a value; the largest value has the longest bar."""
    most = max(value for _, value in values) or 1
    return [
        f"{name:>6}  {'█' * round(WIDTH * value / most):<{WIDTH}}  {value:.3g}"
        for name, value in values
    ]
