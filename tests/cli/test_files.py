"""What users bring as CSV, and files that are written whole or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from foretoken.cli import files
from foretoken.errors import InvalidInput, NotFound, Unavailable


def _file(tmp_path, text):
    path = tmp_path / "curve.csv"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "steps", "values"),
    [
        ("step,value\n1,0.5\n3,0.75\n", [1, 3], [0.5, 0.75]),
        ("value,step\n0.5,1\n0.75,3\n", [1, 3], [0.5, 0.75]),
        ("value\n0.5\n0.75\n", [1, 2], [0.5, 0.75]),
        ("accuracy\n0.5\n0.75\n", [1, 2], [0.5, 0.75]),
        ("0.5\n0.75\n", [1, 2], [0.5, 0.75]),
        ("10,0.5\n20,0.75\n\n", [10, 20], [0.5, 0.75]),
        ("run,Step,Value\na,1,0.5\nb,2,0.75\n", [1, 2], [0.5, 0.75]),
        ("\ufeffstep,value\n4,0.5\n5,0.75\n", [4, 5], [0.5, 0.75]),
        ("\ufeffvalue\n0.5\n0.75\n", [1, 2], [0.5, 0.75]),
        ("\ufeff10,0.5\n20,0.75\n", [10, 20], [0.5, 0.75]),
        ("step,value\r\n4,0.5\r\n,\r\n5,0.75\r\n", [4, 5], [0.5, 0.75]),
    ],
)
def test_curves_in_every_accepted_form(tmp_path, text, steps, values):
    got = files.read_curve(_file(tmp_path, text))
    np.testing.assert_array_equal(got[0], steps)
    np.testing.assert_array_equal(got[1], values)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("step,value\n", "no values"),
        ("step,loss\n1,0.5\n", "columns step, loss"),
        ("step\n1\n2\n", "columns step; expected the columns step,value"),
        ("epoch,value\n10,0.5\n", "columns epoch, value; expected the columns step,value"),
        ("value,loss\n0.5,1\n", "columns value, loss; expected the columns step,value"),
        ("value,value\n0.5,1\n", "columns value, value; expected"),
        ("step,value,step\n1,0.5,2\n", "columns step, value, step; expected"),
        ("1,0.5,3\n2,0.6,4\n", "columns 1, 0.5, 3; expected"),
        ("step;value\n1;0.5\n", "semicolons where a comma is needed"),
        ("1;0.5\n2;0.6\n", "semicolons where a comma is needed"),
        ("1,5;0,5\n", "semicolons where a comma is needed"),
        ("step\tvalue\n1\t0.5\n", "tabs where a comma is needed"),
        ("step,value\n1,high\n", "line 2: 'high' in column 2"),
        ("\nstep,value\n\n1,0.5\n\n2,\n", "line 6: '' in column 2"),
        ("step,value\n1\n", "line 2: '1' has no column 2"),
        ("0.5\n0.6\nhigh\n", "line 3: 'high'"),
    ],
)
def test_bad_curves_are_refused_with_the_place(tmp_path, text, said):
    with pytest.raises(InvalidInput, match=said):
        files.read_curve(_file(tmp_path, text))


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(NotFound, match="nowhere"):
        files.read_curve(tmp_path / "nowhere.csv")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "curve.csv"
    path.write_bytes(b"\x80\x04\x95\xff\xfe")
    with pytest.raises(InvalidInput, match="UTF-8"):
        files.read_curve(path)


def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("old")

    def write_half():
        with files.whole(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]
    assert path.read_text() == "old"


def test_written_tables_are_read_back(tmp_path):
    path = tmp_path / "deep" / "out.csv"
    files.write_csv(path, ["step", "value"], np.array([[1.0, 0.25], [2.0, 1 / 3]]))
    steps, values = files.read_curve(path)
    np.testing.assert_array_equal(steps, [1, 2])
    np.testing.assert_allclose(values, [0.25, 1 / 3], rtol=1e-7)


def test_a_table_keeps_its_figures(tmp_path):
    files.write_csv(tmp_path / "out.csv", ["step", "value"], np.array([[123456789.0, 0.25]]))
    assert files.read_curve(tmp_path / "out.csv")[0][0] == 123456789


def test_a_folder_is_no_file_to_write(tmp_path):
    with pytest.raises(InvalidInput, match="is a folder"):
        files.write_csv(tmp_path, ["value"], np.ones((1, 1)))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("kept")
    path = tmp_path / "file" / "out.csv"  # its folder is a file
    with pytest.raises(Unavailable, match=r"cannot write .*out\.csv"):
        files.write_csv(path, ["value"], np.ones((1, 1)))
    assert (tmp_path / "file").read_text() == "kept"


def test_only_pictures_are_drawn(tmp_path):
    for name in ("a.png", "a.SVG", "b/a.pdf"):
        files.expect_file(tmp_path / name, files.PICTURES)
    for name in ("a.xyz", "a", ".png"):
        with pytest.raises(InvalidInput, match=r"\.png, \.svg, \.pdf"):
            files.expect_file(tmp_path / name, files.PICTURES)
