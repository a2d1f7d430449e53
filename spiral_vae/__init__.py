"""Variational autoencoders on noisy curves, checked against the exact answer by quadrature.

What a notebook or a file with an own kind needs is here; docs/architecture.md says how it works.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from spiral_vae.api import Lane, Picture, Run, run
from spiral_vae.api import open as open
from spiral_vae.config import sources
from spiral_vae.config.values import ConfigError, updated
from spiral_vae.exact.evaluate import evaluate
from spiral_vae.exact.ground_truth import truth
from spiral_vae.fields import (
    BOOLEAN,
    FINITE,
    NONZERO,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    Together,
    choice,
    contract,
    field,
    integer,
    kind,
    number,
    one_of,
    optional,
    pytree,
)
from spiral_vae.judge.standing import standing
from spiral_vae.machine import prepare_jax
from spiral_vae.maths.arrays import Number
from spiral_vae.maths.noise import Noise, Normal, StudentT
from spiral_vae.maths.observation import Observation, around
from spiral_vae.maths.ramp import Time
from spiral_vae.model.likelihood import Likelihood
from spiral_vae.model.objective import Bound, Draws, Objective, Terms
from spiral_vae.model.posterior import Posterior
from spiral_vae.process import (
    Curve,
    Data,
    Interval,
    Pieces,
    PlaneCurve,
    PlanePieces,
    Process,
    Spiral,
)
from spiral_vae.runs.load import load
from spiral_vae.runs.run import train_and_evaluate
from spiral_vae.version import __version__ as __version__
from spiral_vae.workdir.life import WorkdirError

__all__ = [
    "BOOLEAN",
    "FINITE",
    "NONZERO",
    "NOT_NEGATIVE",
    "POSITIVE",
    "SHARE",
    "Bound",
    "ConfigError",
    "Curve",
    "Data",
    "Draws",
    "Interval",
    "Lane",
    "Likelihood",
    "Noise",
    "Normal",
    "Number",
    "Objective",
    "Observation",
    "Picture",
    "Pieces",
    "PlaneCurve",
    "PlanePieces",
    "Posterior",
    "Process",
    "Run",
    "Spiral",
    "StudentT",
    "Terms",
    "Time",
    "Together",
    "WorkdirError",
    "around",
    "base_config",
    "choice",
    "contract",
    "evaluate",
    "field",
    "integer",
    "kind",
    "load",
    "number",
    "one_of",
    "optional",
    "prepare_jax",
    "pytree",
    "run",
    "standing",
    "train_and_evaluate",
    "truth",
]


def base_config(values: Mapping[str, Any] | None = None, source: str = "base") -> ConfigDict:
    """Returns a config with all fields of all kinds, and these values set.

    Args:
      values: by dotted field.
      source: a config of the package by its name, such as 'recommended', or a file with
        get_config().

    Raises:
      ConfigError: there is no such config or no such field, or a value is of another type.
    """
    return updated(sources.load(source), values or {})
