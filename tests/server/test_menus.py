"""Menus are built from labelled rows, measured on those that were kept apart, and stored."""

from __future__ import annotations

import asyncio
import json

import pytest

from foretoken.errors import InvalidInput, PermissionDenied, Unsupported
from foretoken.models import catalog
from foretoken.models.artefact import Artefact
from foretoken.models.cola.vocabulary import EOS, VOCABULARY
from foretoken.models.depth.chains import full
from foretoken.models.depth.menus import agreed
from foretoken.models.depth.requests import SearchOptions
from foretoken.models.depth.verifiers import Exact, Matches
from foretoken.models.tasks import GenerationRequest
from foretoken.records import Relation
from foretoken.server.admin import Admin
from foretoken.server.local import LocalPlane
from foretoken.server.menus import (
    LabelledRow,
    MenuOptions,
    MenuProgress,
    MenuStored,
    build_menu,
    read_rows,
)
from foretoken.server.registry.registry import Registry
from foretoken.server.settings import load_settings
from foretoken.server.terms import Caller, Scope, Terms
from tests.toys.cola import greedy, made, written

OPTIONS = MenuOptions(
    chains=4, max_tokens=3, short=3, search=SearchOptions(simulations=30, together=4)
)


@pytest.fixture(scope="module")
def model():
    return made()


@pytest.fixture
def registry(tmp_path, model):
    folder = tmp_path / "artefact"
    folder.mkdir()
    with Registry.open(tmp_path / "data") as registry:
        registry.register("sums", written(model, folder))
        yield registry


@pytest.fixture
def plane(registry):
    with LocalPlane(registry, load_settings()) as plane:
        yield plane


@pytest.fixture
def admin(plane):
    admin = Admin(plane.plane, plane.plane.follow, 1 << 30)
    yield admin
    admin.close()


def labelled(model, chains, count):
    """Rows that one of the chains answers, in turn, and ends."""
    found = []
    for i in range(1000):
        chain, prompt = chains[len(found) % len(chains)], f"{i}+{i * 7 % 13}="
        ids = greedy(model, prompt, 3, chain)
        if ids[-1] == EOS and len(ids) > 1:
            found.append(LabelledRow(prompt, Exact(VOCABULARY.decode(ids))))
            if len(found) == count:
                return found
    raise AssertionError("too few of the answers end")


def collected(plane, *args):
    async def run():
        return [step async for step in build_menu(plane.plane, *args)]

    return plane.run(run())


def answers(model, row, chain):
    ids = greedy(model, row.prompt, len(row.verifier.answer) + 1, chain)
    return ids == [*VOCABULARY.encode(row.verifier.answer)[1:], EOS]


def test_a_menu_is_built_measured_and_stored(plane, admin, registry, model):
    rows = labelled(model, [(1, 2), (0, 0, 2), (1, 2)], 24)
    *steps, stored = collected(plane, admin, "sums", rows, OPTIONS)
    assert isinstance(stored, MenuStored)
    assert all(isinstance(step, MenuProgress) for step in steps)
    searched = [step for step in steps if step.stage == "search"]
    assert [step.done for step in searched] == list(range(1, 13))
    own = sorted(step.row for step in searched)
    assert all(len(step.found.tried) == 30 for step in searched)
    assert [s.stage for s in steps] == ["search"] * 12 + ["choose"] * 12 + ["measure"] * 12

    held = [row for i, row in enumerate(rows) if i not in own]
    right = [[answers(model, row, chain) for chain in stored.chains] for row in held]
    voted = [
        agreed([tuple(greedy(model, row.prompt, 3, chain)) for chain in stored.chains])
        for row in held
    ]
    said = stored.figures
    assert said["rows"] == {"chosen_by": 12, "held_out": 12}
    assert said["plain"] == sum(answers(model, row, full(3)) for row in held) / 12
    assert said["single"] == sum(each[0] for each in right) / 12
    assert said["agreement"] == sum(each[v] for each, v in zip(right, voted, strict=True)) / 12
    assert said["any"] == {"1": said["single"], "4": sum(map(any, right)) / 12}
    assert said["any"]["4"] > said["plain"]
    chosen = said["chooser"]
    assert stored.chooser == (chosen is not None and chosen > said["single"])

    # The chains of a menu are those that answer the rows it was chosen by.
    taught = [rows[i] for i in own]
    found = {t.chain for step in searched for t in step.found.tried if t.reward}
    most = max(sum(answers(model, row, chain) for row in taught) for chain in found)
    assert sum(answers(model, row, stored.chains[0]) for row in taught) == most

    child = registry.show("sums:2")
    assert (stored.version.ref, child.parent.number) == ("sums:2", 1)
    assert child.parent.relation is Relation.DERIVED_FROM
    artefact = registry.artefact(child)
    assert artefact.training["menu"] == json.loads(json.dumps(said))
    assert [tuple(c) for c in artefact.config["menu"]["chains"]] == list(stored.chains)
    assert registry.resolve("sums").number == 1
    (reply,) = plane.predict("sums:2", [GenerationRequest(rows[0].prompt, 3, policy="menu")])
    assert reply.chain in stored.chains


