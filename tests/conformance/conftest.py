"""Every law holds for every family that the catalog finds, and for a toy of each kind."""

from __future__ import annotations

import pytest

from foretoken.server.runtimes import NAMES, runtime
from tests.conformance.subjects import Subject
from tests.published import SUBJECTS


@pytest.fixture(scope="session", params=NAMES)
def load(request, published):
    """``load(name)`` is the subject, in each runtime."""
    made: dict[str, Subject] = {}

    def load(name: str) -> Subject:
        if name not in made:
            family, artefact = SUBJECTS[name], published(name)
            executable = runtime(request.param).load(artefact, family, 1)
            made[name] = Subject(family, artefact, executable)
        return made[name]

    yield load
    for subject in made.values():
        subject.executable.close()
