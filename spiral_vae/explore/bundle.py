"""All that the page of a run holds, as values for JSON."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spiral_vae import numerics
from spiral_vae.config import axes, stored
from spiral_vae.config.axes import Axis, Row
from spiral_vae.config.values import flatten
from spiral_vae.exact import probe
from spiral_vae.exact.metrics import METRICS
from spiral_vae.exact.model import seen_points
from spiral_vae.explore import description
from spiral_vae.explore.description import Description, encoded
from spiral_vae.process import Data
from spiral_vae.runs import load
from spiral_vae.runs.load import Stored
from spiral_vae.training.train import Lane
from spiral_vae.workdir import environment, files, life

MAX_POINTS = 2_000  # of a data set that the page shows
_ROOM = 1_200_000  # bytes of params, those of films in half precision
_LEAST_FRAMES = 10  # of a film; with less room there are fewer films
_MAX_HALF = float(np.finfo(np.float16).max)
_MAX_ROWS = 40  # of a lane's training curves
_DIGITS = 7  # of a metric


def bundle(workdir: Path) -> Description:
    """Returns what the page of a finished run holds.

    Raises:
      WorkdirError: there is no such run, or what is read of it is damaged.
      ConfigError: a file of the user's that the run uses is gone or has changed.
    """
    own = [life.CONFIG, environment.NAME, life.SUMMARY, life.TRAINING, life.PROBES]
    life.verify(workdir, *own)
    config = stored.from_json((workdir / life.CONFIG).read_text())
    swept, rows = axes.expand(config, config.sweep)
    lanes = list(load.load_stored(workdir))
    columns = files.read_csv(workdir / life.SUMMARY)
    fields = [flatten(config) | row for row in rows]
    unique = _Unique()
    described = [
        {
            "net": unique.add("nets", description.nets(one.lane)),
            "data": unique.add("data", _data(one)),
            "truth": _truth(unique, one),
            "noise": description.noise(one.lane, one.params),
            "posterior": description.posterior(one.lane, values["posterior.kind"]),
            "latents": one.lane.model.latent_dim,
            "beta": values["objective.beta"],
            "rate": float(one.lane.optimizer.decoder_learning_rate),
        }
        for one, values in zip(lanes, fields, strict=True)
    ]
    finals = [description.weights(one.lane, one.params) for one in lanes]
    return {
        **_about(workdir, swept, rows, config.train.num_epochs),
        "axes": _axes(swept, rows, columns),
        "lanes": described,
        "params": [encoded(one, "f4") for one in finals],
        "status": columns["status"],
        "verdict": [one if isinstance(one, str) else "" for one in columns.get("verdict", [])],
        "metrics": _metrics(columns),
        "training": _training(workdir),
        "films": _films(workdir, lanes, rows, _ROOM - sum(one.nbytes for one in finals)),
        **unique.found,
    }


class _Unique:
    """Descriptions that many lanes share, each once."""

    def __init__(self) -> None:
        self.found: dict[str, list[Description]] = {"nets": [], "data": [], "truths": []}
        self._places: dict[str, int] = {}

    def add(self, family: str, one: Description, key: str = "") -> int:
        """Returns its place among its family's."""
        key = f"{family} {key or json.dumps(one)}"
        if key not in self._places:
            self._places[key] = len(self.found[family])
            self.found[family].append(one)
        return self._places[key]


def _data(one: Stored) -> Description:
    x, t = seen_points(one.data)
    return {
        "x": encoded(x[:MAX_POINTS], "f4"),
        "t": None if t is None else encoded(t[:MAX_POINTS], "f4"),
        "dim": x.shape[1],
        "total": len(x),
    }


def _truth(unique: _Unique, one: Stored) -> int | None:
    curve = one.lane.data.truth
    if curve is None:
        return None
    exact = jax.tree.map(float, curve)
    return unique.add("truths", _described_truth(exact), repr(exact))


_described_truth = functools.lru_cache(maxsize=None)(description.truth)


def _about(workdir: Path, swept: Sequence[Axis], rows: Sequence[Row], epochs: int) -> Description:
    """Returns title and subtitle of the page."""
    made = json.loads((workdir / environment.NAME).read_text())
    seeds = len({row["seed"] for row in rows})
    sizes = [f"{len(axis.values)} values of {axis.path}" for axis in swept]
    sizes += [f"{seeds} seeds"] if seeds > 1 else [f"seed {rows[0]['seed']}"]
    lanes = f"{len(rows)} lanes" if len(rows) > 1 else "one lane"
    commit = (made["git_commit"] or "")[:10]
    parts = [f"{lanes}: {' x '.join(sizes)}", f"{epochs} epochs", made["time"][:10]]
    return {
        "title": workdir.resolve().name,
        "subtitle": ", ".join([*parts, f"commit {commit}"] if commit else parts),
    }


