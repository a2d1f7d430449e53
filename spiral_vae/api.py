"""The face of the package: a run from Python, and its lanes as functions of points.

    run = spiral_vae.run({"train.num_epochs": 2000}, sweep={"likelihood.sigma": [0.1, 0.2, 0.4]})
    lane = run.lane(sigma=0.2)
    seen = lane.posterior(lane.x[0])  # exact, of the encoder, the best; the gap in parts

A run is its workdir: what this makes, the command line reads, and the other way round.
"""

import dataclasses
import functools
import html
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ml_collections import ConfigDict

from spiral_vae import machine
from spiral_vae.config import axes, sources, stored
from spiral_vae.config.axes import Axis, Row
from spiral_vae.config.values import ConfigError, updated
from spiral_vae.exact import densities, evaluate, ground_truth, inference, mixture
from spiral_vae.exact import model as model_lib
from spiral_vae.exact.inference import Posteriors
from spiral_vae.runs import dataset, load
from spiral_vae.runs.run import train_and_evaluate
from spiral_vae.workdir import files, life

if TYPE_CHECKING:
    import xarray

_EPOCHS = "train.num_epochs"
_CLOSE = 1e-9  # relative, of two values of a swept number that are the same


def run(
    config: Mapping[str, Any] | ConfigDict | str | Path | None = None,
    sweep: Mapping[str, Sequence | np.ndarray] | None = None,
    seeds: int | None = None,
    workdir: str | Path | None = None,
    *,
    figures: str = "all",
    resume: bool = False,
) -> "Run":
    """Trains, judges and stores all lanes of a config, as the command line does.

    Args:
      config: fields by dotted name over the default config, a whole one (see `base_config`), the
        name of one of the package or a file; None for the default.
      sweep: values by dotted name; the lanes are the product of all, the first is slowest.
      seeds: how many for each point of the sweep; None as the config says.
      workdir: a new or empty folder; None for a fresh one under runs/.
      figures: which are drawn, 'none', 'basic', 'all' or, as SVG too, 'svg'.
      resume: whether to go on with a run that has begun in the workdir; one that is finished is
        opened.

    Raises:
      ConfigError: the config or the sweep is wrong; nothing was written.
      WorkdirError: the workdir can't be used.
    """
    if note := machine.prepare_jax():
        print(f"note: {note}", file=sys.stderr)
    if isinstance(config, Mapping):
        whole = updated(sources.load("base"), config)
    elif isinstance(config, ConfigDict):
        whole = config.copy_and_resolve_references()
    else:
        whole = sources.load(str(config or "base"))
    if sweep:
        given = tuple(_axis(path, values) for path, values in sweep.items())
        whole.sweep = (*whole.sweep, *given)
    if seeds is not None:
        whole = updated(whole, {"num_seeds": seeds})
    folder = None if workdir is None else str(workdir)
    outcome = train_and_evaluate(whole, folder, figures=figures, resume=resume)
    if outcome is None:
        raise ConfigError("of several processes only the first has a Run; use train_and_evaluate")
    return Run(outcome.workdir)


def open(workdir: str | Path) -> "Run":
    """Returns a finished run.

    Raises:
      WorkdirError: there is none in the folder, or what is read of it is damaged.
    """
    path = Path(workdir)
    life.verify(path, life.CONFIG, life.SUMMARY, life.PARAMS)
    return Run(path)


def _axis(path: str, values: Sequence | np.ndarray) -> str:
    """Returns an axis as the config stores it."""
    if isinstance(values, str) or not np.iterable(values):
        raise ConfigError(f"{path}: found {values!r}, a sweep needs several values")
    own = [value.item() if isinstance(value, np.generic) else value for value in values]
    return f"{path}=" + ",".join("none" if value is None else str(value) for value in own)


