"""The command line; ``main`` is what ``foretoken`` runs."""

from __future__ import annotations


def main() -> None:
    """Run the command line, importing what it needs only now."""
    try:
        from foretoken.cli.app import run  # noqa: PLC0415
    except ModuleNotFoundError as e:
        missing = e.name or "a package"
        raise SystemExit(
            f"foretoken: the command line needs {missing}: pip install 'foretoken[cpu]'"
        ) from e
    run()
