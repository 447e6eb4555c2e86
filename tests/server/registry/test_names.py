"""What a name may look like and how people point at versions."""

from __future__ import annotations

import pytest

from foretoken.errors import InvalidInput
from foretoken.server.registry.names import CHAMPION, Ref, check_file_name, check_name

BAD = ["", ".", "..", "../x", "a/b", "a\\b", "/etc", "-a", "a-", "a b", "a\n", "a:1", "x@y"]
BAD += ["a" * 129, "é"]


@pytest.mark.parametrize(
    ("text", "name", "version", "alias"),
    [
        ("lcpfn", "lcpfn", None, CHAMPION),
        ("lcpfn:3", "lcpfn", 3, None),
        ("shadow@lcpfn", "lcpfn", None, "shadow"),
        ("My_Model.v2-int8:120", "My_Model.v2-int8", 120, None),
    ],
)
def test_references_in_every_form(text, name, version, alias):
    assert Ref.parse(text) == Ref(name, version, alias)


@pytest.mark.parametrize(
    "text",
    ["", ":", "a:", "a:0", "a:-1", "a:1.5", "a:x", "@a", "a@", "a@b:1", "a@b@c", "../a", "a:1\n"],
)
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(InvalidInput):
        Ref.parse(text)


@pytest.mark.parametrize("name", BAD)
def test_names_that_could_leave_a_folder_are_refused(name):
    with pytest.raises(InvalidInput, match="is not a name"):
        check_name("model", name)
    with pytest.raises(InvalidInput, match="is not a name"):
        check_file_name(name)


@pytest.mark.parametrize("name", ["a", "A1", "static-minilm", "x.y_z", "a" * 128])
def test_ordinary_names_are_accepted(name):
    assert check_name("model", name) == name


def test_a_reference_prints_as_it_is_written():
    assert [str(Ref.parse(text)) for text in ("a", "a:2", "b@a")] == ["champion@a", "a:2", "b@a"]