def test_leaving_ends_the_searches(plane, admin, registry, model):
    rows = labelled(model, [(1, 2)], 8)

    async def left():
        steps = build_menu(plane.plane, admin, "sums", rows, OPTIONS)
        await anext(steps)
        await steps.aclose()
        while generator.busy:
            await asyncio.sleep(0.005)

    generator = plane.run(plane.plane.describe("sums")).generator
    plane.run(left())
    assert generator.blocks.free == generator.blocks.count
    assert len(registry.versions("sums")) == 1


def test_rows_that_do_not_fit_are_named(plane, admin, model):
    rows = [*labelled(model, [(1, 2)], 3), LabelledRow("1" * 70, Exact("1"))]
    with pytest.raises(InvalidInput, match=r"^row 4: .*positions for 64"):
        collected(plane, admin, "sums", rows, OPTIONS)
    with pytest.raises(InvalidInput, match="2 to 10000 rows, not 1"):
        collected(plane, admin, "sums", rows[:1], OPTIONS)


def test_who_may_not_register_is_refused_before_the_work(plane, admin, model):
    terms = Terms(Caller("reader", frozenset({Scope.PREDICT})))
    with pytest.raises(PermissionDenied, match="needs the scope"):
        collected(plane, admin, "sums", labelled(model, [(1, 2)], 3), OPTIONS, terms)


def test_only_what_runs_chains_has_a_menu(plane, admin, registry, model):
    registry.register("plain", Artefact.read(catalog.bundled()["lcpfn"]))
    with pytest.raises(Unsupported, match="does not generate by chains"):
        collected(plane, admin, "plain", labelled(model, [(1, 2)], 3), OPTIONS)


def test_rows_are_read_line_by_line():
    lines = ['{"prompt": "1+1=", "answer": "2"}\n', "\n", '{"prompt": "a", "pattern": "^b"}']
    assert read_rows(lines) == (
        LabelledRow("1+1=", Exact("2")),
        LabelledRow("a", Matches("^b")),
    )
    for line, message in (
        ("{", "line 2: "),
        ("[1]", "line 2: a row is an object of texts"),
        ('{"prompt": "1", "answer": 2}', "line 2: a row is an object of texts"),
        ('{"prompt": "1"}', 'line 2: a row has "prompt" and either'),
        ('{"prompt": "1", "answer": "2", "more": ""}', "line 2: a row has"),
        ('{"prompt": "1", "answer": ""}', "line 2: an exact answer must not be empty"),
        ('{"prompt": "1", "pattern": "("}', "line 2: .* is not a regular expression"),
        ('{"prompt": "\\ud800", "pattern": "1"}', "line 2: .*"),
    ):
        with pytest.raises(InvalidInput, match=message):
            read_rows([lines[0], line])
    with pytest.raises(InvalidInput, match="not 1"):
        read_rows(lines[:1])


@pytest.mark.parametrize(
    "said", [{"chains": 0}, {"candidates": 1001}, {"short": 0}, {"held_out": 1.0}, {"together": 0}]
)
def test_options_out_of_range_are_refused(said):
    with pytest.raises(InvalidInput, match=next(iter(said))):
        MenuOptions(**said)
