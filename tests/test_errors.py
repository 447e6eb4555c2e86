"""The error tree: what its docstring draws is what there is."""

from __future__ import annotations

import inspect
import re

import pytest

from foretoken import errors


def _classes() -> dict[str, type[Exception]]:
    return {
        name: c
        for name, c in inspect.getmembers(errors, inspect.isclass)
        if issubclass(c, errors.ForetokenError)
    }


def test_the_docstring_draws_every_class_under_its_parent():
    drawn: dict[str, str | None] = {}
    ancestors: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"([ │├└─]*)([A-Z][A-Za-z]+)", line.removeprefix("    ")):
            depth = len(found[1]) // 4
            if found[2] in _classes():
                ancestors[depth] = found[2]
                drawn[found[2]] = ancestors.get(depth - 1)
    actual = {
        name: next((b.__name__ for b in c.__bases__ if b.__name__ in _classes()), None)
        for name, c in _classes().items()
    }
    assert drawn == actual


def test_all_names_every_class():
    assert set(errors.__all__) == {*_classes(), "ForetokenWarning"}


def test_every_leaf_says_whose_fault_it_is():
    for name, c in _classes().items():
        if name != "ForetokenError":
            faults = (errors.CallerError, errors.EnvironmentFault, errors.InternalError)
            assert sum(issubclass(c, fault) for fault in faults) == 1, name


def test_overloaded_says_when_to_come_back():
    assert errors.Overloaded("queue of 8 is full", retry_after=0.25).retry_after == 0.25


def test_internal_errors_carry_the_id_that_they_print():
    error = errors.InternalError("encoding a reply")
    assert error.id in str(error)


@pytest.mark.parametrize(
    ("ours", "python"),
    [("InvalidInput", ValueError), ("NotFound", LookupError), ("DeadlineExceeded", TimeoutError)],
)
def test_errors_are_also_what_python_users_catch(ours, python):
    assert issubclass(getattr(errors, ours), python)
