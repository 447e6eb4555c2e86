"""Checkpoints and the log of a training run, written so that a crash leaves a valid folder.

``checkpoint-<step>.safetensors`` holds the tensors and ``checkpoint.json`` names it beside the
plain state. The JSON is replaced last, atomically, so it always names a complete file.
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from foretoken.errors import DataLoss, FailedPrecondition

__all__ = ["CsvLog", "load_checkpoint", "save_checkpoint", "write_atomically"]


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file by new contents: write beside it, fsync, rename, fsync the folder."""
    beside = path.with_name(f".{path.name}.part")
    with beside.open("wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def save_checkpoint(
    folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]
) -> None:
    """Make this the newest checkpoint and remove older ones."""
    name = f"checkpoint-{step:08d}.safetensors"
    beside = folder / f".{name}.part"
    # Sharing tensors (tied weights) are saved by value; a resumed run copies them back in place.
    save_file({k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}, beside)
    with beside.open("rb+") as f:
        os.fsync(f.fileno())
    beside.replace(folder / name)
    text = json.dumps({"tensors": name, **state}, indent=1)
    write_atomically(folder / "checkpoint.json", text.encode())
    for old in folder.glob("checkpoint-*.safetensors"):
        if old.name != name:
            old.unlink(missing_ok=True)


def load_checkpoint(
    folder: Path, identity: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest checkpoint, or None in a folder without one.

    Args:
        folder: of the run.
        identity: what the state must hold for the run to be the same one, as JSON can say it.

    Raises:
        FailedPrecondition: it belongs to another run; the message names what differs.
        DataLoss: a file is missing, truncated or not what it should be.
    """
    path = folder / "checkpoint.json"
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = json.loads(path.read_text())
        tensors = load_file(folder / state["tensors"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as e:
        raise DataLoss(f"the checkpoint in {folder} cannot be read: {e}") from e
    found = _leaves({name: state.get(name) for name in identity})
    wanted = _leaves(json.loads(json.dumps(identity)))
    if found != wanted:
        other = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
        raise FailedPrecondition(
            f"{folder} holds a run with other settings ({', '.join(other)}); "
            "resume it with the same ones or choose an empty folder"
        )
    return tensors, state


def _leaves(said: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted name."""
    found: dict[str, Any] = {}
    for name, value in said.items():
        deeper = isinstance(value, dict)
        found |= _leaves(value, f"{prefix}{name}.") if deeper else {f"{prefix}{name}": value}
    return found


class CsvLog:
    """Rows by name in a CSV file; columns that appear later are added to the header.

    Args:
        path: the file; rows after ``step`` (written after the checkpoint that is resumed) go.
        step: the step at which the run continues.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.rows: list[dict[str, str]] = []
        if step and path.exists():
            with path.open(newline="") as f:
                self.rows = [row for row in csv.DictReader(f) if int(row["step"]) <= step]
        self.columns = list(self.rows[0]) if self.rows else []
        self._rewrite()

    def write(self, row: dict[str, float]) -> None:
        """Add a row; integers are printed whole, other values with 7 significant digits."""
        self.rows.append({name: _printed(value) for name, value in row.items()})
        fresh = [name for name in row if name not in self.columns]
        if fresh:
            self.columns += fresh
            self._rewrite()
            return
        with self.path.open("a", newline="") as f:
            csv.DictWriter(f, self.columns, restval="").writerow(self.rows[-1])

    def _rewrite(self) -> None:
        beside = self.path.with_name(f".{self.path.name}.part")
        with beside.open("w", newline="") as f:
            writer = csv.DictWriter(f, self.columns, restval="")
            if self.columns:
                writer.writeheader()
            writer.writerows(self.rows)
        beside.replace(self.path)


def _printed(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.7g}"
