"""Every error has one status."""

from __future__ import annotations

import inspect

import pytest

from foretoken import errors
from foretoken.server.doors.status import MESSAGE_BYTES, STATUSES, describe, pushback, status_of

TREE = [
    c
    for _, c in inspect.getmembers(errors, inspect.isclass)
    if issubclass(c, errors.ForetokenError)
]


def test_the_table_lists_every_class_of_the_tree_and_no_other():
    assert set(STATUSES) == set(TREE)


@pytest.mark.parametrize(
    ("kind", "code", "http"),
    [
        (errors.InvalidInput, "INVALID_ARGUMENT", 400),
        (errors.NotFound, "NOT_FOUND", 404),
        (errors.AlreadyExists, "ALREADY_EXISTS", 409),
        (errors.FailedPrecondition, "FAILED_PRECONDITION", 409),
        (errors.StaleGeneration, "FAILED_PRECONDITION", 412),
        (errors.Unsupported, "UNIMPLEMENTED", 501),
        (errors.Unauthenticated, "UNAUTHENTICATED", 401),
        (errors.PermissionDenied, "PERMISSION_DENIED", 403),
        (errors.DeadlineExceeded, "DEADLINE_EXCEEDED", 504),
        (errors.Cancelled, "CANCELLED", 499),
        (errors.Overloaded, "RESOURCE_EXHAUSTED", 429),
        (errors.Unavailable, "UNAVAILABLE", 503),
        (errors.DataLoss, "DATA_LOSS", 500),
        (errors.InternalError, "INTERNAL", 500),
    ],
)
def test_statuses_that_clients_rely_on(kind, code, http):
    assert (status_of(kind).name, status_of(kind).http) == (code, http)


def test_a_class_that_is_not_listed_has_the_status_of_its_nearest_ancestor():
    class Stale(errors.StaleGeneration):
        pass

    assert status_of(Stale) is STATUSES[errors.StaleGeneration]


@pytest.mark.parametrize("text", ["x" * 10000, "é" * 5000, "\U0001f600" * 2000, "a\n\0b", "\ud800"])
def test_messages_fit_a_header(text):
    said = describe(errors.InvalidInput(text))
    assert 0 < len(said.encode("utf-8")) <= MESSAGE_BYTES
    assert said[:2] == describe(errors.InvalidInput(text[:2]))[:2]


def test_only_overload_says_when_to_come_back():
    assert dict(pushback(errors.Overloaded("full", retry_after=0.25))) == {
        "grpc-retry-pushback-ms": "250",
        "retry-after-ms": "250",
    }
    assert dict(pushback(errors.Overloaded("full", retry_after=0.0)))["retry-after-ms"] == "1"
    assert pushback(errors.Unavailable("loading")) == ()