@dataclasses.dataclass(frozen=True, repr=False)
class Run:
    """A finished run: what it found, and its lanes."""

    workdir: Path

    def __repr__(self) -> str:
        sizes = [f"{path}: {len(values)}" for path, values in self.axes.items()]
        return f"<Run {str(self.workdir)!r}, lanes: {len(self.lanes)} ({', '.join(sizes)})>"

    @functools.cached_property
    def config(self) -> ConfigDict:
        """The whole config."""
        return stored.from_json((self.workdir / life.CONFIG).read_text())

    @functools.cached_property
    def axes(self) -> dict[str, tuple]:
        """The values of the swept fields, and 'seed', the fastest, last."""
        swept, rows = self._expanded
        found = {axis.path: axis.values for axis in swept}
        return found | {"seed": tuple(dict.fromkeys(row["seed"] for row in rows))}

    @functools.cached_property
    def _expanded(self) -> tuple[list[Axis], list[Row]]:
        return axes.expand(self.config, self.config.sweep)

    @functools.cached_property
    def _films(self) -> dict[int, load.Film]:
        return load.films(self.workdir)

    @functools.cached_property
    def lanes(self) -> tuple["Lane", ...]:
        """All lanes, in the order of summary.csv."""
        return tuple(
            Lane(self, number, row, row.get(_EPOCHS, self.config.train.num_epochs))
            for number, row in enumerate(self._expanded[1])
        )

    def lane(self, **where: Any) -> "Lane":
        """Returns the one lane with these values.

        Args:
          **where: seed, or swept fields by the last part of their name: sigma=0.2, seed=3. A field
            whose name is not clear from its last part can be given by **{'likelihood.sigma': 0.2}.

        Raises:
          ConfigError: there is no such field or value, or more than one lane.
        """
        wanted = {self._path(name): value for name, value in where.items()}
        for path, value in wanted.items():
            if not any(_same(value, one) for one in self.axes[path]):
                has = ", ".join(_text(one) for one in self.axes[path])
                raise ConfigError(f"{path}: {_text(value)} is none of the values {has}")
        found = [
            lane
            for lane in self.lanes
            if all(_same(value, lane.values[path]) for path, value in wanted.items())
        ]
        if len(found) > 1:
            open_ = [path for path in self.axes if path not in wanted and len(self.axes[path]) > 1]
            raise ConfigError(f"{len(found)} lanes are so; say which {' and '.join(open_)}")
        return found[0]

    def _path(self, name: str) -> str:
        found = [path for path in self.axes if name in (path, path.rpartition(".")[2])]
        if len(found) != 1:
            what = "more than one field" if found else "no axis"
            raise ConfigError(f"{name}: {what} of this run, which has {', '.join(self.axes)}")
        return found[0]

    @functools.cached_property
    def dataset(self) -> "xarray.Dataset":
        """All numbers of the run, by swept field, seed and epoch; needs the `sweep` extra."""
        return dataset.load(self.workdir)

    def verdicts(self) -> list[dict[str, Any]]:
        """Returns of each lane its values and, in a word or two, what became of it."""
        columns = self._summary
        status = columns["status"]
        verdict = columns.get("verdict", status)
        return [
            lane.values | {"verdict": verdict[i] if status[i] == "ok" else status[i]}
            for i, lane in enumerate(self.lanes)
        ]

    @functools.cached_property
    def _summary(self) -> dict[str, list]:
        life.verify(self.workdir, life.SUMMARY)
        return files.read_csv(self.workdir / life.SUMMARY)

    def figure(self, name: str = "basic_run") -> "Picture":
        """Returns a figure of the run's; it shows itself in a notebook.

        Raises:
          ConfigError: it has none of that name.
        """
        found = {path.stem: path for path in sorted((self.workdir / life.FIGURES).glob("*.png"))}
        if name not in found:
            has = ", ".join(found) or "no figures"
            raise ConfigError(f"figure: found {name!r}, this run has {has}")
        return Picture(found[name].read_bytes())

    def explore(self) -> "Page":
        """Writes the page of the run into its workdir; it shows itself in a notebook."""
        from spiral_vae.explore import page  # with JAX programs of its own

        return Page(page.write(self.workdir))


