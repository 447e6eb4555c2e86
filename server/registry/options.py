"""Serving options of a version: what of the server's defaults it wants otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foretoken.errors import InvalidInput

__all__ = ["ServingOptions"]


class ServingOptions(BaseModel):
    """Options by model; ``None`` leaves the choice to the server.

    Args:
        threads: of one call, within an operator.
        batch_tokens: the most tokens, padding included, in one call.
        batch_wait: seconds that a call waits for company though there is a core to run it on.
        runtime: which runtime is to run the graphs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    batch_tokens: Annotated[int, Field(ge=1, le=1 << 30)] | None = None
    batch_wait: Annotated[float, Field(ge=0, le=60)] | None = None
    runtime: Literal["onnx", "torch"] | None = None

    @classmethod
    def parse(cls, said: Mapping[str, Any]) -> ServingOptions:
        """Read options from what JSON says.

        Raises:
            InvalidInput: for an unknown option or an unacceptable value.
        """
        try:
            return cls.model_validate(dict(said))
        except ValidationError as e:
            wrong = "; ".join(
                f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in e.errors()
            )
            accepted = ", ".join(cls.model_fields)
            raise InvalidInput(f"serving options: {wrong}; options are {accepted}") from e

    def said(self) -> dict[str, Any]:
        """The options that are set, as JSON can say them."""
        return self.model_dump(exclude_none=True)

    def overridden_by(self, other: ServingOptions) -> ServingOptions:
        """These options with those that ``other`` sets in their place."""
        return ServingOptions(**{**self.said(), **other.said()})
