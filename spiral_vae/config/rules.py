"""What every field of a config may be, alone and together with others.

Problems come as sentences that name the field, the value found and what is allowed.
"""

import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any

from spiral_vae.model import likelihood, objectives
from spiral_vae.process import spiral
from spiral_vae.training import train

MAX_LANES = 2**20  # of a sweep; more would not fit into memory

Fields = dict[str, Any]  # a whole config, flat: dotted field -> value


@dataclasses.dataclass(frozen=True)
class Rule:
    type: type
    allowed: str  # completes the sentence 'must be ...'
    holds: Callable[[Any], bool] = lambda value: True
    empty: bool = False  # whether the field may have no value

    def accepts(self, value: Any) -> bool:
        if value is None:
            return self.empty
        # To Python a bool is an int, to a user it isn't.
        typed = isinstance(value, self.type) and isinstance(value, bool) == (self.type is bool)
        return typed and self.holds(value)


def _integer(low: int, high: int = 2**31 - 1) -> Rule:  # int32 counts everything on devices
    return Rule(int, f"an integer in [{low}, {high}]", lambda value: low <= value <= high)


def _number(low: float, high: float) -> Rule:
    return Rule(float, f"a number in [{low:g}, {high:g}]", lambda value: low <= value <= high)


def _finite(allowed: str, holds: Callable[[float], bool] = lambda value: True) -> Rule:
    return Rule(float, allowed, lambda value: math.isfinite(value) and holds(value))


def _optional(rule: Rule) -> Rule:
    return dataclasses.replace(rule, allowed=f"{rule.allowed}, or empty", empty=True)


def _choice(*options: str) -> Rule:
    return Rule(str, " or ".join(map(repr, options)), lambda value: value in options)


_BOOLEAN = Rule(bool, "True or False")
_STRINGS = Rule(tuple, "a tuple of strings", lambda axes: all(isinstance(a, str) for a in axes))
_FINITE = _finite("a finite number")
_NONZERO = _finite("a finite number other than 0", lambda value: value != 0)
_POSITIVE = _finite("a finite number > 0", lambda value: value > 0)
_SHARE = _finite("a number in (0, 1]", lambda value: 0 < value <= 1)
_NOT_NEGATIVE = _finite("a finite number >= 0", lambda value: value >= 0)

RULES = {
    "seed": _integer(0, 2**32 - 1),
    "num_seeds": _integer(1, MAX_LANES),
    "sweep": _STRINGS,
    "cell_width": _integer(2, 64),
    "data.num_points": _integer(2, 10**7),
    "data.omega": _FINITE,
    "data.rdot": _NONZERO,
    "data.noise_sigma": _POSITIVE,
    "data.noise_sigma_x": _optional(_POSITIVE),
    "data.noise_sigma_y": _optional(_POSITIVE),
    "data.noise_slope": _NOT_NEGATIVE,
    "data.noise_angle": _FINITE,
    "data.t_law": _choice(*spiral.T_LAWS),
    "data.u_start": _number(0, 1),
    "data.u_stop": _number(0, 1),
    "data.design": _choice(*spiral.DESIGNS),
    "model.latent_dim": _integer(1, 2),
    "model.encoder.hidden_dim": _integer(1, 2**14),
    "model.encoder.hidden_layers": _integer(1, 2**8),
    "model.decoder.hidden_dim": _integer(1, 2**14),
    "model.decoder.hidden_layers": _integer(1, 2**8),
    "likelihood.kind": _choice(*likelihood.KINDS),
    "likelihood.sigma": _POSITIVE,
    "likelihood.estimator": _choice(*likelihood.ESTIMATORS),
    "likelihood.averaging": _SHARE,
    "likelihood.learning_rate": _NOT_NEGATIVE,
    "likelihood.kappa": _optional(_POSITIVE),
    "likelihood.geco_rate": _POSITIVE,
    "likelihood.geco_averaging": _finite("a number in [0, 1)", lambda value: 0 <= value < 1),
    "likelihood.stabiliser": _choice(*likelihood.STABILISERS),
    "likelihood.beta_nll": _number(0, 1),
    "likelihood.warmup": _number(0, 1),
    "likelihood.floor": _NOT_NEGATIVE,
    "likelihood.weight_decay": _NOT_NEGATIVE,
    "objective.kind": _choice(*objectives.KINDS),
    "objective.beta": _NOT_NEGATIVE,
    "objective.num_samples": _integer(1, 10**5),
    "objective.kl_warmup": _number(0, 0.9),
    "optimizer.encoder_learning_rate": _NOT_NEGATIVE,
    "optimizer.decoder_learning_rate": _NOT_NEGATIVE,
    "optimizer.decoder_weight_decay": _NOT_NEGATIVE,
    "optimizer.schedule": _choice(*train.SCHEDULES),
    "optimizer.decay_every": _integer(1),
    "optimizer.decay_factor": _SHARE,
    "optimizer.warmup": _number(0, 0.9),
    "train.num_epochs": _integer(1),
    "train.batch_size": _integer(1),
    "train.shuffle": _BOOLEAN,
    "train.log_every": _integer(1),
    "evaluate.every": _number(0, 1),
    "checkpoint.every": _integer(0),
    "checkpoint.keep": _integer(1),
}

