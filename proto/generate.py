"""Compiles the definitions: ``python proto/generate.py`` after a change of any ``.proto`` file."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HOME = Path(__file__).parent
# protoc's stubs leave out the arguments of generic types.
PRAGMA = '# mypy: disable-error-code="type-arg"\n'
# They also import one another from the definitions' folders; here they lie side by side.
IMPORT = re.compile(r"^from (?!google)\S+ import (\w+)_pb2 as", re.MULTILINE)
MODULE = '''"""``{path}``: made by ``proto/generate.py``, typed by the stub."""

from foretoken.proto.loading import module

globals().update(module("{path}"))
'''


def definitions(package: str) -> list[str]:
    """The ``.proto`` files of a package, relative to the root of all definitions."""
    return sorted(p.relative_to(HOME).as_posix() for p in (HOME / package).rglob("*.proto"))


def compiled(package: str, out: Path) -> None:
    """Write the descriptor set of ``package`` and a stub for each of its files to ``out``."""
    flags = [f"-I{HOME}", "--include_imports", f"--descriptor_set_out={out / package}.binpb"]
    flags.append(f"--pyi_out={out}")
    files = definitions(package)
    subprocess.run(  # noqa: S603 - our own files
        [sys.executable, "-m", "grpc_tools.protoc", *flags, *files], check=True
    )
    for path in files:
        stub = (out / path.replace(".proto", "_pb2.pyi")).read_text("utf-8")
        stub = IMPORT.sub(r"from foretoken.proto import \1 as", stub)
        name = Path(path).stem
        (out / f"{name}.pyi").write_text(PRAGMA + stub, "utf-8")
        (out / f"{name}.py").write_text(MODULE.format(path=path), "utf-8")
    shutil.rmtree(out / package)


def packages() -> list[str]:
    """Folders that hold definitions."""
    return sorted({p.relative_to(HOME).parts[0] for p in HOME.rglob("*.proto")})


def main() -> None:
    """Compile every package into the folder of this file."""
    with tempfile.TemporaryDirectory() as scratch:
        for package in packages():
            compiled(package, Path(scratch))
        for made in sorted(Path(scratch).iterdir()):
            shutil.copyfile(made, HOME / made.name)


if __name__ == "__main__":
    main()
