"""A tiny family of each kind: proof that the contract carries them, and what it looks like.

They are held to the same conformance suite as the families that are shipped.
"""

from __future__ import annotations

from types import MappingProxyType

from tests.toys.generative import FAMILY as GENERATIVE
from tests.toys.in_context import FAMILY as IN_CONTEXT
from tests.toys.recurrent import FAMILY as RECURRENT
from tests.toys.stateless import FAMILY as STATELESS

TOYS = MappingProxyType({f.name: f for f in (STATELESS, IN_CONTEXT, RECURRENT, GENERATIVE)})
