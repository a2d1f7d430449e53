"""The results of a workdir as one labelled xarray Dataset; needs the `sweep` extra."""

import importlib.util
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spiral_vae import fields
from spiral_vae.config import axes, stored
from spiral_vae.config.settings import ROOTS
from spiral_vae.config.values import ConfigError, flatten
from spiral_vae.exact.metrics import METRICS
from spiral_vae.workdir import environment, files, life

if TYPE_CHECKING:
    import xarray

NAME = "results.nc"
_CURVES = {"training.npz": ("training", "epoch"), "probes.npz": ("probe", "probe_epoch")}
# What metrics.py does not say: of coordinates, of the training's metrics and of what is no number.
_LONG_NAMES = {
    "seed": "of the lane",
    "epoch": "epochs done at the end of a row of the training metrics",
    "probe_epoch": "epochs done at a look at the exact metrics",
    "status": "ok, or what happened to the lane",
    "verdict": "of a sound lane",
    "training_loss": "what the objective minimises, mean over a row's epochs",
    "training_reconstruction": "-E_q log p(x|z), mean over a row's epochs",
    "training_kl": "KL(q(z|x)||p(z)), mean over a row's epochs",
}


def load(workdir: str | Path) -> "xarray.Dataset":
    """Returns all results of a workdir, by swept field, seed and epoch.

    The columns of summary.csv have the dimensions of the sweep, ('likelihood.sigma', ..., 'seed'),
    the training curves 'epoch' and the probes 'probe_epoch' besides; the latter are called
    'training_kl', 'probe_kl_to_truth' and so on. Each has its meaning and its units. The attributes
    of the whole hold the fields that are not swept, by dotted name, and how the run was made.

    Args:
      workdir: of a finished run; results.nc in it holds the same.

    Raises:
      WorkdirError: there is no such run, or what is read of it is damaged.
      ConfigError: xarray is not installed.
    """
    need_xarray()
    workdir = Path(workdir)
    curves = (f"metrics/{name}" for name in _CURVES)
    life.verify(workdir, life.CONFIG, environment.NAME, life.SUMMARY, *curves)
    return _assembled(workdir)


def need_xarray() -> None:
    """Raises ConfigError if xarray is not installed."""
    if importlib.util.find_spec("xarray") is None:
        raise ConfigError("a dataset needs xarray, of the extra 'sweep': pip install xarray")


def _assembled(workdir: Path) -> "xarray.Dataset":
    import xarray

    columns = {
        name: np.asarray(values) for name, values in files.read_csv(workdir / life.SUMMARY).items()
    }
    text = (workdir / life.CONFIG).read_text()
    config = stored.from_json(text)
    swept, _ = axes.expand(config, config.sweep)
    seeds = list(range(config.seed, config.seed + config.num_seeds))
    # The product's order: seeds are fastest.
    coords: dict[str, Any] = {axis.path: _labels(axis.values) for axis in swept} | {"seed": seeds}
    dims = list(coords)
    shape = [len(values) for values in coords.values()]
    variables: dict[str, Any] = {
        name: (dims, column.reshape(shape))
        for name, column in columns.items()
        if name not in ("lane", *dims)
    }
    for file_name, (prefix, dim) in _CURVES.items():
        with np.load(workdir / "metrics" / file_name) as arrays:
            coords[dim] = arrays["epoch"]
            for name in set(arrays.files) - {"epoch"}:
                variables[f"{prefix}_{name}"] = ([*dims, dim], arrays[name].reshape(*shape, -1))
    own = {path: value for path, value in flatten(config).items() if path not in coords}
    about = {"title": "spiral_vae: variational autoencoders judged against the exact answer"}
    about |= {"config": text, **_history(workdir)}
    found = xarray.Dataset(
        dict(sorted(variables.items())), coords, about | {k: _attribute(v) for k, v in own.items()}
    )
    for name, variable in found.variables.items():
        variable.attrs.update(_described(str(name)))
    return found


def _labels(values: tuple) -> list:
    """Returns the values of an axis as labels; nan where a field has none."""
    return [np.nan if value is None else value for value in values]


def _described(name: str) -> dict[str, str]:
    """Returns the meaning and the units of a variable."""
    metric = METRICS.get(name.removeprefix("probe_"))
    declared = fields.declared(*ROOTS).get(name)
    if metric:
        return {"long_name": metric.meaning, "units": metric.unit or "1"}
    if name in _LONG_NAMES:
        units = {"units": METRICS["nll"].unit} if name.startswith("training_") else {}
        return {"long_name": _LONG_NAMES[name], **units}
    return {"long_name": declared.fields[0].meaning} if declared else {}


def _history(workdir: Path) -> dict[str, str]:
    """Returns by which versions and commands a run was made."""
    first = json.loads((workdir / environment.NAME).read_text())
    lines = [
        f"{one['time']}: {' '.join(one['command'])}" for one in (first, *first.get("resumed", ()))
    ]
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    return {"source": versions, "history": _attribute("\n".join(lines))}


def _attribute(value: Any) -> Any:
    """Returns a value as netCDF takes it; what of a path is no text is escaped."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    return json.dumps(value) if isinstance(value, bool | tuple | None) else value


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
