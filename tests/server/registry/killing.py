"""Children that are killed while they register and move aliases, and the judge of what is left."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from foretoken.server.registry.records import Status, Target
from foretoken.server.registry.registry import Registry
from tests.server.registry.conftest import toy_signature, write_artefact

NAME = "m"
EARLY = 0.2  # of children that may be killed before they have begun
PATIENCE = 30.0  # seconds until a child begins
MORE = 10  # times as many children, if need be


def fork(work: Callable[[Callable[[dict], None]], None]) -> tuple[int, int]:
    """Run ``work(say)`` in a child; its process id, and the pipe that ``say`` writes JSON lines to.

    A line is written in one piece, so that none is lost or torn by a kill.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    status = 1
    try:
        os.close(reading)
        work(lambda said: os.write(writing, json.dumps(said).encode() + b"\n") and None)
        status = 0
    finally:
        os._exit(status)


def heard(pipe: int) -> list[dict]:
    """All lines until the pipe's writer is gone."""
    with os.fdopen(pipe, "rb") as lines:
        return [json.loads(line) for line in lines]


def toil(data_dir: Path, folder: Path, seed: int, say: Callable[[dict], None]) -> None:
    """Register and move aliases for ever; say what begins, and what has returned."""
    choice = random.Random(seed)
    with Registry.open(data_dir, signature=toy_signature) as registry:
        newest = registry.versions(NAME, limit=1)[0].number if registry.models() else 0
        for n in range(1_000_000):
            if newest == 0 or choice.random() < 0.15:
                artefact = write_artefact(folder / f"{seed}-{n}", choice.random())
                check = choice.choice([None, lambda _: time.sleep(0.003)])
                say({"begin": "register"})
                version = registry.register(NAME, artefact, check=check)
                newest = version.number
                say({"number": newest, "digest": version.manifest_digest})
            else:
                alias = choice.choice(["champion", "shadow"])
                target = choice.randint(max(1, newest - 9), newest)
                if registry.show(f"{NAME}:{target}").status is not Status.READY:
                    continue
                say({"begin": "alias set"})
                moved = registry.set_alias(NAME, alias, target)
                say({"alias": alias, "version": target, "generation": moved.generation})


@dataclass
class Judge:
    """Looks at a data dir after each kill and keeps count.

    Args:
        data_dir: that children work on.
        kills: so far.
    """

    data_dir: Path
    kills: int = 0
    counts: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    _numbers: dict[int, str] = field(default_factory=dict)
    _moves: dict[tuple[str, int], int] = field(default_factory=dict)
    _looked_at: int = 0

    def hear(self, said: list[dict]) -> None:
        """Take down what was acknowledged, and what was under way when the child died."""
        self.counts["killed before anything began"] += not any("begin" in line for line in said)
        for line in said:
            if "number" in line:
                self.counts["registers acknowledged"] += 1
                self._numbers[line["number"]] = line["digest"]
            elif "alias" in line:
                self.counts["alias sets acknowledged"] += 1
                self._moves[line["alias"], line["generation"]] = line["version"]
        if said and "begin" in said[-1]:
            self.counts[f"killed in {said[-1]['begin']}"] += 1

    def look(self) -> None:
        """Judge what is left, then collect garbage and look for orphans."""
        incoming = self.data_dir / "blobs/incoming"
        self.counts["files left half-written"] += sum(1 for _ in incoming.iterdir())
        with Registry.open(self.data_dir, signature=toy_signature) as registry:
            self._look_for_lost(registry)
            self._look_for_halves(registry)
            collected = registry.gc(0)
            self.counts["versions left PENDING"] += len(collected.interrupted)
            self.counts["orphaned blobs collected"] += collected.blobs
            self._look_for_orphans(registry, incoming)

    def _look_for_lost(self, registry: Registry) -> None:
        there = {version.number: version.manifest_digest for version in versions(registry)}
        for number, digest in self._numbers.items():
            if there.get(number) != digest:
                self._note("acknowledged writes lost", f"version {number} is lost")
        moves = {
            (event.alias, event.generation): event.after
            for event in (registry.history(NAME) if there else [])
        }
        for (alias, generation), version in self._moves.items():
            if moves.get((alias, generation)) != Target(version):
                self._note("acknowledged writes lost", f"{alias} {generation} is lost")
        for alias in registry.aliases(NAME) if there else []:
            newest = max(g for a, g in moves if a == alias.alias)
            if (alias.generation, alias.target) != (newest, moves[alias.alias, newest]):
                self._note("half-written versions visible", f"{alias} is not its history")

    def _look_for_halves(self, registry: Registry) -> None:
        for version in versions(registry):
            if version.number <= self._looked_at:
                break
            if version.status is not Status.READY:
                self._note("half-written versions visible", f"{version.ref} is {version.status}")
            for report in registry.verify(version.ref):
                if not report.ok:
                    self._note("half-written versions visible", report.problem)
        self._looked_at = max(self._numbers, default=0)

    def _look_for_orphans(self, registry: Registry, incoming: Path) -> None:
        wanted = set()
        for version in versions(registry):
            wanted.add(version.manifest_digest)
            wanted |= {entry.digest for entry in registry.manifest(version).files.values()}
        there = {f"sha256:{path.name}" for path in (self.data_dir / "blobs/sha256").iterdir()}
        if there != wanted or list(incoming.iterdir()):
            self._note("orphans after gc", f"{there ^ wanted} {list(incoming.iterdir())}")

    def _note(self, what: str, detail: str) -> None:
        self.counts[what] += 1
        self.wrong.append(detail)

    def figures(self) -> dict[str, int]:
        """Counts by name, those that must be zero first."""
        zero = ("acknowledged writes lost", "half-written versions visible", "orphans after gc")
        return {name: self.counts[name] for name in (*zero, *sorted(set(self.counts) - set(zero)))}


def versions(registry: Registry) -> Iterator:
    """Every visible version, newest first."""
    after = None
    while registry.models() and (page := registry.versions(NAME, after, 1000)):
        yield from page
        after = page[-1].number


def kill_rounds(rounds: int, folder: Path, seed: int, longest: float = 0.4) -> Judge:
    """Let children work one after another, each killed at a random moment.

    There are ``rounds`` of them. On a busy machine there are more, with more time each, until one
    has registered something and one was killed at it. Most moments are counted from the child's
    first word.
    """
    choice = random.Random(seed)
    judge = Judge(folder / "data")
    Registry.open(judge.data_dir, signature=toy_signature).close()
    wanted = ("registers acknowledged", "killed in register")
    while judge.kills < rounds or (
        not all(judge.counts[what] for what in wanted) and judge.kills < MORE * rounds
    ):
        n = judge.kills
        child, pipe = fork(lambda say, n=n: toil(judge.data_dir, folder / "artefacts", n, say))
        if choice.random() > EARLY:
            select.select([pipe], [], [], PATIENCE)
        time.sleep(choice.uniform(0.005, longest * (1 + n // rounds)))
        os.kill(child, signal.SIGKILL)
        judge.kills += 1
        os.waitpid(child, 0)
        judge.hear(heard(pipe))
        judge.look()
    with Registry.open(judge.data_dir, signature=toy_signature) as registry:
        judge.wrong += [report.problem for report in registry.verify() if not report.ok]
    return judge
