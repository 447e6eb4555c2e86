"""The house itself: light imports, a true map, tables made from the code."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("foretoken", "server", "models", "exporters", "kernels")
HEAVY = {"torch", "onnxruntime", "onnx", "sqlalchemy", "pandas", "scipy", "sklearn"}
HEAVY |= {"matplotlib", "grpc"}


def _modules() -> list[Path]:
    return [
        path.relative_to(ROOT)
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        if not any(part.is_symlink() for part in path.parents)
    ]


@pytest.mark.parametrize("imported", ["foretoken", "foretoken.errors", "foretoken.distributions"])
def test_importing_the_client_side_imports_nothing_heavy(imported):
    assert HEAVY.isdisjoint(_loaded_by(imported))


def _loaded_by(imported: str) -> list[str]:
    """Names of all modules that are there when a new process has imported one."""
    code = f"import sys, {imported}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


# Modules that need more than that; each is imported late, by what stands behind it.
LATE = {
    "models/depth/chooser.py": {"sklearn"},
    "models/depth/verifiers.py": {"re2"},  # of patterns alone
    "kernels/aaren/triton.py": {"triton"},  # on a GPU
    "kernels/context_attention/triton.py": {"triton"},
    "kernels/decode_attention/triton.py": {"triton"},
    "kernels/delta_rule/triton.py": {"triton"},
    "kernels/parts.py": {"triton"},  # kernels of attention
    "kernels/rmsnorm/triton.py": {"triton"},
    "kernels/rope/triton.py": {"triton"},
    "kernels/swiglu/triton.py": {"triton"},
    "models/fastrp/projection.py": {"scipy"},  # models.fastrp.predict, to fit: sparse matrices
    "models/fastrp/walk.py": {"scipy"},  # the same
    "models/layers/hf/tokenizer.py": {"tokenizers"},  # of versions that bring a tokenizer
    "models/layers/hf/words.py": {"tokenizers"},  # of versions that bring a tokenizer
    "models/layers/texts/chat.py": {"jinja2"},  # of versions that bring a chat template
    "models/static_encoder/distil.py": {"tokenizers"},  # to distil
    "models/static_encoder/pseudo.py": {"tokenizers"},  # the same
    "models/tabpfn/regression.py": {"scipy"},  # models.tabpfn.pipelines: Cholesky factors
    "models/tabpfn/ways.py": {"scipy"},  # the same: ranks as normal scores
    "models/tabpfn/v1.py": {"sklearn"},  # the same: the release's transform is scikit-learn's
}


def test_models_and_kernels_need_torch_numpy_and_safetensors_alone():
    allowed = {"foretoken", "numpy", "safetensors", "torch", *sys.stdlib_module_names}
    foreign = {
        str(path): _imports(path) - allowed
        for path in _modules()
        if path.parts[0] in ("models", "kernels")
    }
    assert {path: names for path, names in foreign.items() if names} == LATE


@pytest.mark.parametrize(
    ("imported", "absent"),
    [
        ("foretoken.models.cola.predict", {"jinja2", "re2", "tokenizers", "torch"}),
        ("foretoken.models.fastrp.predict", {"scipy", "torch"}),
        ("foretoken.models.tabpfn", {"scipy", "sklearn", "torch", "triton"}),
        ("foretoken.models.tabpfn.predict", {"scipy", "sklearn", "torch", "triton"}),
        ("foretoken.models.text_encoder", {"tokenizers", "torch", "transformers"}),
        ("foretoken.models.layers.texts.predict", {"tokenizers", "torch", "transformers"}),
        ("foretoken.models.layers.texts.tokens", {"tokenizers", "torch", "transformers"}),
        ("foretoken.models.layers.hf.tokenizer", {"torch", "transformers"}),
        ("foretoken.kernels.aaren", {"triton"}),
        ("foretoken.kernels.context_attention", {"triton"}),
        ("foretoken.kernels.decode_attention", {"triton"}),
        ("foretoken.kernels.delta_rule", {"triton"}),
        ("foretoken.kernels.rmsnorm", {"triton"}),
        ("foretoken.kernels.rope", {"triton"}),
        ("foretoken.kernels.swiglu", {"triton"}),
    ],
)
def test_what_a_family_needs_beyond_numpy_comes_late(imported, absent):
    assert absent.isdisjoint(_loaded_by(imported))


def _imports(path: Path) -> set[str]:
    import ast

    tree = ast.parse((ROOT / path).read_text("utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def test_families_are_strangers_to_each_other():
    shared = {"depth", "layers", "tasks"}
    families = {p.parent.name for p in (ROOT / "models").glob("*/__init__.py")} - shared
    for path in _modules():
        if path.parts[0] == "models":
            text = (ROOT / path).read_text("utf-8")
            known = set(re.findall(r"foretoken\.models\.(\w+)", text)) & families
            assert known <= {path.parts[1]}, path


def test_the_contract_fits_on_one_page():
    assert len((ROOT / "models/contract.py").read_text("utf-8").splitlines()) <= 120


def test_no_source_file_is_longer_than_500_lines():
    lengths = {str(p): len((ROOT / p).read_text("utf-8").splitlines()) for p in _modules()}
    assert {p: n for p, n in lengths.items() if n > 500} == {}


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs/tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLES = [
    ("README.md", "families"),
    ("docs/map.md", "modules"),
    ("docs/operate.md", "metrics"),
    ("docs/operate.md", "settings"),
]


@pytest.mark.parametrize(("document", "marker"), TABLES)
def test_documents_say_what_the_code_says(tables, document, marker):
    text = (ROOT / document).read_text("utf-8")
    assert f"<!-- {marker} -->" in text
    assert tables.filled(text) == text, "run: python docs/tables.py"


def test_every_setting_is_described(tables):
    from foretoken.server.settings import Settings

    described = re.findall(r"^\| `(\w+)` \|", tables.settings_table(), re.MULTILINE)
    assert described == list(Settings.model_fields)


def test_every_path_that_a_document_names_exists():
    rooms = "foretoken|server|models|exporters|docs|tests|benchmarks"
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        text = document.read_text("utf-8")
        named = re.findall(rf"`((?:{rooms})/[\w/.]+)`", text)
        links = re.findall(r"\]\(([\w/.-]+)\)", text)
        missing = [name for name in named if not (ROOT / name).exists()]
        missing += [link for link in links if not (document.parent / link).exists()]
        assert missing == [], document.name


def test_every_module_says_what_it_is_for(tables):
    texts = {str(path): (ROOT / path).read_text("utf-8") for path in tables.modules()}
    assert [path for path, text in texts.items() if not text.startswith('"""')] == []
