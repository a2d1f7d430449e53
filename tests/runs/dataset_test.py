"""The labelled results of a workdir, against the files that they are made of."""

import csv
import itertools
import os
import shutil

import jax
import numpy as np
import pytest

from spiral_vae import __version__
from spiral_vae.config import stored
from spiral_vae.config.values import ConfigError, flatten
from spiral_vae.runs import dataset
from spiral_vae.workdir import environment, files
from spiral_vae.workdir import life as workdir
from tests.lanes import make_config

xarray = pytest.importorskip("xarray")
pytest.importorskip("h5netcdf")


@pytest.fixture(scope="module")
def loaded(whole_run):
    return dataset.load(whole_run.workdir)


def test_dimensions_are_the_sweep_the_seed_and_the_epochs(loaded):
    assert dict(loaded.sizes) == {"likelihood.sigma": 2, "seed": 2, "epoch": 4, "probe_epoch": 2}
    assert loaded["likelihood.sigma"].values.tolist() == [0.1, 0.2]
    assert loaded["seed"].values.tolist() == [0, 1]
    assert loaded["epoch"].values.tolist() == [10, 20, 30, 40]
    assert loaded["probe_epoch"].values.tolist() == [20, 40]
    assert loaded["nll"].dims == ("likelihood.sigma", "seed")
    assert loaded["training_kl"].dims == ("likelihood.sigma", "seed", "epoch")
    assert loaded["probe_kl_to_truth"].dims == ("likelihood.sigma", "seed", "probe_epoch")