def _axes(
    swept: Sequence[Axis], rows: Sequence[Row], columns: Mapping[str, Sequence]
) -> list[Description]:
    """Returns the axes of the sweep and that of the seeds, the fastest last."""
    seeds = tuple(dict.fromkeys(row["seed"] for row in rows))
    every = [(axis.path, axis.values) for axis in swept] + [("seed", seeds)]
    shape = [len(values) for _, values in every]
    start = np.unravel_index(_first_shown(columns, rows), shape)
    found = []
    for (path, values), at in zip(every, start, strict=True):
        numbers = all(isinstance(value, int | float) for value in values)
        log = (
            numbers
            and path != "seed"
            and len(values) > 2
            and min(values) > 0
            and max(values) / min(values) >= 20
        )
        found.append(
            {
                "path": path,
                "values": list(values) if numbers else list(range(len(values))),
                "text": [_text(value) for value in values],
                "numbers": numbers,
                "log": log,
                "start": int(at),
            }
        )
    return found


def _first_shown(columns: Mapping[str, Sequence], rows: Sequence[Row]) -> int:
    """Returns the lane that the page begins with, of the first seed, as that has a film.

    It is the nearest to the truth, or the likeliest.
    """
    first = np.asarray([row["seed"] == rows[0]["seed"] for row in rows])
    for name, sign in (("kl_to_truth", 1), ("elbo", -1)):
        values = sign * np.asarray(columns.get(name, [np.nan] * len(rows)), float)
        values = np.where(first, values, np.nan)
        if np.isfinite(values).any():
            return int(np.nanargmin(values))
    return 0


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)


def _metrics(columns: Mapping[str, Sequence]) -> list[Description]:
    """Returns the metrics that are numbers, as they are declared."""
    found = []
    for name, metric in METRICS.items():
        values = [_rounded(value) for value in columns.get(name, ())]
        if all(value is None or isinstance(value, bool) for value in values):
            continue
        label, unit = name.replace("_", " "), metric.unit.removesuffix(" per point")
        found.append(
            {
                "name": name,
                "label": f"{label}, {unit}" if unit else label,
                "meaning": metric.meaning,
                "log": metric.log,
                "values": values,
            }
        )
    return found


def _rounded(value: Any) -> Any:
    """Returns a number with as many digits as the page needs; None for none."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None
    return value


def _training(workdir: Path) -> Description:
    """Returns the training curves of all lanes, and their looks."""
    with np.load(workdir / life.TRAINING) as arrays:
        epoch = arrays["epoch"]
        rows = np.geomspace(1, len(epoch), _MAX_ROWS)
        some = np.unique(np.round(rows).astype(int)) - 1
        terms = {name: _lists(arrays[name][:, some]) for name in ("reconstruction", "kl")}
    with np.load(workdir / life.PROBES) as arrays:
        looks = {name: _lists(arrays[name]) for name in arrays if name in METRICS}
        at = arrays["epoch"].tolist()
    return {"epoch": epoch[some].tolist(), "terms": terms, "lookEpoch": at, "looks": looks}


def _lists(values: np.ndarray) -> list[list[float | None]]:
    """Returns [lanes, rows] with four digits."""
    return [[float(f"{v:.4g}") if np.isfinite(v) else None for v in row] for row in values]


def _films(
    workdir: Path, lanes: Sequence[Stored], rows: Sequence[Row], room: int
) -> list[Description]:
    """Returns the films of as many lanes as there is room for, those of the first seeds first."""
    films = load.films(workdir)
    order = sorted(films, key=lambda number: (rows[number]["seed"], number))
    first = [number for number in order if rows[number]["seed"] == rows[0]["seed"]]
    found: list[Description] = []
    num_frames = 0
    for number in order:
        one, film = lanes[number], films[number]
        weights = description.weights(one.lane, film.params)
        size = 2 * weights.shape[-1]
        if not num_frames:
            num_frames = max(_LEAST_FRAMES, room // (size * len(first)))
        some = _evenly(len(film.epoch), num_frames)
        room -= size * len(some)
        if room < 0 or not len(some):
            break
        found.append(_film(one, number, film, some, weights[some]))
    return found


def _evenly(num: int, at_most: int) -> np.ndarray:
    """Returns places among `num`, the first and the last among them."""
    return np.unique(np.round(np.linspace(0, num - 1, min(num, at_most))).astype(int))


def _film(
    one: Stored, number: int, film: load.Film, some: np.ndarray, weights: np.ndarray
) -> Description:
    frames = jax.tree.map(lambda leaf: leaf[some], {"likelihood": {}, **film.params})
    with numerics.single():
        data = jax.tree.map(jnp.asarray, one.data)
        lane = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), one.lane)
        looks = jax.device_get(_looks()(frames, data, lane))
    noises = [
        description.noise(one.lane, jax.tree.map(lambda leaf, i=i: leaf[i], frames))
        for i in range(len(some))
    ]
    final = description.noise(one.lane, one.params)
    return {
        "lane": number,
        "epochs": film.epoch[some].tolist(),
        "params": encoded(np.clip(weights, -_MAX_HALF, _MAX_HALF), "f2"),
        "noises": None if all(noise == final for noise in noises) else noises,
        "looks": {name: _lists(values[None])[0] for name, values in looks.items()},
    }


@functools.cache
def _looks() -> Callable:
    """Returns the looks at the frames of a lane, compiled once for each structure."""

    def of_lane(frames: Any, data: Data, lane: Lane) -> dict[str, jax.Array]:
        return jax.lax.map(lambda params: probe.probe(params, data, lane), frames)

    return jax.jit(of_lane)
