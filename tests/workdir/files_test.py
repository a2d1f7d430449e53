"""Files: whole or not at all, names of parameters, tables."""

import csv
import os

import numpy as np
import pytest

from spiral_vae.workdir import files

WRITERS = [
    (files.write_text, "text.txt", "new"),
    (files.write_npz, "arrays.npz", {"a": np.arange(3)}),
    (files.write_csv, "table.csv", [{"lane": 0}]),
]


@pytest.mark.parametrize(("write", "name", "content"), WRITERS)
@pytest.mark.parametrize("broken", ["replace", "fsync"])
def test_a_failure_leaves_the_old_file_and_no_other(
    tmp_path, monkeypatch, write, name, content, broken
):
    def fail(*args):
        raise OSError("disk full")

    (tmp_path / name).write_text("old")
    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path / name, content)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"


def test_a_failure_while_writing_leaves_nothing(tmp_path):
    class Broken:
        def __array__(self, *args, **kwargs):
            raise ValueError("no array")

    with pytest.raises(ValueError, match="no array"):
        files.write_npz(tmp_path / "a.npz", {"good": np.zeros(2), "bad": Broken()})
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("write", "name", "content"), WRITERS)
def test_a_file_is_replaced_as_a_whole(tmp_path, write, name, content):
    (tmp_path / name).write_text("old " * 1000)
    write(tmp_path / name, content)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert "old" not in (tmp_path / name).read_text(errors="replace")


def test_arrays_come_back_as_they_were(tmp_path):
    arrays = {
        "encoder/hidden_0/kernel": np.linspace(0, 1, 6, dtype=np.float32).reshape(1, 2, 3),
        "epoch": np.asarray([10, 20]),
    }
    files.write_npz(tmp_path / "a.npz", arrays)
    with np.load(tmp_path / "a.npz") as found:
        assert set(found) == set(arrays)
        for name, value in arrays.items():
            np.testing.assert_array_equal(found[name], value)
            assert found[name].dtype == value.dtype


NESTED = {
    "encoder": {"hidden_0": {"kernel": np.ones((2, 3)), "bias": np.zeros(3)}},
    "decoder": {"mean": {"kernel": np.full((3, 2), 2.0)}},
}


def test_params_have_one_name_a_leaf():
    flat = files.flat_params(NESTED)
    assert {name: value.sum() for name, value in flat.items()} == {
        "encoder/hidden_0/kernel": 6,
        "encoder/hidden_0/bias": 0,
        "decoder/mean/kernel": 12,
    }


def test_nested_params_undoes_flat_params():
    again = files.nested_params(files.flat_params(NESTED))
    assert str(again) == str(NESTED)  # nesting, order and values
    flat = files.flat_params(NESTED)
    assert str(files.flat_params(files.nested_params(flat))) == str(flat)


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (np.nan, ""),
        (np.float32("nan"), ""),
        (0.1, "0.1"),
        (1 / 3, "0.3333333333333333"),  # in full, so that reading gives the same bits
        (np.float64(1e-30), "1e-30"),
        (np.float32(0.1), "0.10000000149011612"),
        (-np.inf, "-inf"),
        (3, "3"),
        (np.int64(3), "3"),
        (True, "True"),
        (np.bool_(False), "False"),
        ("a, b", '"a, b"'),
        (2**32 - 1, "4294967295"),
    ],
)
def test_cells_of_the_table(tmp_path, value, cell):
    files.write_csv(tmp_path / "a.csv", [{"lane": 7, "name": value}])
    assert (tmp_path / "a.csv").read_text() == f"lane,name\n7,{cell}\n"


def test_a_row_without_a_column_has_an_empty_cell(tmp_path):
    rows = [{"lane": 0, "status": "failed"}, {"lane": 1, "status": "ok", "nll": 1.5}, {"lane": 2}]
    files.write_csv(tmp_path / "a.csv", rows)
    with open(tmp_path / "a.csv", newline="") as file:
        found = list(csv.reader(file))
    assert found == [
        ["lane", "status", "nll"],
        ["0", "failed", ""],
        ["1", "ok", "1.5"],
        ["2", "", ""],
    ]


@pytest.mark.parametrize(
    "column",
    [
        [0, 1, 2**32 - 1],
        [-1.5, 1 / 3, 1e-30],
        [1.0, 2.0, 3.0],
        [1.0, np.nan, -np.inf],
        [True, False, True],
        ["ok", "not finite at step 3: loss, and more", "1"],
        [0.1, 1e22, 5e-324],
    ],
)
def test_a_table_comes_back_with_its_values_and_types(tmp_path, column):
    files.write_csv(tmp_path / "a.csv", [{"lane": i, "x": x} for i, x in enumerate(column)])
    found = files.read_csv(tmp_path / "a.csv")
    assert list(found) == ["lane", "x"]
    assert found["lane"] == [0, 1, 2] and type(found["lane"][0]) is int
    np.testing.assert_array_equal(found["x"], column)
    assert [type(x) for x in found["x"]] == [type(x) for x in column]


def test_an_empty_cell_is_nan_among_booleans(tmp_path):
    """A lane that failed must not turn the others' False into a word, which is true."""
    rows = [{"lane": 0}, {"lane": 1, "recovered": False}, {"lane": 2, "recovered": True}]
    files.write_csv(tmp_path / "a.csv", rows)
    missing, *found = files.read_csv(tmp_path / "a.csv")["recovered"]
    assert np.isnan(missing) and found == [False, True] and type(found[0]) is bool


def test_an_empty_cell_is_nan_in_a_column_of_numbers(tmp_path):
    files.write_csv(tmp_path / "a.csv", [{"lane": 0}, {"lane": 1, "nll": 1.5}, {"lane": 2}])
    np.testing.assert_array_equal(files.read_csv(tmp_path / "a.csv")["nll"], [np.nan, 1.5, np.nan])


def test_what_of_a_path_is_no_text_is_escaped(tmp_path):
    files.write_text(tmp_path / "page", "runs/caf\udce9 é")
    assert (tmp_path / "page").read_text(encoding="utf-8") == "runs/caf\\udce9 é"
