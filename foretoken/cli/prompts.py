"""Prompts that commands have continued or searched, by a server or by this process."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from foretoken.cli.remote import Remote, client_of
from foretoken.errors import InvalidInput, NotFound, Unavailable
from foretoken.generated import Answer, Menu, Token

if TYPE_CHECKING:
    from foretoken.models.tasks import GenerationRequest
    from foretoken.server.menus import LabelledRow

__all__ = ["Asked", "Continued", "Rows", "continued", "integers_of", "menu_of", "prompt_of"]

STDIN = "-"


@dataclass(frozen=True)
class Asked:
    """What the options ask for; see ``foretoken.Client.generate``."""

    model: str
    prompt: str | list[int]
    max_tokens: int
    chain: list[int] | None = None
    policy: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    stop: Sequence[str] = ()
    logprobs: int = 0
    answer: str | None = None
    pattern: str | None = None
    confident: bool = False
    simulations: int | None = None


class Continued(Protocol):
    """Tokens as they come, and the whole answer after them."""

    def __iter__(self) -> Iterator[Token]: ...

    @property
    def reply(self) -> Answer: ...


@contextmanager
def continued(asked: Asked, server: Remote | None, data_dir: Path | None) -> Iterator[Continued]:
    """An answer by a server, or else by this process; leaving the block ends the work for it."""
    client = client_of(server, data_dir)
    if client is not None:
        said = {name: value for name, value in vars(asked).items() if name != "sampling"}
        with client, client.generate(**said, **asked.sampling, timeout=float("inf")) as answer:
            yield answer
        return
    from foretoken.server.app import open_plane  # noqa: PLC0415 - imports the engine
    from foretoken.server.settings import load_settings  # noqa: PLC0415

    request = _request(asked)
    with (
        open_plane(load_settings(data_dir=data_dir)) as local,
        local.generate(asked.model, request) as ours,
    ):
        yield ours


def _request(asked: Asked) -> GenerationRequest:
    import numpy as np  # noqa: PLC0415 - what follows imports the models' floor

    from foretoken.models.depth.requests import SearchOptions  # noqa: PLC0415
    from foretoken.models.depth.verifiers import Confident, Exact, Matches  # noqa: PLC0415
    from foretoken.models.generation import Sampling  # noqa: PLC0415
    from foretoken.models.tasks import GenerationRequest  # noqa: PLC0415

    sampling = dict(asked.sampling)
    if sampling.get("seed") is None:
        sampling["seed"] = secrets.randbits(63)
    judges: list[Any] = [Exact(asked.answer)] if asked.answer is not None else []
    judges += [Matches(asked.pattern)] if asked.pattern is not None else []
    judges += [Confident()] if asked.confident else []
    if len(judges) > 1:
        raise InvalidInput("a search takes one of answer, pattern and confident")
    few = {} if asked.simulations is None else {"simulations": asked.simulations}
    given = asked.prompt
    return GenerationRequest(
        prompt=given if isinstance(given, str) else np.array(given, np.int64),
        max_tokens=asked.max_tokens,
        sampling=Sampling(**sampling),
        chain=None if asked.chain is None else tuple(asked.chain),
        policy=asked.policy,
        verifier=judges[0] if judges else None,
        search=SearchOptions(**few),
        stop=tuple(asked.stop),
        logprobs=asked.logprobs,
    )


@dataclass(frozen=True)
class Rows:
    """What the options of a search over labelled prompts ask for."""

    model: str
    file: Path
    chains: int
    held_out: float
    max_tokens: int
    simulations: int


def menu_of(
    rows: Rows, server: Remote | None, data_dir: Path | None, heard: Callable[[Any], None]
) -> Menu:
    """A menu made of labelled prompts, by a server or else by this process.

    Args:
        rows: and how they are searched.
        server: of the command's option.
        data_dir: of the command's option.
        heard: is told a ``MenuProgress`` now and then, maybe from another thread.

    Raises:
        NotFound: there is no such file.
        InvalidInput: a line of it is no labelled prompt.
        ForetokenError: as ``foretoken.Client.search_rows`` does.
    """
    from foretoken.models.depth.requests import SearchOptions  # noqa: PLC0415
    from foretoken.server.menus import MenuOptions, read_rows  # noqa: PLC0415

    # At "\n" alone: texts in JSON may hold what else ends a line, such as U+2028.
    labelled = read_rows(text_of(rows.file).split("\n"))
    client = client_of(server, data_dir)
    if client is not None:
        with client:
            return client.search_rows(
                rows.model, map(_row, labelled), rows.chains, rows.held_out, rows.max_tokens,
                rows.simulations, heard=heard,
            )  # fmt: skip
    from foretoken.server.app import open_plane  # noqa: PLC0415
    from foretoken.server.settings import load_settings  # noqa: PLC0415

    options = MenuOptions(
        chains=rows.chains,
        search=SearchOptions(simulations=rows.simulations),
        max_tokens=rows.max_tokens,
        held_out=rows.held_out,
    )
    with open_plane(load_settings(data_dir=data_dir)) as local:
        return local.search_rows(rows.model, labelled, options, heard)


def _row(row: LabelledRow) -> dict[str, str]:
    from foretoken.models.depth.verifiers import Exact  # noqa: PLC0415

    judge = row.verifier
    said = {"answer": judge.answer} if isinstance(judge, Exact) else {"pattern": judge.pattern}
    return {"prompt": row.prompt, **said}


def prompt_of(given: str | None, file: str | None, ids: str | None) -> str | list[int]:
    """The prompt that options give: as a text, a file or "-", or numbers.

    One line end at the end of a file is not part of it.

    Raises:
        InvalidInput: there is none, or more than one.
        NotFound, Unavailable: the file cannot be read.
    """
    if sum(each is not None for each in (given, file, ids)) != 1:
        raise InvalidInput("give one prompt: PROMPT, --prompt-file or --ids")
    if ids is not None:
        return integers_of("--ids", ids)
    if file is None:
        return given or ""
    text = sys.stdin.read() if file == STDIN else text_of(Path(file))
    return text.removesuffix("\n").removesuffix("\r")


def text_of(path: Path) -> str:
    """A file's text.

    Raises:
        NotFound, InvalidInput, Unavailable: there is none, it is not UTF-8, or cannot be read.
    """
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError as e:
        raise NotFound(f"no file {path}") from e
    except UnicodeDecodeError as e:
        raise InvalidInput(f"{path} is not UTF-8: {e.reason} at byte {e.start}") from e
    except OSError as e:
        raise Unavailable(f"cannot read {path}: {e.strerror or e}") from e


def integers_of(option: str, given: str) -> list[int]:
    """Integers with commas between.

    Raises:
        InvalidInput: naming the option.
    """
    try:
        return [int(each) for each in given.split(",")] if given.strip() else []
    except ValueError as e:
        raise InvalidInput(f"{option} takes integers with commas between, not {given!r}") from e