# Fields that are each fine and yet may not go together.
_COMBINATIONS = (
    (
        ("data.u_start", "data.u_stop"),
        lambda start, stop: start < stop,
        "data.u_start must be < data.u_stop",
    ),
    (
        ("train.batch_size", "data.num_points"),
        lambda batch_size, num_points: batch_size <= num_points,
        "train.batch_size must be <= data.num_points",
    ),
    (
        ("likelihood.kind", "likelihood.estimator"),
        lambda kind, estimator: kind != "closed_form" or estimator != "learned",
        "likelihood.estimator must not be 'learned' for closed_form; that is the kind 'learned'",
    ),
    (
        ("likelihood.kind", "likelihood.kappa"),
        lambda kind, kappa: kind == "geco" or kappa is None,
        "likelihood.kappa must be empty unless likelihood.kind is 'geco'",
    ),
    *(
        (
            ("likelihood.kind", f"likelihood.{name}"),
            lambda kind, value, neutral=neutral: kind == "heteroscedastic" or value == neutral,
            f"likelihood.{name} must be {neutral!r} unless likelihood.kind is 'heteroscedastic'",
        )
        for name, neutral in (("floor", 0.0), ("weight_decay", 0.0))
    ),
    (
        ("likelihood.kind", "likelihood.stabiliser"),
        lambda kind, stabiliser: (
            stabiliser == "none"
            or kind == "heteroscedastic"
            or (stabiliser == "warmup" and kind in ("per_dimension", "full_covariance"))
        ),
        "likelihood.stabiliser must be 'none' unless likelihood.kind is 'heteroscedastic', or "
        "'warmup' for per_dimension and full_covariance",
    ),
    (
        ("likelihood.floor", "data.rdot"),
        lambda floor, rdot: floor < abs(rdot),
        "likelihood.floor must be < the spread of the data, |data.rdot|",
    ),
    (
        ("seed", "num_seeds"),
        lambda seed, num_seeds: seed + num_seeds <= 2**32,
        "the last seed, seed + num_seeds - 1, must be <= 2**32 - 1",
    ),
)


def problems(fields: Fields) -> list[str]:
    """Returns a sentence for each rule that a whole config breaks."""
    found = [unknown(path, RULES) for path in fields if path not in RULES]
    bad = set()
    for path, rule in RULES.items():
        if path not in fields:
            found.append(f"{path}: missing, must be {rule.allowed}")
            bad.add(path)
        elif not rule.accepts(fields[path]):
            found.append(f"{path}: found {fields[path]!r}, must be {rule.allowed}")
            bad.add(path)
    for paths, holds, wanted in _COMBINATIONS:
        if bad.isdisjoint(paths) and not holds(*(fields[path] for path in paths)):
            values = assignments({path: fields[path] for path in paths})
            found.append(f"{wanted}, found {values}")
    return found


def unknown(path: str, known: Mapping[str, Any]) -> str:
    """Returns the sentence for an unknown field, with the fields that it may have meant."""

    def similarity(field: str) -> float:
        # By its last part too: a field is often remembered without its section.
        pairs = [(path, field), (path.rpartition(".")[2], field.rpartition(".")[2])]
        return max(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)

    scores = {field: similarity(field) for field in known}
    best = max(scores.values(), default=0)
    near = [field for field, score in scores.items() if score > max(0.7, best - 0.1)]
    hint = f"did you mean {' or '.join(near)}?" if near else "configs/base.py lists all fields"
    return f"{path}: no such field; {hint}"


def assignments(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{path}={value}" for path, value in values.items())
