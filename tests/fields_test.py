"""Each field is declared once, nothing is set in vain, and a wrong class is told to its author."""

import dataclasses
import re
from typing import ClassVar

import jax
import numpy as np
import pytest

from spiral_vae import fields
from spiral_vae.config import lanes
from spiral_vae.config.axes import expand
from spiral_vae.config.settings import ROOTS
from spiral_vae.config.values import ConfigError, flatten
from spiral_vae.configs import base
from spiral_vae.fields import POSITIVE, FieldError, field, kind
from spiral_vae.model.likelihood import Fixed, Likelihood
from spiral_vae.training.optimizer import Constant, Cosine, Schedule
from spiral_vae.training.train import Lane
from tests.config.made import forgetting, make

DECLARED = fields.declared(*ROOTS)
DEFAULTS = flatten(base.get_config())

# Each kind that a config can name, and what else its config needs.
SEQUENCES = {"data.design": "sequence", "train.batch_size": 40}
KINDS = {
    **{f"likelihood {name}": {"likelihood.kind": name} for name in fields.kinds("likelihood")},
    **{f"data {name}": {"data.kind": name} for name in fields.kinds("data")},
    "data table": {"data.kind": "table", "data.path": "a.csv", "data.columns": "a,b"},
    "sequences": SEQUENCES,
    "dynamics": {"dynamics.kind": "markov"},
    "potentials": {"dynamics.kind": "markov", "posterior.kind": "potential"},
    "random": {"data.design": "random"},
    **{f"start {name}": SEQUENCES | {"start.kind": name} for name in fields.kinds("start")},
    "annealed": {"likelihood.kind": "fixed", "likelihood.anneal": 0.5},
    **{f"posterior {name}": {"posterior.kind": name} for name in fields.kinds("posterior")},
    **{
        f"objective {name}": {"objective.kind": name, "objective.num_samples": 16}
        for name in fields.kinds("objective")
    },
    **{f"schedule {name}": {"optimizer.schedule": name} for name in fields.kinds("schedule")},
    **{
        f"estimator {name}": {"likelihood.kind": "full_covariance", "likelihood.estimator": name}
        for name in fields.kinds("estimator")
    },
    **{
        f"stabiliser {name}": {
            "likelihood.kind": "heteroscedastic",
            "likelihood.stabiliser": name,
        }
        for name in fields.kinds("stabiliser")
    },
    **{
        f"covariance stabiliser {name}": {
            "likelihood.kind": "per_dimension",
            "likelihood.stabiliser": name,
        }
        for name in fields.kinds("covariance_stabiliser")
    },
}
# The kinds whose fields these are, as the sentences have to name them.
_SIZED = "circle eight_gaussians figure_eight helix lissajous rings s_curve swiss_roll two_moons"
_CURVES = _SIZED + " spiral"
_PLANE = _SIZED.replace("helix ", "") + " spiral"


def _data(names: str) -> str:
    return "data.kind " + " or ".join(map(repr, names.split()))


