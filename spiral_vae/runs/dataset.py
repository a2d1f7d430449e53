"""The results of a workdir as one labelled xarray Dataset; needs the `sweep` extra."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spiral_vae.config import stored
from spiral_vae.config.axes import parse_axis
from spiral_vae.workdir import files, life

if TYPE_CHECKING:
    import xarray

NAME = "results.nc"
_CURVES = {"training.npz": ("training", "epoch"), "probes.npz": ("probe", "probe_epoch")}


def load(workdir: str | Path) -> "xarray.Dataset":
    """Returns all results of a workdir, by swept field, seed and epoch.

    The columns of summary.csv have the dimensions of the sweep, ('likelihood.sigma', ..., 'seed'),
    the training curves 'epoch' and the probes 'probe_epoch' besides; the latter are called
    'training_kl', 'probe_kl_to_truth' and so on.

    Args:
      workdir: of a finished run; results.nc in it holds the same.

    Raises:
      WorkdirError: there is no such run, or what is read of it is damaged.
    """
    workdir = Path(workdir)
    life.verify(workdir, life.CONFIG, life.SUMMARY, *(f"metrics/{name}" for name in _CURVES))
    return _assembled(workdir)


def _assembled(workdir: Path) -> "xarray.Dataset":
    import xarray

    columns = {
        name: np.asarray(values) for name, values in files.read_csv(workdir / life.SUMMARY).items()
    }
    config = stored.from_json((workdir / life.CONFIG).read_text())
    # The product's order: seeds are fastest.
    axes = [*(parse_axis(text, config).path for text in config.sweep), "seed"]
    coords = {axis: list(dict.fromkeys(columns[axis].tolist())) for axis in axes}
    shape = [len(values) for values in coords.values()]
    variables: dict[str, Any] = {
        name: (axes, column.reshape(shape))
        for name, column in columns.items()
        if name not in ("lane", *axes)
    }
    for file_name, (prefix, dim) in _CURVES.items():
        with np.load(workdir / "metrics" / file_name) as arrays:
            coords[dim] = arrays["epoch"]
            for name in set(arrays.files) - {"epoch"}:
                variables[f"{prefix}_{name}"] = ([*axes, dim], arrays[name].reshape(*shape, -1))
    return xarray.Dataset(dict(sorted(variables.items())), coords)


def write(workdir: Path) -> None:
    """Writes results.nc into a workdir, if the `sweep` extra is installed."""
    try:
        import h5netcdf
        import xarray
    except ImportError:
        return
    content = io.BytesIO()  # HDF5's library may end the process where a disk is full
    with h5netcdf.File(content, "w") as file:
        _assembled(workdir).dump_to_store(xarray.backends.H5NetCDFStore(file))
    with content.getbuffer() as view:
        files.write_bytes(workdir / NAME, view)
