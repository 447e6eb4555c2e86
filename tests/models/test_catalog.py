"""The catalog: a family is a folder, and nothing else has to be edited."""

from __future__ import annotations

import json
import sys

import pytest

import foretoken.models
from foretoken.errors import InvalidInput, NotFound
from foretoken.models import catalog
from foretoken.models.artefact import DESCRIPTION

PACKAGE = """
class Newcomer:
    name = "newcomer"


FAMILY = Newcomer()
"""


@pytest.fixture
def newcomer(tmp_path, monkeypatch):
    """A folder with a new family, as if it lay under ``models/``."""
    home = tmp_path / "newcomer"
    home.mkdir()
    (home / "__init__.py").write_text(PACKAGE)
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers" / "__init__.py").write_text("")
    monkeypatch.setattr(foretoken.models, "__path__", [*foretoken.models.__path__, str(tmp_path)])
    catalog.families.cache_clear()
    yield home
    catalog.families.cache_clear()
    for name in ("newcomer", "helpers"):
        sys.modules.pop(f"foretoken.models.{name}", None)


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A place on the path where packages of others may bring families."""
    home = tmp_path / "site" / "foretoken_families" / "theirs"
    home.mkdir(parents=True)
    (home / "__init__.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    catalog.families.cache_clear()
    yield home
    catalog.families.cache_clear()
    for name in ("foretoken_families", "foretoken_families.theirs"):
        sys.modules.pop(name, None)


def test_families_are_found_by_name_in_order():
    found = catalog.families()
    assert "lcpfn" in found
    assert list(found) == sorted(found)
    assert all(family.name == name for name, family in found.items())
    assert catalog.family("lcpfn") is found["lcpfn"]


def test_an_unknown_family_is_not_found_and_the_known_are_listed():
    with pytest.raises(NotFound, match=r"no model family 'gpt'; there are .*lcpfn"):
        catalog.family("gpt")


def test_the_catalog_cannot_be_written():
    with pytest.raises(TypeError):
        catalog.families()["mine"] = None


def test_a_new_folder_is_a_new_family(newcomer):
    assert catalog.family("newcomer").name == "newcomer"
    assert "lcpfn" in catalog.families()


def test_a_package_without_a_family_is_none(newcomer):
    assert "helpers" not in catalog.families()
    assert "layers" not in catalog.families()


def test_a_bundled_model_is_an_artefact_in_the_folder(newcomer):
    assert "newcomer" not in catalog.bundled()
    weights = newcomer / "weights"
    weights.mkdir()
    assert "newcomer" not in catalog.bundled()
    (weights / DESCRIPTION).write_text(json.dumps({}))
    assert catalog.bundled()["newcomer"] == weights
    larger = newcomer / "weights-larger"
    larger.mkdir()
    assert "newcomer-larger" not in catalog.bundled()
    (larger / DESCRIPTION).write_text(json.dumps({}))
    assert catalog.bundled()["newcomer-larger"] == larger


def test_a_package_of_others_may_bring_a_family(foreign):
    assert catalog.family("newcomer").name == "newcomer"
    assert list(catalog.families()) == sorted(catalog.families())


def test_a_family_of_others_brings_no_bundled_model(foreign):
    (foreign / "weights").mkdir()
    (foreign / "weights" / DESCRIPTION).write_text(json.dumps({}))
    assert "newcomer" not in catalog.bundled()


def test_a_name_that_is_taken_stops_the_start(foreign):
    (foreign / "__init__.py").write_text(PACKAGE.replace("newcomer", "lcpfn"))
    with pytest.raises(InvalidInput, match=r"foretoken_families\.theirs .*'lcpfn'.* there already"):
        catalog.families()
