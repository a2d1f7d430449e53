"""Tables: what is read of a file, how its rows are shared out, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest

from spiral_vae.fields import FieldError
from spiral_vae.process.table import Table, read

ROWS = np.array([[1.5, 10.0, 0.1], [2.5, 30.0, 0.2], [-3.0, 20.0, 0.3], [4.0, 40.0, 0.4]])
LINES = [",".join(map(str, row)) for row in ROWS.tolist()]


@pytest.fixture
def file(tmp_path):
    def write(content, name="points.csv"):
        path = tmp_path / name
        if name.endswith(".npy"):
            np.save(path, content)
        elif name.endswith(".npz"):
            np.savez(path, **content)
        else:
            path.write_text(content, encoding="utf-8")
        return str(path)

    return write


def _settled(path, **own):
    """A table of a config, as a run has it."""
    values = {"path": path, "num_points": 200, "held_out": 0.0, "sha256": ""}
    names = ("columns", "t_column", "sequence_column", "time_column")
    values |= dict.fromkeys(names, "") | {"standardise": False, **own}
    found = Table.settled({f"data.{name}": value for name, value in values.items()})
    return Table(**values | {name.removeprefix("data."): value for name, value in found.items()})


@pytest.mark.parametrize(
    ("content", "name", "names"),
    [
        ("a,b,c\n" + "\n".join(LINES), "points.csv", "a,b,c"),
        ("\ufeffa, b ,c\r\n" + "\r\n".join(LINES) + "\r\n\r\n", "points.csv", "a,b,c"),
        ("\n".join(LINES), "points.txt", "x1,x2,x3"),
        ("a\tb\tc\n" + "\n".join(LINES).replace(",", "\t"), "points.tsv", "a,b,c"),
        ("a;b;c\n" + "\n".join(LINES).replace(",", ";"), "points.csv", "a,b,c"),
        ('"a","b","c"\n' + "\n".join(LINES), "points.csv", "a,b,c"),
        (ROWS, "points.npy", "x1,x2,x3"),
        ({"anything": ROWS.astype(np.float32)}, "points.npz", "x1,x2,x3"),
    ],
)
def test_the_same_points_come_of_every_kind_of_file(file, content, name, names):
    table = _settled(file(content, name))
    assert (table.columns, table.dim, table.num_points, len(table.sha256)) == (names, 3, 4, 64)
    assert table.places == 4
    x = np.asarray(table.sample(jax.random.key(0)).x)
    np.testing.assert_allclose(x[np.argsort(x[:, 2])], ROWS, rtol=1e-6)


def test_sequences_are_kept_together_and_their_holes_are_not_seen(file):
    rows = ["w1,0,1,5", "w2,0,2,6", "w1,1,3,7", "w1,3,4,8", "w2,1,9,1", "w3,2,7,7", "w3,4,1,2"]
    path = file("who,when,a,b\n" + "\n".join(rows))
    table = _settled(path, sequence_column="who", time_column="when", held_out=0.4)
    assert (table.columns, table.steps, table.num_points, table.places) == ("a,b", 4, 8, 12)
    data = table.sample(jax.random.key(1))
    both = [
        np.concatenate(pair).reshape(3, 4, -1)
        for pair in (
            (data.x, data.held_out),
            (data.observed[:, None], data.held_out_observed[:, None]),
        )
    ]
    expected = {  # by their first point
        1.0: ([[1, 5], [3, 7], [0, 0], [4, 8]], [1, 1, 0, 1]),
        2.0: ([[2, 6], [9, 1], [0, 0], [0, 0]], [1, 1, 0, 0]),
        7.0: ([[7, 7], [0, 0], [1, 2], [0, 0]], [1, 0, 1, 0]),
    }
    for x, seen in zip(*both, strict=True):
        points, observed = expected.pop(float(x[0, 0]))
        np.testing.assert_array_equal(x, points)
        np.testing.assert_array_equal(seen[:, 0], observed)
    assert not expected
    again = data.seen()
    assert {tuple(row) for row in np.asarray(again.x)} == {
        tuple(row) for row in np.asarray(data.x)[np.asarray(data.observed) > 0]
    }


def test_columns_are_chosen_by_name_and_one_of_them_may_be_t(file):
    path = file("a,b,c,word\n" + "\n".join(f"{line},x" for line in LINES))
    table = _settled(path, columns="c,a", t_column="b")
    assert table.dim == 2
    data = table.sample(jax.random.key(3))
    order = np.argsort(data.x[:, 0])
    np.testing.assert_allclose(data.x[order], ROWS[:, [2, 0]], rtol=1e-6)
    np.testing.assert_allclose(data.t[order], ROWS[:, 1])
    some = _settled(path, columns="c,a", t_column="b", held_out=0.5).sample(jax.random.key(3))
    assert some.t.shape == (2,)  # of the training points alone, and each its own
    np.testing.assert_array_equal(some.t, [ROWS[ROWS[:, 0] == x[1], 1][0] for x in some.x])
    everything = _settled(file("a,b\n1,2\n3,4\n5,7"), t_column="b")
    assert everything.columns == "a"  # t is not trained on, though no columns are named


def test_the_seed_shares_out_the_rows(file):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 2)) * [3, 0.1] + [10, -5]
    table = _settled(file(rows, "rows.npy"), held_out=0.2, standardise=True)
    assert table.num_points == 40
    one, same, other = (table.sample(jax.random.key(seed)) for seed in (0, 0, 1))
    assert one.x.shape == (40, 2) and one.held_out.shape == (10, 2) and one.t is None
    np.testing.assert_array_equal(one.x, same.x)
    wanted = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    for data in (one, other):
        every = np.concatenate([data.x, data.held_out])
        np.testing.assert_allclose(np.sort(every, axis=0), np.sort(wanted, axis=0), atol=1e-5)
    assert {*map(float, one.held_out[:, 0])} != {*map(float, other.held_out[:, 0])}
    few = dataclasses.replace(table, num_points=7).sample(jax.random.key(0))
    assert few.x.shape == (7, 2) and few.held_out.shape == (43, 2)
    assert _settled(file(rows, "rows.npy")).sample(jax.random.key(0)).held_out is None


@pytest.mark.parametrize(
    ("content", "own", "told"),
    [
        ("a,b\n1,2\n3,\n4,NA\n5,6", {}, "lacks a finite number in 2 of 4 rows, in line 3, 4"),
        ("a,b\n1,2\n3,inf\n4,1", {}, "lacks a finite number in 1 of 3 rows, in line 3;"),
        (
            "a,b\n1,x\n3,y",
            {},
            "data.columns: column 'b' of {} is text; those of numbers are a",
        ),
        ("a,b\nu,x\nv,y", {}, "column 'a' of {} is text; none is of numbers"),
        ("a,b\n1,2\n3", {}, "line 3 of {} has 1 cells, line 1 has 2"),
        ("a,a\n1,2\n3,4", {}, "data.path: {} has more than one column 'a'"),
        ("a,b\n1,2", {}, "{} has 1 row, must have at least 2"),
        ("", {}, "{} is empty"),
        ("a,b\n1,2\n1,3", {}, "'a' of {} has one value in all rows"),
        ("a,b\n1,2\n3,4", {"columns": "a,z"}, "data.columns: {} has no column 'z'; it has a, b"),
        ("a,b\n1,2\n3,4", {"t_column": "z"}, "data.t_column: {} has no column 'z'; it has a, b"),
        ("a,b\n1,2\n3,4", {"columns": "a,a"}, "'a' is named twice"),
        ("a,b\n1,2\n3,4", {"columns": "a,b", "t_column": "b"}, "'b' is named twice"),
        ("a,b\n1,2\n3,4", {"t_column": "a", "columns": "a"}, "'a' is named twice"),
        ("a\n1\n2", {"t_column": "a"}, "data.columns: {} has no column of data"),
        (np.zeros((5, 0)), {}, "data.columns: {} has no column of data"),
        ('"a, m",b\n1,2\n3,4', {}, "data.columns: a comma is in the name 'a, m' of {}"),
        ("a,b\n1,2\n3,4", {"sha256": "0" * 64}, "{} has changed since the run began"),
        (np.zeros(3), {}, "holds float64 of shape [3], must hold numbers [rows, columns]"),
        (np.array([["a"]]), {}, "must hold numbers"),
        ({"a": ROWS, "b": ROWS}, {}, "holds a, b, must hold one array"),
    ],
)
def test_what_is_wrong_with_a_table_is_a_sentence(file, content, own, told):
    suffix = {str: "csv", dict: "npz"}.get(type(content), "npy")
    path = file(content, f"points.{suffix}")
    with pytest.raises(FieldError) as error:
        _settled(path, **own)
    assert told.format(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["none.csv", "none.npy"])
def test_a_file_that_is_not_there(tmp_path, name):
    with pytest.raises(FieldError, match="can't be read: No such file"):
        _settled(str(tmp_path / name))


def test_a_damaged_array_is_told(tmp_path):
    path = tmp_path / "points.npy"
    path.write_bytes(b"\x93NUMPY nonsense")
    with pytest.raises(FieldError, match=r"data\.path: .*points\.npy can't be read"):
        _settled(str(path))
    (tmp_path / "points.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(FieldError, match="is no text"):
        _settled(str(tmp_path / "points.csv"))


def test_a_table_is_read_once(file):
    path = file("a,b\n1,2\n3,4")
    assert read(path, "one") is read(path, "one")
