"""Foreign files, pickles and damaged weights are refused before a byte is copied, with a cure."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from foretoken.errors import InvalidInput
from foretoken.models.artefact import WEIGHTS
from foretoken.server.registry.intake import check_files


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps({}))
    return buffer.getvalue()


def register_with(registry, make_artefact, name, content) -> None:
    artefact = make_artefact()
    path = artefact.files[WEIGHTS].parent / name
    path.write_bytes(content)
    registry.register(
        "m", type(artefact)(**{**vars(artefact), "files": {**artefact.files, name: path}})
    )


def refused(registry, make_artefact, name, content, match):
    with pytest.raises(InvalidInput, match=match):
        register_with(registry, make_artefact, name, content)
    assert registry.models() == []
    assert registry.gc(0).blobs == 0, "nothing was copied"


WHOLE = save({"w": np.ones((64, 8), np.float32)})


@pytest.mark.parametrize("length", [0, 4, 8, 20, len(WHOLE) // 2, len(WHOLE) - 1])
def test_truncated_safetensors(registry, make_artefact, length):
    refused(registry, make_artefact, WEIGHTS, WHOLE[:length], r"cut short.*copy or save it again")


@pytest.mark.parametrize(
    "content",
    [
        WHOLE + b"x",
        struct.pack("<Q", 1 << 62) + WHOLE[8:],
        b"GIF89a" + bytes(100),
        struct.pack("<Q", 2) + b"[]",
    ],
)
def test_what_is_no_safetensors(registry, make_artefact, content):
    refused(registry, make_artefact, WEIGHTS, content, "not a whole safetensors file")


def test_weights_without_tensors(registry, make_artefact):
    refused(registry, make_artefact, WEIGHTS, save({}), "holds no tensors")


def test_a_model_without_graphs_needs_no_tensors(tmp_path):
    path = tmp_path / WEIGHTS
    path.write_bytes(save({}))
    check_files({WEIGHTS: path}, weightless=True)
    with pytest.raises(InvalidInput, match="holds no tensors"):
        check_files({WEIGHTS: path})


@pytest.mark.parametrize("name", [WEIGHTS, "forward.onnx", "labels.json"])
@pytest.mark.parametrize(
    "content", [zipped(), *(pickle.dumps([1], protocol=p) for p in (2, 3, 4, 5))]
)
def test_pickles_under_any_name(registry, make_artefact, name, content):
    refused(registry, make_artefact, name, content, "pickle.*foretoken models import")


@pytest.mark.parametrize("name", ["model.pt", "train.py", "weights.bin", "run.sh", "x.npz"])
def test_files_of_a_kind_that_is_never_loaded(registry, make_artefact, name):
    refused(registry, make_artefact, name, b"x", "foretoken models import")


def test_json_that_is_none(registry, make_artefact):
    refused(registry, make_artefact, "labels.json", b"{", "not JSON")


def test_safetensors_whose_header_is_as_long_as_a_pickle_would_say(tmp_path):
    # A header of 640 bytes begins with 80 02, as a pickle of protocol 2 does.
    for length in range(500, 640):
        path = tmp_path / WEIGHTS
        save_file({"w" * length: np.ones(1, np.float32)}, path)
        if path.read_bytes()[:2] == b"\x80\x02":
            check_files({WEIGHTS: path})
            return
    raise AssertionError("no header of that length was found")


def test_missing_weights_links_and_names_that_leave_the_folder(make_artefact, tmp_path):
    artefact = make_artefact()
    files = dict(artefact.files)
    link = tmp_path / "link.json"
    link.symlink_to(files["labels.json"])
    for change, match in [
        ({"labels.json": link}, "not a plain file"),
        ({"labels.json": tmp_path}, "not a plain file"),
        ({"labels.json": tmp_path / "nothing"}, "not a plain file"),
        ({"../labels.json": files["labels.json"]}, "is not a name"),
        ({"a/labels.json": files["labels.json"]}, "is not a name"),
        ({"artefact.json": files["labels.json"]}, "kept in the manifest"),
    ]:
        with pytest.raises(InvalidInput, match=match):
            check_files({**files, **change})
    del files[WEIGHTS]
    with pytest.raises(InvalidInput, match=f"has no {WEIGHTS}"):
        check_files(files)
