"""Blobs: named by content, written in the order that durability needs, verified when read."""

from __future__ import annotations

import errno
import hashlib
import io
import os

import pytest

from foretoken.errors import DataLoss, InvalidInput, Unavailable
from foretoken.server.registry.blobs import CHUNK, BlobStore, digest_of
from tests.server.registry.recording import RecordingDisk


@pytest.fixture
def store(tmp_path):
    return BlobStore(tmp_path / "blobs")


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize("data", [b"", b"x", bytes(CHUNK), os.urandom(2 * CHUNK + 17)])
def test_bytes_come_back_under_the_name_of_their_content(store, tmp_path, data):
    source = tmp_path / "source"
    source.write_bytes(data)
    for given in (data, source, io.BytesIO(data)):
        ref = store.put(given)
        assert (ref.digest, ref.size) == (digest(data), len(data))
    assert digest_of(source) == ref
    assert store.path(ref.digest) == tmp_path / "blobs" / "sha256" / ref.digest[7:]
    assert store.read(ref.digest, "x") == data
    assert store.verify(ref.digest, "x").read_bytes() == data
    assert [(found, file.size) for found, file in store.list()] == [(ref.digest, len(data))]
    assert list(store.unfinished()) == []


def test_a_blob_is_on_the_disk_before_its_name_and_its_name_before_put_returns(tmp_path):
    log: list = []
    store = BlobStore(tmp_path, RecordingDisk(log))
    log.clear()
    name = store.put(os.urandom(CHUNK + 1)).digest[7:]
    temp = log[0][1]
    assert log == [
        ("create", temp),
        ("write", temp),
        ("write", temp),
        ("fsync", temp),
        ("rename", name),
        ("fsync_folder", "sha256"),
    ]


def test_the_folders_themselves_are_made_durable(tmp_path):
    log: list = []
    BlobStore(tmp_path / "data" / "blobs", RecordingDisk(log))
    assert log == [("fsync_folder", "data"), ("fsync_folder", "blobs"), ("fsync_folder", "blobs")]


@pytest.mark.parametrize("step", ["create", "write", "fsync", "rename", "fsync_folder"])
def test_a_full_disk_is_a_typed_error_and_leaves_nothing_half_written(tmp_path, step):
    BlobStore(tmp_path)

    def fail(operation: str) -> None:
        if operation == step:
            raise OSError(errno.ENOSPC, "No space left on device")

    store = BlobStore(tmp_path, RecordingDisk([], fail))
    with pytest.raises(Unavailable, match="No space left"):
        store.put(b"data")
    assert list(store.unfinished()) == []


def test_an_interrupt_leaves_nothing_half_written(tmp_path):
    BlobStore(tmp_path)

    def interrupt(operation: str) -> None:
        if operation == "fsync":
            raise KeyboardInterrupt

    store = BlobStore(tmp_path, RecordingDisk([], interrupt))
    with pytest.raises(KeyboardInterrupt):
        store.put(b"data")
    assert list(store.unfinished()) == []
    assert list(store.list()) == []


def test_changed_and_missing_bytes_are_data_loss_that_names_file_and_blob(store):
    ref = store.put(b"some weights")
    path = store.path(ref.digest)
    path.write_bytes(b"some Weights")
    for look in (store.verify, store.read):
        with pytest.raises(DataLoss, match=r"lcpfn:3: model\.safetensors.*" + ref.digest[7:]):
            look(ref.digest, "lcpfn:3: model.safetensors")
    path.unlink()
    for look in (store.verify, store.read):
        with pytest.raises(DataLoss, match="is gone"):
            look(ref.digest, "lcpfn:3: model.safetensors")


def test_putting_the_same_bytes_again_heals_a_damaged_blob(store):
    ref = store.put(b"some weights")
    store.path(ref.digest).write_bytes(b"some Weights")
    assert store.put(b"some weights") == ref
    assert store.read(ref.digest, "x") == b"some weights"


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:../../x", "sha256:" + "A" * 64, "md5:" + "0" * 64, "0" * 64,
             "sha256:" + "0" * 64 + "\n"]
)  # fmt: skip
def test_what_is_no_digest_is_never_made_a_path(store, text):
    for use in (store.path, store.exists, store.delete):
        with pytest.raises(InvalidInput, match="not a digest"):
            use(text)


def test_an_unreadable_source_is_the_callers_fault(store, tmp_path):
    with pytest.raises(InvalidInput, match="cannot read"):
        store.put(tmp_path / "nothing")
    with pytest.raises(InvalidInput, match="cannot read"):
        store.put(tmp_path)


def test_deleting_what_is_gone_is_no_error(store):
    ref = store.put(b"x")
    store.delete(ref.digest)
    store.delete(ref.digest)
    assert not store.exists(ref.digest)


def test_files_that_are_no_blobs_are_not_listed(store, tmp_path):
    (tmp_path / "blobs" / "sha256" / "README").write_text("x")
    assert list(store.list()) == []
