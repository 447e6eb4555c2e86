"""The manifest: canonical bytes, one digest for one content, refused when it is something else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from foretoken.errors import DataLoss, InvalidInput, NotFound
from foretoken.models.artefact import Artefact
from foretoken.server.registry.manifest import FileEntry, Manifest, family_signature, media_type
from tests.server.registry.conftest import toy_signature

ENTRY = FileEntry("sha256:" + "0" * 64, 3, "application/json")


def manifest(**changes) -> Manifest:
    made = Manifest({"family": "toy", "config": {"b": 1, "a": 0.1}}, {"x.json": ENTRY}, {"f": {}})
    return replace(made, **changes)


def test_the_bytes_are_canonical_and_come_back():
    one = manifest()
    other = manifest(description={"config": {"a": 0.1, "b": 1}, "family": "toy"})
    assert one.to_bytes() == other.to_bytes()
    assert one.digest == f"sha256:{hashlib.sha256(one.to_bytes()).hexdigest()}"
    assert Manifest.from_bytes(one.to_bytes()) == one
    said = json.loads(one.to_bytes())
    assert json.dumps(said, sort_keys=True, separators=(",", ":")).encode() == one.to_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"description": {"family": "toy", "config": {"b": 1, "a": 0.2}}},
        {"files": {"y.json": ENTRY}},
        {"files": {"x.json": replace(ENTRY, digest="sha256:" + "1" * 64)}},
        {"signature": {"g": {}}},
    ],
)
def test_any_change_is_another_identity(changes):
    assert manifest(**changes).digest != manifest().digest


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, b"x"])
def test_what_json_cannot_say_is_refused(value):
    with pytest.raises(InvalidInput, match="not plain JSON"):
        manifest(description={"config": {"a": value}}).to_bytes()


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"null", b'{"format":2}', b'{"format":1,"files":{"a":{}}}', b"\xff"]
)
def test_other_bytes_are_no_manifest(data):
    with pytest.raises(DataLoss):
        Manifest.from_bytes(data)


def test_infinite_padding_is_said_in_words(make_artefact):
    signature = toy_signature(make_artefact())
    assert signature["forward"]["inputs"][0]["pad"] == "-inf"
    assert manifest(signature=signature).digest


def test_a_family_that_is_not_there_or_a_configuration_it_cannot_read(make_artefact):
    with pytest.raises(NotFound, match="no model family 'toy'"):
        family_signature(make_artefact())
    with pytest.raises(InvalidInput, match="cannot read the configuration"):
        family_signature(Artefact("lcpfn", {"no": "bars"}, {}))


@pytest.mark.parametrize("name", ["model.pt", "run.py", "model.bin", "model", "x.PKL"])
def test_endings_that_no_artefact_has(name):
    with pytest.raises(InvalidInput, match="foretoken models import"):
        media_type(name)
