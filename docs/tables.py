"""Writes the tables that README takes from the code: ``python docs/tables.py``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from foretoken.models.catalog import bundled, families

README = Path(__file__).resolve().parent.parent / "README.md"


def families_table() -> str:
    """One row a family, as Markdown."""
    shipped = bundled()
    rows = ["| family | task | state | trained model in the box | what it does |", "|---|---|---|---|---|"]
    for name, family in families().items():
        card = f"[yes](models/{name}/card.md)" if name in shipped else "no"
        state = family.kind.replace("_", "-")
        rows.append(f"| `{name}` | {family.task} | {state} | {card} | {family.summary} |")
    return "\n".join(rows)


def filled(text: str) -> str:
    """``text`` with what stands between the markers made anew."""
    marked = re.compile(r"(<!-- families -->\n).*?(\n<!-- /families -->)", re.DOTALL)
    return marked.sub(lambda m: m[1] + families_table() + m[2], text)


if __name__ == "__main__":
    README.write_text(filled(README.read_text("utf-8")), "utf-8")
    sys.stdout.write(families_table() + "\n")