_OF_TABLES = ("path", "sha256", "columns", "t_column", "standardise", "held_out")
_OF_TABLES += ("sequence_column", "time_column", "steps", "places")
OWNERS = {
    "data.size": _data(_SIZED),
    **{f"start.{name}": "start.kind 'order'" for name in ("num_cuts", "max_attempts")},
    **{f"start.{name}": "start.kind 'slow_feature'" for name in ("degree", "lag")},
    **{f"start.{name}": "start.kind 'order' or 'slow_feature'" for name in ("weight", "share")},
    **{f"data.{name}": "data.design 'sequence'" for name in ("length", "a", "missing")},
    **{f"dynamics.{name}": "dynamics.kind 'markov'" for name in ("start", "learning_rate")},
    "objective.spacing": "objective.kind 'evidence'",
    **{f"data.{name}": _data("table") for name in _OF_TABLES},
    **{f"data.{name}": _data(_CURVES) for name in ("noise_sigma", "noise_slope", "design")},
    "data.num_rings": _data("rings"),
    **{f"data.{name}": _data("lissajous") for name in ("frequency_x", "frequency_y", "phase")},
    **{f"data.noise_{name}": _data(_PLANE) for name in ("sigma_x", "sigma_y", "angle")},
    **{f"data.{name}": _data("spiral") for name in ("omega", "rdot", "t_law", "u_start", "u_stop")},
    **{
        f"objective.{name}": "objective.kind 'elbo' or 'iwae'"
        for name in ("beta", "kl_warmup", "estimator")
    },
    "likelihood.anneal": "likelihood.kind 'learned' or 'fixed'",
    "likelihood.anneal_from": "likelihood.kind 'learned' or 'fixed'",
    "likelihood.freedom": "likelihood.kind 'learned'",
    "likelihood.estimator": "likelihood.kind 'closed_form' or 'per_dimension' or 'full_covariance'",
    "likelihood.averaging": "likelihood.estimator 'moving_average' or likelihood.stabiliser "
    "'warmup'",
    "likelihood.learning_rate": "likelihood.kind 'learned' or likelihood.estimator 'learned'",
    "likelihood.stabiliser": "likelihood.kind 'per_dimension' or 'full_covariance' or "
    "'heteroscedastic'",
    "likelihood.warmup": "likelihood.stabiliser 'warmup'",
    "likelihood.beta_nll": "likelihood.stabiliser 'beta_nll'",
    "likelihood.floor": "likelihood.kind 'heteroscedastic'",
    "likelihood.weight_decay": "likelihood.kind 'heteroscedastic'",
    "likelihood.kappa": "likelihood.kind 'geco'",
    "likelihood.geco_rate": "likelihood.kind 'geco'",
    "likelihood.geco_averaging": "likelihood.kind 'geco'",
    "posterior.num_components": "posterior.kind 'mixture'",
    "posterior.num_bins": "posterior.kind 'spline'",
    "posterior.refinement": "posterior.kind 'potential'",
    "optimizer.decay_every": "optimizer.schedule 'step'",
    "optimizer.decay_factor": "optimizer.schedule 'step'",
    "optimizer.warmup": "optimizer.schedule 'cosine'",
}


@pytest.fixture(autouse=True)
def _forgetting():
    with forgetting():
        yield


# declarations


def test_base_holds_the_declared_fields_at_their_defaults_and_no_other():
    assert DEFAULTS == {path: own.fields[0].default for path, own in DECLARED.items()}
    for path, own in DECLARED.items():
        default = DEFAULTS[path]
        assert type(default) is own.fields[0].rule.type or default is None, path


def test_every_field_is_declared_once():
    """But names of kinds, which may be more for one whole than for another."""
    for path, own in DECLARED.items():
        assert len(own.fields) == 1 or all(one.rule.options for one in own.fields), path
        assert len({one.default for one in own.fields}) == 1, path
        assert all(one.rule.accepts(one.default) for one in own.fields), path
        assert all(one.meaning for one in own.fields), path


def test_a_run_that_goes_on_may_have_other_checkpoints_and_nothing_else():
    found = {path for path, own in DECLARED.items() if any(one.changeable for one in own.fields)}
    assert found == {"checkpoint.every", "checkpoint.keep"}


def test_every_kind_is_in_the_tables():
    used = [fields.used(DEFAULTS | own, *ROOTS) for own in KINDS.values()]
    assert {path for found in used for path in found.fields} == DECLARED.keys()
    for family in fields._FAMILIES:
        for cls in fields.kinds(family).values():
            assert any(cls in found.classes for found in used), cls


# nothing is set in vain


