"""The methods: named ways to train, each the fields by which it differs from the plain one.

A method that says what the likelihood is, is one for problems whose sigma is unknown.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spiral_vae.config.values import ConfigError
from spiral_vae.judge.problems import BUDGET, differences, file_name

_MIXTURE = {"posterior.kind": "mixture"}
_EVIDENCE = {"objective.kind": "evidence", "objective.num_samples": 256}
_STL = {"objective.estimator": "stl"}
_IWAE = {"objective.kind": "iwae", "objective.num_samples": 8}


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to train."""

    name: str
    meaning: str
    values: Mapping[str, Any]  # fields that differ from what the problem gives
    ignored: tuple[str, ...] = ()  # fields of its file that are the problem's to say
    only: tuple[str, ...] = ()  # problems to try it on, where it takes too long for all


METHODS = {
    method.name: method
    for method in (
        Method("elbo", "a Gaussian q and the ELBO", {}),
        Method("elbo_stl", "the same, gradient along the samples alone", _STL),
        Method("anneal", "the ELBO, sigma falling over 0.7", {"likelihood.anneal": 0.7}),
        Method("iwae_8", "the bound of 8 weighted samples", _IWAE),
        Method(
            "iwae_8_dreg",
            "the same, doubly reparameterised",
            {**_IWAE, "objective.estimator": "dreg"},
        ),
        Method(
            "mixture_stl",
            "q a mixture of 4 Gaussians, gradient along the samples alone",
            _MIXTURE | _STL,
        ),
        Method("spline", "q a spline of 8 bins", {"posterior.kind": "spline"}),
        Method(
            "encoder_after",
            "the ELBO, the last 0.3 of the steps for the encoder alone",
            {"encoder.after": 0.3},
        ),
        Method("evidence", "exact maximum likelihood on 256 nodes", _EVIDENCE),
        Method(
            "evidence_anneal",
            "the same, sigma falling over 0.7",
            {**_EVIDENCE, "likelihood.anneal": 0.7},
        ),
        Method(
            "order_evidence",
            "exact maximum likelihood from an order of the points",
            {
                **_EVIDENCE,
                "start.kind": "order",
                "model.encoder.fourier_features": 64,
                "model.encoder.fourier_scale": 1.5,
                "model.decoder.first_layer": 3.0,
            },
            only=("two_turns", "three_turns", "four_turns"),
        ),
        Method("closed_form", "the ELBO, sigma in closed form", {"likelihood.kind": "closed_form"}),
        Method("geco", "the ELBO, sigma by a constraint", {"likelihood.kind": "geco"}),
        Method(
            "heteroscedastic",
            "the ELBO, sigma from the decoder",
            {"likelihood.kind": "heteroscedastic"},
        ),
    )
}


def method(source: str) -> Method:
    """Returns a method by its name, or that of a config file, own kinds included.

    Raises:
      ConfigError: there is neither, or the file can't be used.
    """
    if source in METHODS:
        return METHODS[source]
    if not Path(source).is_file():
        names = ", ".join(METHODS)
        raise ConfigError(f"method: found {source!r}, must be a file or one of {names}")
    values = differences(source)
    ignored = tuple(path for path in values if path.startswith("data.") or path in BUDGET)
    own = {path: value for path, value in values.items() if path not in ignored}
    return Method(file_name(source, METHODS), f"of {source}", own, ignored)
