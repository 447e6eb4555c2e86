"""Writes what the documents take from the code: ``python docs/tables.py``."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

from pydantic.fields import FieldInfo

from foretoken.models.catalog import bundled, families
from foretoken.server.metrics.definitions import EXPOSED
from foretoken.server.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
COUNTED = ("_cells", "_edges", "_nodes")  # ends of settings that are no bytes
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


def metrics_table() -> str:
    """One row a metric, as Markdown."""
    rows = ["| name | type | labels | unit | meaning |", "|---|---|---|---|---|"]
    for each in EXPOSED:
        kind = "gauge" if each.kind in ("earliest", "latest") else each.kind
        labels = ", ".join(f"`{label}`" for label in each.labels)
        rows.append(f"| `{each.name}` | {kind} | {labels} | {each.unit} | {each.help} |")
    return "\n".join(rows)


def settings_table() -> str:
    """One row a setting, as Markdown: its default, and what its class's docstring says of it."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    arguments = inspect.cleandoc(Settings.__doc__ or "").partition("Args:\n")[2]
    for names, text in re.findall(r"^ {4}(\w[\w, ]*): (.*(?:\n {8}.*)*)", arguments, re.MULTILINE):
        meaning = " ".join(text.split()).replace("``", "`")
        rows += [
            f"| `{name}` | {_default(name, Settings.model_fields[name])} | {meaning} |"
            for name in names.split(", ")
        ]
    return "\n".join(rows)


def _default(name: str, field: FieldInfo) -> str:
    match field.default:
        case _ if field.default_factory is not None:
            return "the user's data folder"
        case None:
            return "none"
        case bool(value):
            return "yes" if value else "no"
        case int(value) if value >= 1 << 20 and value % (1 << 20) == 0:
            return f"{value:,}" if name.endswith(COUNTED) else _bytes(value)
        case float(value):
            return f"{value:g}"
        case value:
            return f"{value}"


def _bytes(value: int) -> str:
    return f"{value >> 30} GiB" if value % (1 << 30) == 0 else f"{value >> 20} MiB"


MADE = {
    "families": families_table,
    "modules": modules_list,
    "metrics": metrics_table,
    "settings": settings_table,
}
DOCUMENTS = ("README.md", "docs/map.md", "docs/operate.md")


def filled(text: str) -> str:
    """``text`` with what stands between the markers made anew."""
    for name, make in MADE.items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(\n?<!-- /{name} -->)", re.DOTALL)
        text = marked.sub(lambda m, made=make: f"{m[1]}{made()}\n{m[2].lstrip()}", text)
    return text


if __name__ == "__main__":
    for document in DOCUMENTS:
        path = ROOT / document
        path.write_text(filled(path.read_text("utf-8")), "utf-8")
