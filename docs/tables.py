"""Writes what the documents take from the code: ``python docs/tables.py``."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from foretoken.models.catalog import bundled, families

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("foretoken", "server", "exporters", "models", "kernels")


def families_table() -> str:
    """One row a family, as Markdown."""
    shipped = bundled()
    rows = ["| family | task | state | model in the box | what it does |", "|---|---|---|---|---|"]
    for name, family in families().items():
        card = f"[yes](models/{name}/card.md)" if name in shipped else "no"
        state = family.kind.replace("_", "-")
        rows.append(f"| `{name}` | {family.task} | {state} | {card} | {family.summary} |")
    return "\n".join(rows)


def modules() -> list[Path]:
    """Every source file of every room, relative to the root, links not followed."""
    found = (
        path
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"), key=lambda p: (p.parent.parts, p.name))
    )
    return [p.relative_to(ROOT) for p in found if not p.name.endswith(("_pb2.py", "_pb2_grpc.py"))]


def modules_list() -> str:
    """One line a module, by folder: the first line of its docstring."""
    lines: list[str] = []
    folder = None
    for path in modules():
        text = ast.get_docstring(ast.parse((ROOT / path).read_text("utf-8"))) or ""
        about = text.split("\n")[0].replace("``", "`")
        if path.parent != folder:
            folder = path.parent
            lines += ["", f"**{folder.as_posix()}/**"]
            lines[-1] += f" {about}" if path.name == "__init__.py" else ""
            if path.name == "__init__.py":
                continue
        lines.append(f"- `{path.name}` {about}")
    return "\n".join(lines).strip("\n")


def filled(text: str) -> str:
    """``text`` with what stands between the markers made anew."""
    for name, make in (("families", families_table), ("modules", modules_list)):
        marked = re.compile(rf"(<!-- {name} -->\n).*?(\n?<!-- /{name} -->)", re.DOTALL)
        text = marked.sub(lambda m, made=make: f"{m[1]}{made()}\n{m[2].lstrip()}", text)
    return text


if __name__ == "__main__":
    for document in (ROOT / "README.md", ROOT / "docs/map.md"):
        document.write_text(filled(document.read_text("utf-8")), "utf-8")