def _off(path, values):
    """Another value than the default, that breaks no rule beside these values."""
    default = DEFAULTS[path]
    tried = [True, False, 50, 400, 2, 3, 0.5, 0.25, 0.125, ("objective.beta=1,2",)]
    tried += ["a", *(option for own in DECLARED[path].fields for option in own.rule.options)]
    for value in tried:
        typed = type(value) is DECLARED[path].fields[0].rule.type
        if typed and value != default and not fields.problems(values | {path: value}, *ROOTS):
            return value
    return None


@pytest.mark.parametrize("path", DECLARED)
def test_a_field_off_its_default_is_refused_where_nothing_uses_it(path):
    """What is used is judged by the lane that comes of it, not by the declarations."""
    refused = accepted = 0
    for own in KINDS.values():
        values = DEFAULTS | own
        if path in own or (value := _off(path, values)) is None:
            continue
        config = make(**own, **{path: value})
        if path in fields.used(values | {path: value}, *ROOTS).fields:
            expand(config, ())
            accepted += 1
            assert _is_setting(path) or _differ(values, values | {path: value}), (path, own)
            continue
        assert not _differ(values, values | {path: value}), (path, own)
        with pytest.raises(ConfigError) as error:
            expand(config, ())
        wanted = (
            f"{path}: found {value!r}, but nothing here uses it; it belongs to {OWNERS[path]} "
            f"and has the default {DEFAULTS[path]!r}"
        )
        assert str(error.value) == wanted
        refused += 1
    assert bool(refused) == (path in OWNERS)
    assert accepted or path in ("data.path", "data.columns")  # no table is without


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        (
            {"objective.kind": "iwae", "objective.estimator": "stl"},
            "objective.estimator: found 'stl', must be 'reparameterised' or 'dreg'",
        ),
        (
            {"objective.estimator": "dreg"},
            "objective.estimator: found 'dreg', must be 'reparameterised' or 'stl'",
        ),
        (
            {
                "objective.kind": "iwae",
                "objective.estimator": "dreg",
                "posterior.kind": "mixture",
            },
            "objective.estimator 'dreg' needs draws of q itself, not of parts of it, found "
            "posterior.kind=mixture, objective.estimator=dreg",
        ),
        (
            {"posterior.kind": "spline", "model.latent_dim": 2},
            "a spline is of one latent: model.latent_dim must be 1, found posterior.kind=spline, "
            "model.latent_dim=2",
        ),
        (
            {"objective.kind": "evidence", "objective.num_samples": 15},
            "objective.num_samples, here the nodes of z, must be >= 16 for 'evidence', such as "
            "256, found objective.kind=evidence, objective.num_samples=15",
        ),
        (
            {"posterior.kind": "potential", "posterior.refinement": 3},
            "posterior.refinement is of sequences: it must be 0 without dynamics, found "
            "posterior.refinement=3, dynamics.kind=none",
        ),
        (
            {"dynamics.kind": "markov", "objective.estimator": "stl"},
            "objective.estimator must be 'reparameterised' under dynamics, found "
            "dynamics.kind=markov, objective.estimator=stl",
        ),
        (
            {"likelihood.anneal_from": 0.8},
            "likelihood.anneal_from counts where likelihood.anneal is > 0, found "
            "likelihood.anneal=0.0, likelihood.anneal_from=0.8",
        ),
        (
            {"likelihood.anneal": 0.7, "encoder.after": 0.4},
            "likelihood.anneal + encoder.after must be < 1: what is added stays as it is after, "
            "found likelihood.anneal=0.7, encoder.after=0.4",
        ),
        (
            {"likelihood.kind": "learned", "likelihood.freedom": 200.0},
            "likelihood.freedom must be < data.num_points, found likelihood.freedom=200.0, "
            "data.num_points=200",
        ),
        (
            {"likelihood.kind": "heteroscedastic", "likelihood.sigma": 20.0},
            "likelihood.sigma must be in [0.001, 10] for 'heteroscedastic': beyond that the head "
            "has no gradient, found likelihood.kind=heteroscedastic, likelihood.sigma=20.0",
        ),
        (
            {"encoder.sleep": 0.6, "encoder.after": 0.6},
            "encoder.sleep + encoder.after must be <= 1, found encoder.sleep=0.6, "
            "encoder.after=0.6",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(own, wanted):
    with pytest.raises(ConfigError) as error:
        expand(make(**own), ())
    assert str(error.value) == wanted


def _is_setting(path):
    return path in fields.declared(ROOTS[0])


def _differ(one, two):
    """Whether two configs make different lanes."""
    one, two = lanes.lane_of(one, 0), lanes.lane_of(two, 0)
    if jax.tree.structure(one) != jax.tree.structure(two):
        return True
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    return any(not np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    "path", [path for path, own in DECLARED.items() if not own.fields[0].not_swept]
)
def test_a_field_is_not_swept_where_nothing_uses_it(path):
    refused = 0
    for own in KINDS.values():
        values = DEFAULTS | own
        if path in own or (value := _off(path, values)) is None:
            continue
        axis = f"{path}={value}"
        if path in fields.used(values, *ROOTS).fields:
            assert len(expand(make(**own), [axis])[1]) == 1
            continue
        with pytest.raises(ConfigError) as error:
            expand(make(**own), [axis])
        wanted = f"{path}: is swept, but nothing here uses it; it belongs to {OWNERS[path]}"
        assert str(error.value) == f"lane {path}={value}: {wanted}"
        refused += 1
    assert bool(refused) == (path in OWNERS)


def test_a_field_is_accepted_if_one_lane_of_a_sweep_uses_it():
    config = make(**{"likelihood.kappa": 0.3})
    expand(config, ["likelihood.kind=fixed,geco"])
    expand(config, ["likelihood.kind=geco,fixed", "objective.beta=1,2"])
    with pytest.raises(ConfigError, match="^likelihood.kappa: found 0.3, but nothing here uses it"):
        expand(config, ["likelihood.kind=fixed,learned"])


def test_all_fields_set_in_vain_are_listed():
    config = make(**{"likelihood.kappa": 0.3, "optimizer.warmup": 0.1, "likelihood.floor": 0.1})
    for sweep in ([], ["likelihood.sigma=1,2"], ["likelihood.kind=closed_form,learned"]):
        with pytest.raises(ConfigError) as error:
            expand(config, sweep)
        found = [line.split(":")[0] for line in str(error.value).splitlines()]
        assert sorted(found) == ["likelihood.floor", "likelihood.kappa", "optimizer.warmup"]


def test_an_axis_that_some_lanes_do_not_use_is_refused():
    """They would be the same lane under several names."""
    with pytest.raises(ConfigError, match="^lane likelihood.kind=fixed, likelihood.kappa=1.0: lik"):
        expand(base.get_config(), ["likelihood.kind=geco,fixed", "likelihood.kappa=1,2"])


def test_an_unknown_kind_is_told_with_those_that_there_are():
    for path, own in DECLARED.items():
        if any(one.rule.options for one in own.fields):
            (line,) = fields.problems(DEFAULTS | {path: "nope"}, *ROOTS)
            options = " or ".join(map(repr, own.fields[0].rule.options))
            assert line == f"{path}: found 'nope', must be {options}"


# registering


def _dataclass(**keywords):
    return dataclasses.dataclass(**{"frozen": True, "kw_only": True} | keywords)


def _refused(family, name, cls):
    with pytest.raises(FieldError) as error:
        kind(family, name)(cls)
    assert (
        name not in fields._FAMILIES.get(family, fields._FAMILIES["data"]).kinds or name == "geco"
    )
    return str(error.value)


def test_a_family_that_is_not_there():
    @_dataclass()
    class Mine(Fixed):
        pass

    found = _refused("likelihod", "mine", Mine)
    assert found.startswith("likelihod 'mine' (Mine): no such family; there are ")
    assert all(name in found for name in fields._FAMILIES)


def test_a_name_that_is_taken():
    before = fields.kinds("likelihood")["geco"]

    @_dataclass()
    class Mine(Fixed):
        pass

    found = _refused("likelihood", "geco", Mine)
    owner = f"{before.__module__}.{before.__name__}"
    assert found == f"likelihood 'geco' (Mine): the name belongs to {owner}"
    assert fields.kinds("likelihood")["geco"] is before


def test_a_class_of_no_file_takes_the_place_of_itself_alone():
    """As of a notebook, whose cells run again and again."""

    def mine(module):
        return _dataclass()(type("Mine", (Fixed,), {"__module__": module}))

    assert fields.source(mine("notebook")) is None and fields.is_own(mine("notebook"))
    found = _refused("likelihood", "geco", mine("notebook"))
    owner = fields.kinds("likelihood")["geco"]
    assert found.endswith(f"the name belongs to {owner.__module__}.{owner.__name__}")
    for _ in range(2):
        again = kind("likelihood", "mine")(mine("notebook"))
        assert fields.kinds("likelihood")["mine"] is again
    with pytest.raises(FieldError, match="the name belongs to notebook.Mine$"):
        kind("likelihood", "mine")(mine("other"))


def test_a_class_that_is_no_dataclass_of_the_contract():
    class Plain(Fixed):  # its base is one
        pass

    @_dataclass()
    class Stranger:
        pass

    for cls in (Plain, Stranger):
        wanted = f"likelihood 'mine' ({cls.__name__}): must be a dataclass derived from Likelihood"
        assert _refused("likelihood", "mine", cls) == wanted


def test_a_dataclass_that_is_not_frozen():
    class Bare:
        pass

    fields.contract("test", "bare", "a family of this test")(Bare)
    try:

        @_dataclass(frozen=False)
        class Mine(Bare):
            pass

        wanted = "test 'mine' (Mine): must be @dataclass(frozen=True, kw_only=True)"
        assert _refused("test", "mine", Mine) == wanted
    finally:
        del fields._FAMILIES["test"]


def test_methods_that_are_missing():
    @_dataclass()
    class Mine(Likelihood):
        pass

    wanted = "likelihood 'mine' (Mine): lacks observation()"
    assert _refused("likelihood", "mine", Mine) == wanted


def test_a_kind_can_be_named_swept_and_built():
    @kind("likelihood", "mine")
    @_dataclass()
    class Mine(Fixed):
        own: float = field(1.5, POSITIVE, "of this test")
        shape: int = field(2, fields.integer(1), "of this test", static=True)

    config = make(**{"likelihood.kind": "mine", "likelihood.own": 2.0, "likelihood.shape": 2})
    _, rows = expand(config, ["likelihood.own=1,2", "likelihood.shape=1,2"])
    groups = lanes.groups(config, rows)
    assert [group.lanes.likelihood.shape for group in groups] == [1, 2]
    for group in groups:
        assert type(group.lanes.likelihood) is Mine
        np.testing.assert_array_equal(group.lanes.likelihood.own, [1.0, 2.0])
    with pytest.raises(ConfigError) as error:
        expand(make(**{"likelihood.own": 2.0, "likelihood.shape": 2}), ())
    wanted = "nothing here uses it; it belongs to likelihood.kind 'mine' and has the default 1.5"
    assert str(error.value) == f"likelihood.own: found 2.0, but {wanted}"


def test_a_field_that_two_kinds_declare_each_for_itself_belongs_to_both():
    for name, rule in (("one", POSITIVE), ("two", fields.NONZERO)):

        @kind("likelihood", name)
        @_dataclass()
        class Mine(Fixed):
            own: float = field(1.5, rule, "of this test")

    values = DEFAULTS | {"likelihood.own": -1.0}
    assert (
        fields.belongs("likelihood.own", *ROOTS) == "it belongs to likelihood.kind 'one' or 'two'"
    )
    assert not fields.problems(values | {"likelihood.kind": "two"}, *ROOTS)
    (line,) = fields.problems(values | {"likelihood.kind": "one"}, *ROOTS)
    assert line == "likelihood.own: found -1.0, must be a finite number > 0"


@pytest.mark.parametrize("family", fields._FAMILIES)
def test_kinds_of_the_same_fields_are_different_structures(family):
    """Or else `jit` may take the program of one for another's."""

    @_dataclass()
    class Twin(next(iter(fields.kinds(family).values()))):
        pass

    kind(family, "twin")(Twin)
    made = [
        fields.build(cls, DEFAULTS, f"{_SECTIONS[family]}.")
        for cls in fields.kinds(family).values()
    ]
    structures = [jax.tree.structure(one) for one in made]
    for index, one in enumerate(structures):
        assert [one == other for other in structures].index(True) == index
        again = jax.tree.unflatten(one, jax.tree.leaves(made[index]))
        assert again == made[index] and type(again) is type(made[index])


_SECTIONS = {
    "design": "data",
    "dynamics": "dynamics",
    "start": "start",
    "data": "data",
    "posterior": "posterior",
    "likelihood": "likelihood",
    "objective": "objective",
    "schedule": "optimizer",
    "estimator": "likelihood",
    "stabiliser": "likelihood",
    "covariance_stabiliser": "likelihood",
}


def test_building_gives_the_values_to_their_parts():
    own = {"likelihood.kind": "full_covariance", "likelihood.estimator": "moving_average"}
    values = DEFAULTS | own | {"likelihood.averaging": 0.25, "model.decoder.hidden_dim": 7}
    lane = fields.build(Lane, values, seed=3)
    assert lane.seed == 3
    assert lane.likelihood.estimator.averaging == 0.25
    assert (lane.model.encoder.hidden_dim, lane.model.decoder.hidden_dim) == (32, 7)


# what depends on the number of epochs


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ({}, False),
        ({"optimizer.schedule": "step"}, False),
        ({"optimizer.schedule": "cosine"}, True),
        ({"objective.kl_warmup": 0.1}, True),
        ({"objective.kind": "iwae", "objective.kl_warmup": 0.1}, True),
        ({"likelihood.stabiliser": "warmup"}, False),  # no part of a fixed sigma
        ({"likelihood.kind": "per_dimension", "likelihood.stabiliser": "warmup"}, True),
        ({"likelihood.kind": "full_covariance", "likelihood.stabiliser": "warmup"}, True),
        ({"likelihood.kind": "heteroscedastic", "likelihood.stabiliser": "warmup"}, True),
        ({"likelihood.kind": "heteroscedastic", "likelihood.stabiliser": "faithful"}, False),
        ({"likelihood.kind": "geco"}, False),
    ],
)
def test_depends_on_length(own, wanted):
    assert fields.depends_on_length(DEFAULTS | own, *ROOTS) == wanted


@pytest.mark.parametrize(
    ("parent", "said", "wanted"),
    [
        (Constant, None, True),  # a user's class may do anything
        (Constant, False, False),
        (Constant, True, True),
        (Cosine, False, False),
    ],
)
def test_a_user_s_class_depends_on_length_unless_it_says_otherwise(parent, said, wanted):
    class Said(parent):
        if said is not None:
            of_length: ClassVar[bool] = said

    kind("schedule", "mine")(_dataclass()(Said))
    values = DEFAULTS | {"optimizer.schedule": "mine"}
    assert fields.depends_on_length(values, *ROOTS) == wanted
    assert issubclass(Said, Schedule)


def test_sources():
    assert fields.source(Fixed) is None and not fields.is_own(Fixed)

    class Mine(Fixed):
        pass

    assert fields.source(Mine).name == "fields_test.py" and fields.is_own(Mine)


def test_sentences_are_of_one_line():
    for path, own in DECLARED.items():
        for one in own.fields:
            assert re.fullmatch(r"[^\n]+", f"{path}: {one.rule.allowed}; {one.meaning}")
