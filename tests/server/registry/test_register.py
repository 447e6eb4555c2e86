"""Registering: order, numbers, states, lineage, and what is refused."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from sqlalchemy import event

from foretoken.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidInput,
    NotFound,
)
from foretoken.models.artefact import WEIGHTS
from foretoken.server.registry.records import Origin, Parent, Relation, Status
from foretoken.server.registry.registry import Registry
from tests.server.registry.conftest import toy_signature
from tests.server.registry.recording import RecordingDisk


def test_a_registered_version_is_what_was_given(registry, make_artefact):
    artefact = make_artefact(training={"seed": 7})
    version = registry.register("toy-model", artefact, actor="ann", tags={"stage": "trial"})
    assert version.ref == "toy-model:1"
    assert version.status is Status.READY
    assert (version.family, version.precision) == ("toy", "float32")
    assert (version.origin, version.release, version.parent) == (Origin.USER, None, None)
    assert version.tags == {"stage": "trial"}
    assert version.aliases == ("champion",)
    assert version.size == sum(path.stat().st_size for path in artefact.files.values())
    kept = registry.artefact(version)
    assert kept.description() == artefact.description()
    assert kept.files.keys() == artefact.files.keys()
    for name, path in kept.files.items():
        assert path.read_bytes() == artefact.files[name].read_bytes()
    assert registry.manifest(version).signature == toy_signature(artefact)
    assert registry.manifest(version).digest == version.manifest_digest


def test_every_blob_is_durable_before_the_row_is_committed(data_dir, make_artefact):
    log: list = []
    with Registry.open(data_dir, signature=toy_signature, files=RecordingDisk(log)) as registry:
        event.listen(
            registry._database.engine, "commit", lambda _: log.append(("commit", "catalogue"))
        )
        log.clear()
        artefact = make_artefact()
        registry.register("m", artefact, check=lambda _: log.append(("check", "")))
    operations = [operation for operation, _ in log]
    blob = ["create", "write", "fsync", "rename", "fsync_folder"]
    files = len(artefact.files) + 1  # and the manifest
    # Row PENDING, the check, row READY; the last commit ends the transaction that reads it back.
    assert operations == blob * files + ["commit", "check", "commit", "commit"]


def test_versions_are_numbered_and_listed_newest_first(registry, make_artefact):
    made = [registry.register("m", make_artefact()) for _ in range(5)]
    assert [version.number for version in made] == [1, 2, 3, 4, 5]
    assert [version.number for version in registry.versions("m")] == [5, 4, 3, 2, 1]
    assert [version.number for version in registry.versions("m", limit=2)] == [5, 4]
    assert [version.number for version in registry.versions("m", after=4, limit=2)] == [3, 2]
    assert registry.versions("m", after=1) == []


def test_models_are_paged_by_name(registry, make_artefact):
    for name in ("c", "a", "b"):
        registry.register(name, make_artefact())
    registry.register("b", make_artefact())
    assert [(m.name, m.versions, m.latest, m.aliases) for m in registry.models()] == [
        ("a", 1, 1, {"champion": 1}),
        ("b", 2, 2, {"champion": 1}),
        ("c", 1, 1, {"champion": 1}),
    ]
    assert [m.name for m in registry.models(after="a", limit=1)] == ["b"]
    assert registry.models(after="c") == []


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_pages_have_bounds(registry, limit):
    with pytest.raises(InvalidInput, match="a page has"):
        registry.models(limit=limit)
    with pytest.raises(InvalidInput, match="a page has"):
        registry.versions("m", limit=limit)


def test_equal_artefacts_share_bytes_and_identity_but_not_numbers(
    registry, make_artefact, data_dir
):
    first = registry.register("m", make_artefact(1.0))
    count = len(list((data_dir / "blobs/sha256").iterdir()))
    second = registry.register("m", make_artefact(1.0))
    assert first.manifest_digest == second.manifest_digest
    assert second.number == 2
    assert len(list((data_dir / "blobs/sha256").iterdir())) == count


def test_the_first_ready_version_becomes_champion_and_later_ones_do_not(registry, make_artefact):
    def broken(_):
        raise InvalidInput("parity is off")

    with pytest.raises(InvalidInput, match="parity is off"):
        registry.register("m", make_artefact(), check=broken)
    with pytest.raises(NotFound):
        registry.resolve("m")
    registry.register("m", make_artefact())
    registry.register("m", make_artefact())
    assert registry.resolve("m").number == 2
    assert [event.actor for event in registry.history("m")] == ["local"]


def test_a_version_is_pending_and_unseen_while_it_is_checked(registry, make_artefact):
    registry.register("m", make_artefact())
    seen = []

    def look(artefact):
        assert all(path.is_file() for path in artefact.files.values())
        assert artefact.config == {"width": 3}
        seen.append([version.number for version in registry.versions("m")])
        seen.append([(v.number, v.status) for v in registry.versions("m", unready=True)])
        seen.append(registry.models()[0].versions)
        assert registry.show("m:2").status is Status.PENDING
        for use in (
            lambda: registry.resolve("m:2"),
            lambda: registry.set_alias("m", "champion", 2),
        ):
            with pytest.raises(NotFound, match="PENDING"):
                use()
        with pytest.raises(FailedPrecondition, match="PENDING"):
            registry.artefact(registry.show("m:2"))
        with pytest.raises(FailedPrecondition, match="being registered"):
            registry.delete("m:2")

    version = registry.register("m", make_artefact(), check=look)
    assert seen == [[1], [(2, Status.PENDING), (1, Status.READY)], 1]
    assert version.status is Status.READY
    assert registry.resolve("m:2") == version


def test_a_model_with_nothing_but_a_pending_version_is_not_there(registry, make_artefact):
    def look(_):
        assert registry.models() == []
        for use in (registry.resolve, registry.versions, registry.aliases, registry.options):
            with pytest.raises(NotFound, match="no model 'm'"):
                use("m")

    registry.register("m", make_artefact(), check=look)
    assert registry.resolve("m").number == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InvalidInput("logits differ by 3.1"), "logits differ by 3.1"),
        (ZeroDivisionError("oh"), "the check broke off: ZeroDivisionError('oh')"),
        (KeyboardInterrupt(), "the check broke off: KeyboardInterrupt()"),
    ],
)
def test_a_failed_check_makes_a_failed_version_with_its_reason(
    registry, make_artefact, error, reason
):
    registry.register("m", make_artefact())

    def check(_):
        raise error

    with pytest.raises(type(error)):
        registry.register("m", make_artefact(5.0), check=check)
    (failed,) = [v for v in registry.versions("m", unready=True) if v.status is Status.FAILED]
    assert (failed.number, failed.reason) == (2, reason)
    assert [version.number for version in registry.versions("m")] == [1]
    with pytest.raises(NotFound, match="is FAILED"):
        registry.resolve("m:2")
    assert registry.gc(0).blobs == 3, "its weights, its card and its manifest"
    assert registry.show("m:2").reason == reason
    assert registry.register("m", make_artefact()).number == 3


def test_a_child_keeps_its_lineage_when_the_parent_is_gone(registry, make_artefact):
    registry.register("big", make_artefact())
    parent = registry.register("big", make_artefact())
    child = registry.register(
        "small", make_artefact(), parent=parent, relation="quantised-from", actor="q"
    )
    lineage = Parent("big", 2, parent.manifest_digest, Relation.QUANTISED_FROM)
    assert child.parent == lineage
    registry.delete("big:2")
    assert registry.resolve("small").parent == lineage


def test_parent_and_relation_are_checked(registry, make_artefact):
    parent = registry.register("m", make_artefact())
    with pytest.raises(InvalidInput, match="go together"):
        registry.register("m", make_artefact(), parent=parent)
    with pytest.raises(InvalidInput, match="go together"):
        registry.register("m", make_artefact(), relation="exported-from")
    with pytest.raises(InvalidInput, match="is none of exported-from"):
        registry.register("m", make_artefact(), parent=parent, relation="stolen-from")


@pytest.mark.parametrize("name", ["", "../m", "a/b", "a:1", "x@y", ".m", "m\n"])
def test_names_are_checked(registry, make_artefact, name, data_dir):
    with pytest.raises(InvalidInput, match="is not a name"):
        registry.register(name, make_artefact())
    with pytest.raises(InvalidInput, match="is not a name"):
        registry.register("m", make_artefact(), tags={name: "x"})
    assert registry.models() == []
    folders = sorted(path.name for path in data_dir.iterdir() if path.is_dir())
    assert folders == ["blobs", "contexts"]


def test_an_unknown_family_is_refused(data_dir, make_artefact):
    with (
        Registry.open(data_dir) as registry,
        pytest.raises(NotFound, match="no model family 'toy'"),
    ):
        registry.register("m", make_artefact())


def test_serving_options_are_checked_at_registration(registry, make_artefact):
    with pytest.raises(InvalidInput, match="threds"):
        registry.register("m", make_artefact(serving={"threds": 2}))
    assert registry.models() == []


def test_a_flipped_byte_is_data_loss_that_names_the_file(registry, make_artefact):
    version = registry.register("m", make_artefact())
    weights = registry.artefact(version).files[WEIGHTS]
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(DataLoss, match=rf"m:1: {WEIGHTS}.*{weights.name}"):
        registry.artefact(version)
    assert registry.artefact(version, verify=False).files[WEIGHTS] == weights
    bad = [report for report in registry.verify() if not report.ok]
    assert [(report.version, report.file) for report in bad] == [("m:1", WEIGHTS)]
    assert "have changed" in bad[0].problem


def test_a_flipped_byte_in_the_manifest_is_data_loss(registry, make_artefact, data_dir):
    version = registry.register("m", make_artefact())
    path = data_dir / "blobs/sha256" / version.manifest_digest[7:]
    path.write_bytes(path.read_bytes().replace(b"toy", b"tox"))
    for use in (registry.artefact, registry.manifest, registry.serving_options):
        with pytest.raises(DataLoss, match="m:1: manifest"):
            use(version)
    assert [(report.file, report.ok) for report in registry.verify("m:1")] == [("manifest", False)]


def test_verify_reports_every_file_of_every_version(registry, make_artefact):
    registry.register("a", make_artefact(1.0))
    registry.register("b", make_artefact(1.0))
    registry.register("b", make_artefact(2.0))
    files = ["manifest", "card.md", "forward.onnx", "labels.json", WEIGHTS]
    reports = list(registry.verify())
    assert [(r.version, r.file) for r in reports] == [
        (version, file) for version in ("a:1", "b:2", "b:1") for file in files
    ]
    assert all(report.ok for report in reports)
    assert [report.version for report in registry.verify("b")] == ["b:1"] * len(files)
    with pytest.raises(NotFound):
        registry.verify("c")


def test_a_missing_blob_is_data_loss(registry, make_artefact):
    version = registry.register("m", make_artefact())
    registry.artefact(version).files[WEIGHTS].unlink()
    with pytest.raises(DataLoss, match=f"m:1: {WEIGHTS}.*is gone"):
        registry.artefact(version)


def test_a_file_that_changes_between_two_looks_is_refused(registry, make_artefact, data_dir):
    """A collection sweeps a blob before its row is there; the source is another by then."""
    artefact = make_artefact()
    admission = registry._admission
    insert = admission.__class__._insert
    card = artefact.files["card.md"]

    def sweep_then_insert(self, candidate, manifest, *, settle):
        self.blobs.delete(manifest.files["card.md"].digest)
        card.write_text("another card")
        return insert(self, candidate, manifest, settle=settle)

    class Swept(admission.__class__):
        _insert = sweep_then_insert

    registry._admission = Swept(admission.database, admission.blobs, admission.signature)
    with pytest.raises(InvalidInput, match=r"card\.md changed while"):
        registry.register("m", artefact)
    assert registry.models() == []


def test_blobs_swept_before_their_row_was_there_are_put_again(registry, make_artefact):
    admission = registry._admission
    insert = admission.__class__._insert

    class Swept(admission.__class__):
        def _insert(self, candidate, manifest, *, settle):
            for entry in manifest.files.values():
                self.blobs.delete(entry.digest)
            self.blobs.delete(manifest.digest)
            return insert(self, candidate, manifest, settle=settle)

    registry._admission = Swept(admission.database, admission.blobs, admission.signature)
    version = registry.register("m", make_artefact())
    assert all(report.ok for report in registry.verify())
    assert registry.artefact(version).family == "toy"


def test_threads_share_one_registry(registry, make_artefact):
    artefacts = [make_artefact() for _ in range(8)]
    numbers: list[int] = []

    def work(artefact):
        numbers.append(registry.register("m", artefact).number)
        registry.resolve("m")

    threads = [threading.Thread(target=work, args=(artefact,)) for artefact in artefacts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 9))


def test_a_version_says_itself_as_json(registry, make_artefact):
    import json

    parent = registry.register("m", make_artefact(), tags={"a": "b"})
    record = registry.register(
        "m", make_artefact(), parent=parent, relation="exported-from"
    ).record()
    said = json.loads(json.dumps(record))
    assert said["number"] == 2
    assert said["parent"]["relation"] == "exported-from"
    assert said["created"].endswith("+00:00")


def test_a_path_that_is_no_data_dir(tmp_path, data_dir):
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(InvalidInput, match="is not a folder"):
        Registry.open(file)
    data_dir.mkdir()
    (data_dir / "registry.sqlite3").write_bytes(b"this is no database" * 100)
    with pytest.raises(DataLoss, match="damaged"):
        Registry.open(data_dir)


def test_the_signature_is_part_of_the_identity(data_dir, make_artefact):
    with Registry.open(data_dir, signature=lambda _: {"forward": 1}) as registry:
        one = registry.register("m", make_artefact(1.0))
    with Registry.open(data_dir, signature=lambda _: {"forward": 2}) as registry:
        two = registry.register("m", make_artefact(1.0))
    assert one.manifest_digest != two.manifest_digest


def test_a_description_that_json_cannot_say_is_refused(registry, make_artefact):
    with pytest.raises(InvalidInput, match="not plain JSON"):
        registry.register("m", replace(make_artefact(), config={"width": 3, "x": float("nan")}))
    assert registry.models() == []
