"""Training sets of each task that has some: how they are named, bounded, kept and asked by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from safetensors import SafetensorError
from safetensors.numpy import load

from foretoken.errors import DataLoss, InvalidInput
from foretoken.models.contract import Arrays
from foretoken.models.tasks import GraphRequest, TabularRequest
from foretoken.records import ContextRecord
from foretoken.server.contexts.graphs import GraphForm
from foretoken.server.contexts.identity import Fitter
from foretoken.server.contexts.tabular import TabularForm
from foretoken.server.settings import Settings

__all__ = ["Form", "form_of", "from_bytes"]


class Form(Protocol):
    """What contexts need to know of the requests of one task.

    Attributes:
        name: of the task, in stored training sets.
    """

    name: str

    def expect_training(self, request: Any, settings: Settings) -> None:
        """Do nothing if the request is one to fit, of a size that may come in.

        Raises:
            InvalidInput: if it is not.
        """

    def brings(self, request: Any) -> bool:
        """Whether the request has a training set of its own."""

    def large(self, request: Any) -> bool:
        """Whether it takes long to look through: the event loop is then spared that."""

    def canonical(self, request: Any) -> Any:
        """The request in canonical form; equal training sets become equal.

        Raises:
            InvalidInput: if the training set is not acceptable.
        """

    def asked(self, request: Any, record: ContextRecord) -> Any:
        """A request with a context, in canonical form.

        Raises:
            InvalidInput: if it does not fit what the context was fitted with.
        """

    def context_id(self, key: bytes, fitter: Fitter, request: Any) -> str:
        """The id of a training set in canonical form; see ``identity``."""

    def nbytes(self, request: Any) -> int:
        """About as many bytes as the training set takes."""

    def told(self, request: Any) -> Mapping[str, Any]:
        """Fields of a ``ContextRecord`` that say what the training set was."""

    def to_bytes(self, context: str, request: Any) -> bytes:
        """The training set as a safetensors file with an array ``about``, JSON in uint8.

        The id stands in it, so that equal training sets of two tenants are different blobs.
        """

    def read(self, about: Mapping[str, Any], tensors: Arrays) -> Any:
        """The request to fit that ``to_bytes`` was given."""


_FORMS: dict[type, Form] = {TabularRequest: TabularForm(), GraphRequest: GraphForm()}


def form_of(request: object) -> Form:
    """The form of a request's training sets.

    Raises:
        InvalidInput: if requests of its task have none.
    """
    found = _FORMS.get(type(request))
    if found is None:
        raise InvalidInput(f"a {type(request).__name__} has no training set")
    return found


def from_bytes(data: bytes, label: str) -> Any:
    """The request to fit that ``Form.to_bytes`` was given.

    Raises:
        DataLoss: if the bytes are no training set.
    """
    try:
        tensors = load(data)
        about: dict[str, Any] = json.loads(tensors["about"].tobytes())
        # What was kept before there were others is a table.
        kind = about.get("task", TabularForm.name)
        form = next(each for each in _FORMS.values() if each.name == kind)
        return form.read(about, tensors)
    except (SafetensorError, KeyError, ValueError, TypeError, StopIteration) as e:
        raise DataLoss(f"{label} cannot be read: {e!r}; fit again") from e
