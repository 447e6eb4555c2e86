"""Registering what comes over the network: who may under which name, and what is taken in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from foretoken.errors import (
    CallerError,
    EnvironmentFault,
    InvalidInput,
    NotFound,
    PermissionDenied,
)
from foretoken.models import catalog
from foretoken.models.artefact import Artefact
from foretoken.server.registry.names import Ref, check_name
from foretoken.server.registry.records import Version
from foretoken.server.registry.registry import Registry
from foretoken.server.registry.versions import lineage, taken
from foretoken.server.terms import LOCAL, Caller
from foretoken.server.uploads import Announced, check_announced

__all__ = ["Registrar", "Registration"]

MOST_TAGS, LONGEST_TAG = 100, 1000


@dataclass(frozen=True)
class Registration:
    """What is to become a version: an artefact without its files, which are yet to come.

    Args:
        name: of the model.
        artefact: its description; without files.
        files: in the order in which they will come.
        tags: free text by key.
        parent: reference of the version that it was derived from, if it was, with
        relation: how.
    """

    name: str
    artefact: Artefact
    files: Sequence[Announced]
    tags: Mapping[str, str] = field(default_factory=dict)
    parent: str | None = None
    relation: str | None = None


class Registrar:
    """Registers on behalf of callers; its methods block.

    Args:
        registry: that takes in.
        upload_bytes: most bytes of all files of a version.
    """

    def __init__(self, registry: Registry, upload_bytes: int) -> None:
        self._registry = registry
        self._upload_bytes = upload_bytes

    def check(self, caller: Caller, wanted: Registration) -> None:
        """Refuse before anything is sent what would be refused after it.

        Raises:
            InvalidInput: if anything of ``wanted`` is not acceptable.
            AlreadyExists: if the name belongs to another tenant.
            PermissionDenied: if it is everybody's and the caller belongs to a tenant.
            NotFound: if there is no such family, or no such parent for the caller.
        """
        self._check_name(caller, check_name("model", wanted.name))
        check_announced(wanted.files, self._upload_bytes)
        if len(wanted.tags) > MOST_TAGS or any(len(v) > LONGEST_TAG for v in wanted.tags.values()):
            raise InvalidInput(f"at most {MOST_TAGS} tags of at most {LONGEST_TAG} characters")
        _expect_graphs(wanted.artefact)
        if wanted.parent is not None:
            self._registry.expect_reach(Ref.parse(wanted.parent).name, caller)
        lineage(self._parent(wanted), wanted.relation)

    def admit(self, caller: Caller, wanted: Registration, files: Mapping[str, Path]) -> Version:
        """Register what was checked before, now that its files are there.

        Raises:
            InvalidInput: if a file is not what its name says, or the model does not answer.
            Others: as ``check`` does.
        """
        artefact = replace(wanted.artefact, files=files)
        return self._registry.register(
            wanted.name,
            artefact,
            parent=self._parent(wanted),
            relation=wanted.relation,
            check=_expect_servable,
            actor=caller.name,
            tags=wanted.tags,
            owner=caller.tenant,
        )

    def _parent(self, wanted: Registration) -> Version | None:
        return None if wanted.parent is None else self._registry.resolve(wanted.parent)

    def _check_name(self, caller: Caller, name: str) -> None:
        try:
            self._registry.expect_reach(name, caller, change=True)
        except NotFound:
            if caller.tenant is None:
                return  # sees every name that there is, so this one is new
            if name in catalog.families():
                raise PermissionDenied(
                    f"{name!r} is the name of a family, so a model called that is everybody's; "
                    "register under another one"
                ) from None
            if self._exists(name):
                raise taken(name) from None

    def _exists(self, name: str) -> bool:
        try:
            self._registry.expect_reach(name, LOCAL)
        except NotFound:
            return False
        return True


def _expect_servable(artefact: Artefact) -> None:
    """Load the artefact and have it answer; whatever goes wrong then is the artefact's fault."""
    from foretoken.server.publish import check  # noqa: PLC0415  (imports a runtime)

    try:
        check(artefact)
    except (CallerError, EnvironmentFault):
        raise
    except Exception as e:  # families and runtimes fail in many ways on what is foreign to them
        raise InvalidInput(f"the artefact cannot be served: {e!r}") from e


def _expect_graphs(artefact: Artefact) -> None:
    """Refuse an artefact without graphs, unless it needs none."""
    family = catalog.family(artefact.family)
    if artefact.export or artefact.precision != "float32":
        return
    try:
        needed = family.graphs(artefact.config)
    except (KeyError, TypeError, ValueError) as e:
        raise InvalidInput(f"the configuration is none of family {family.name!r}: {e!r}") from e
    if needed:
        raise InvalidInput(
            "a float32 artefact comes with its graphs; `foretoken models register` and "
            "`foretoken models export` make them"
        )