@dataclasses.dataclass(frozen=True, repr=False)
class Lane:
    """One network of a run, at an epoch: functions of points and places, exact in float64."""

    run: Run
    number: int  # as in summary.csv
    values: Row  # its seed and its swept fields
    epoch: int

    def __repr__(self) -> str:
        values = ", ".join(f"{path}={_text(value)}" for path, value in self.values.items())
        return f"<Lane {self.number} of {str(self.run.workdir)!r}: {values}, epoch {self.epoch}>"

    @functools.cached_property
    def model(self) -> model_lib.Model:
        """Encoder, decoder, data and truth, as `evaluate` takes them."""
        (found,) = load.load_stored(self.run.workdir, [self.number])
        if self._film is not None and self.epoch < self._last:
            found = found._replace(params=self._film.at(self.epoch))
        return model_lib.of_lane(*found)

    @functools.cached_property
    def epochs(self) -> tuple[int, ...]:
        """The epochs at which it is known: those of its film, if it has one, and the last."""
        film = self._film.epoch.tolist() if self._film else []
        return (*(epoch for epoch in film if epoch < self._last), self._last)

    @property
    def _last(self) -> int:
        return self.values.get(_EPOCHS, self.run.config.train.num_epochs)

    @property
    def _film(self) -> load.Film | None:
        return self.run._films.get(self.number)

    def at(self, epoch: int) -> "Lane":
        """Returns the lane at that epoch of its training, or at the nearest of `epochs`."""
        nearest = min(self.epochs, key=lambda one: (abs(one - epoch), one))
        return dataclasses.replace(self, epoch=nearest)

    @property
    def x(self) -> np.ndarray:
        """The training points, [n, D]."""
        return self.model.x

    @property
    def t(self) -> np.ndarray | None:
        """Their true places on the curve, [n], where these are known."""
        return self.model.t

    def encode(self, x: Any) -> Posteriors:
        """Returns q(z|x) for x [D] or [N, D]: .mean and .scale [N, L], .kl [N], .log_prob(z)."""
        return self.model.posteriors(self._points(x))

    def decode(self, z: Any) -> np.ndarray:
        """Returns the mean of p(x|z), [N, D], for z [N] of one latent or [N, L]."""
        z = np.asarray(z, np.float64)
        return self.model.decode(z.reshape(-1, 1) if z.ndim < 2 else z)

    def density(self, x: Any) -> np.ndarray:
        """Returns the learned density p(x), [...], for x [..., D]."""
        x = np.asarray(x, np.float64)
        flat = self._points(x.reshape(-1, x.shape[-1]))
        return np.exp(mixture.log_density(flat, self._density(flat).fine)).reshape(x.shape[:-1])

    def posterior(self, x: Any) -> "Seen":
        """Returns all that is exactly known of z at points x, [D] or [N, D]; of one latent.

        Raises:
          ConfigError: the model has more latents.
        """
        model, flat = self.model, self._points(x)
        q = model.posteriors(flat)
        if q.latent_dim > 1:
            raise ConfigError(f"posterior: of one latent, and this lane has {q.latent_dim}")
        density = self._density(flat)
        log_evidence = mixture.log_density(flat, density.fine)
        bound = inference.elbo(flat, q, model.observe, density)
        points = evaluate.Points(q.mean[:, 0], flat, q, log_evidence, bound)
        gaps = evaluate.take_apart(points, model.observe, density)
        over_z = densities.at_points(gaps, density)
        approximation = gaps.family
        found = Seen(
            x=flat,
            **vars(over_z),
            log_evidence=log_evidence,
            elbo=bound.elbo,
            approximation=approximation,
            amortisation=points.gap - approximation,
        )
        return found if np.ndim(x) > 1 else found.of_first()

    @property
    def metrics(self) -> dict[str, float]:
        """What is exactly known of it as numbers, by the names of summary.csv."""
        return self.report().metrics

    def report(self) -> evaluate.Report:
        """Returns everything that can be said exactly of it."""
        return self._report

    @functools.cached_property
    def _report(self) -> evaluate.Report:
        return model_lib.judge(self.model, self.run.config.evaluate.gap_points)

    def figure(self, name: str = "basic_run") -> "Picture":
        """Returns a figure of this lane; it shows itself in a notebook.

        Raises:
          ConfigError: there is none of that name.
        """
        from spiral_vae.present import plotting  # matplotlib takes long to import

        if name not in self._arrays:
            raise ConfigError(f"figure: found {name!r}, a lane has {', '.join(self._arrays)}")
        return Picture(plotting.png(getattr(plotting, name)(**self._arrays[name])))

    @functools.cached_property
    def _arrays(self) -> dict[str, dict[str, Any]]:
        """What its figures show."""
        from spiral_vae.present import figures

        return figures.of_lane(self.model, figures.detailed(self.model, self.report()))

    def _points(self, x: Any) -> np.ndarray:
        """Returns points as [N, D]; raises ConfigError if they are of another space."""
        flat = np.atleast_2d(np.asarray(x, np.float64))
        dim = self.model.x.shape[1]
        if flat.ndim != 2 or flat.shape[1] != dim:
            raise ConfigError(f"x: found an array of shape {np.shape(x)}, must be [..., {dim}]")
        return flat

    def _density(self, x: np.ndarray) -> ground_truth.Density:
        """Returns the learned density by rules that are exact at these points."""
        model = self.model
        return ground_truth.density_around(x, model.observe, model.posteriors(x[:1]).latent_dim)


@dataclasses.dataclass(frozen=True)
class Seen:
    """What is exactly known of one latent z at points x; without N for a single point.

    log_evidence = elbo + approximation + amortisation, in nats.
    """

    x: np.ndarray  # [N, D]
    z: np.ndarray  # [K], places in the latent
    exact: np.ndarray  # p(z|x) there, [N, K], per unit of z
    encoder: np.ndarray  # q(z|x), [N, K], per unit of z
    best: np.ndarray  # the best member found of q's family, [N, K], per unit of z
    log_evidence: np.ndarray  # log p(x), [N]
    elbo: np.ndarray  # of the encoder, [N]
    approximation: np.ndarray  # what the best member lacks, [N]
    amortisation: np.ndarray  # what the encoder lacks besides, [N]

    def of_first(self) -> "Seen":
        """Returns the first point alone."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return Seen(**{name: a if name == "z" else a[0] for name, a in own.items()})


@dataclasses.dataclass(frozen=True, repr=False)
class Picture:
    """A figure that shows itself in a notebook."""

    png: bytes

    def __repr__(self) -> str:
        return f"<Picture, {len(self.png):,} bytes of PNG>"

    def _repr_png_(self) -> bytes:
        return self.png


@dataclasses.dataclass(frozen=True, repr=False)
class Page:
    """The explorer of a run, which shows itself in a notebook."""

    path: Path

    def __repr__(self) -> str:
        return f"<Page {str(self.path)!r}>"

    def _repr_html_(self) -> str:
        content = html.escape(self.path.read_text())
        return f'<iframe srcdoc="{content}" style="width: 100%; height: 860px; border: 0"></iframe>'


def _same(a: Any, b: Any) -> bool:
    """Returns whether two values of a swept field are the same."""
    numbers = all(isinstance(value, int | float) for value in (a, b))
    if numbers and (isinstance(a, float) or isinstance(b, float)):
        return math.isclose(a, b, rel_tol=_CLOSE)
    return a == b


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