def test_values_by_label_are_those_of_the_files(loaded, whole_run):
    with open(whole_run.workdir / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        point = {"likelihood.sigma": float(row["likelihood.sigma"]), "seed": int(row["seed"])}
        found = loaded.sel(point)
        for name in row.keys() - {"lane", *point}:
            assert str(found[name].item()) == row[name], name
    for file, prefix in (("training", "training"), ("probes", "probe")):
        with np.load(whole_run.workdir / "metrics" / f"{file}.npz") as arrays:
            for lane, row in enumerate(rows):
                point = {"likelihood.sigma": float(row["likelihood.sigma"])}
                found = loaded.sel(point).sel(seed=int(row["seed"]))
                for name in set(arrays) - {"epoch"}:
                    np.testing.assert_array_equal(found[f"{prefix}_{name}"], arrays[name][lane])


def test_the_written_file_is_the_same(loaded, whole_run):
    with xarray.open_dataset(whole_run.workdir / "results.nc", engine="h5netcdf") as file:
        xarray.testing.assert_identical(file.load(), loaded)
        assert {n: v.dtype.kind for n, v in file.items() if v.dtype.kind != "f"} == {
            **dict.fromkeys(("recovered", "found", "collapsed", "overconfident"), "b"),
            "active_units": "i",
            "status": file["status"].dtype.kind,
            "verdict": file["verdict"].dtype.kind,
        }


WIDTH = "model.decoder.hidden_dim"


def _workdir(path, rows, sweep=(), **fields):
    """A workdir of lanes with known numbers: the loss of lane n is n."""
    (path / "metrics").mkdir()
    files.write_csv(path / "summary.csv", rows)
    column = np.arange(float(len(rows)))[:, None]
    for name in ("training", "probes"):
        arrays = {"epoch": np.asarray([10, 20]), "loss": np.repeat(column, 2, axis=1)}
        files.write_npz(path / "metrics" / f"{name}.npz", arrays)
    environment.write(path / environment.NAME)
    workdir.begin(path, stored.to_json(make_config(sweep=sweep, **fields)))
    workdir.finish(path)
    return path


def test_two_axes_of_strings_and_numbers_and_a_failed_lane(tmp_path):
    sweep = ("data.t_law=uniform,sqrt", f"{WIDTH}=8,4")
    rows = []
    for law in ("uniform", "sqrt"):
        for width in (8, 4):
            for seed in (5, 6, 7):
                lane = len(rows)
                row = {"lane": lane, "seed": seed, "data.t_law": law, WIDTH: width}
                sound = {"status": "ok", "verdict": "collapsed", "nll": 0.5 * lane, "units": 1}
                rows.append(row | (sound if lane != 4 else {"status": "not finite by epoch 10"}))
    found = dataset.load(_workdir(tmp_path, rows, sweep, seed=5, num_seeds=3))
    assert found["nll"].dims == ("data.t_law", WIDTH, "seed")
    assert found[WIDTH].values.tolist() == [8, 4]  # as swept, not sorted
    assert found["nll"].sel({"data.t_law": "sqrt", WIDTH: 4, "seed": 6}) == 0.5 * 10
    assert found["training_loss"].sel({"data.t_law": "sqrt", WIDTH: 8, "seed": 7, "epoch": 20}) == 8
    failed = found.sel({"data.t_law": "uniform", WIDTH: 4, "seed": 6})
    assert failed["status"] == "not finite by epoch 10" and failed["verdict"] == ""
    assert np.isnan(failed["nll"]) and np.isnan(failed["units"])
    assert int(np.isnan(found["nll"]).sum()) == 1
    dataset.write(tmp_path)
    with xarray.open_dataset(tmp_path / "results.nc", engine="h5netcdf") as file:
        xarray.testing.assert_identical(file.load(), found)


def test_the_file_alone_tells_what_it_is(whole_run):
    """Every variable has its meaning, every metric its units, every field its value."""
    with xarray.open_dataset(whole_run.workdir / "results.nc", engine="h5netcdf") as found:
        assert all(variable.attrs["long_name"] for variable in found.variables.values())
        assert found["nll"].attrs == {"long_name": "-E log p under p*", "units": "nats per point"}
        assert found["probe_kl_to_truth"].attrs["units"] == "nats per point"
        assert found["training_kl"].attrs["units"] == "nats per point"
        assert found["spearman"].attrs["units"] == "1"
        assert found["likelihood.sigma"].attrs["long_name"].startswith("standard deviation")
        attrs = dict(found.attrs)
    config = stored.from_json(attrs.pop("config"))
    assert config == stored.from_json((whole_run.workdir / "config.json").read_text())
    assert (
        f"jax {jax.__version__}" in attrs["source"]
        and f"spiral_vae {__version__}" in attrs["source"]
    )
    assert "main.py" in attrs["history"] and attrs["history"].count("\n") == 0
    assert "likelihood.sigma" not in attrs  # swept: it is a coordinate
    assert attrs["model.encoder.hidden_dim"] == 5 and attrs["train.shuffle"] == "true"
    assert attrs["likelihood.kappa"] == "null"
    assert attrs.keys() - {"title", "source", "history"} == flatten(config).keys() - {
        "likelihood.sigma",
        "seed",
    }


def test_a_field_without_a_value_is_nan_on_its_axis(tmp_path):
    path = "data.noise_sigma_x"
    rows = [
        {"lane": lane, "seed": seed, path: value, "status": "ok", "nll": float(lane)}
        for lane, (value, seed) in enumerate(itertools.product((None, 0.3), (0, 1)))
    ]
    found = dataset.load(_workdir(tmp_path, rows, (f"{path}=none,0.3",), num_seeds=2))
    np.testing.assert_array_equal(found[path], [np.nan, 0.3])
    np.testing.assert_array_equal(found["nll"], [[0, 1], [2, 3]])


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch, whole_run):
    workdir = tmp_path / "copy"
    shutil.copytree(whole_run.workdir, workdir)
    before = set(workdir.iterdir())

    def fail(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)  # the last step of every writer
    with pytest.raises(OSError, match="disk full"):
        dataset.write(workdir)
    assert set(workdir.iterdir()) == before


@pytest.mark.parametrize(
    "name", ["environment.json", "summary.csv", "metrics/training.npz", "metrics/probes.npz"]
)
def test_what_is_damaged_is_not_loaded(tmp_path, name):
    rows = [{"lane": 0, "seed": 0, "status": "ok", "nll": 2.5}]
    file = _workdir(tmp_path, rows) / name
    content = file.read_bytes()
    file.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    with pytest.raises(workdir.WorkdirError, match=f"{name} is damaged"):
        dataset.load(tmp_path)


def test_without_xarray_there_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="a dataset needs xarray, of the extra 'sweep'"):
        dataset.load(tmp_path)


def test_an_attribute_is_text_whatever_a_path_holds():
    assert dataset._attribute("runs/caf\udce9") == "runs/caf\\udce9"
