"""From a config to groups of lanes."""

import functools

import jax
import numpy as np
import pytest

from spiral_vae import fields
from spiral_vae.config import lanes
from spiral_vae.config.axes import expand, parse_axis
from spiral_vae.config.settings import ROOTS
from spiral_vae.config.values import ConfigError, flatten
from spiral_vae.configs import base

SIGMAS = (0.1, 0.2, 0.4)
WIDTHS = (4, 8)
SEEDS = (5, 6, 7, 8)


def _groups(*axes, **overrides):
    config = base.get_config()
    config.update_from_flattened_dict(overrides)
    return lanes.groups(config, expand(config, axes)[1])


@pytest.fixture(scope="module")
def product():
    return _groups(
        "likelihood.sigma=0.1,0.2,0.4",
        "model.encoder.hidden_dim=4,8",
        seed=5,
        num_seeds=4,
    )


def test_a_product_of_numbers_and_shapes_is_a_group_for_each_shape(product):
    """The order of the lanes is that of the product: sigma slowest, seed fastest."""
    assert [group.lanes.model.encoder.hidden_dim for group in product] == list(WIDTHS)
    every = [(sigma, width, seed) for sigma in SIGMAS for width in WIDTHS for seed in SEEDS]
    for group in product:
        width = group.lanes.model.encoder.hidden_dim
        own = [index for index, lane in enumerate(every) if lane[1] == width]
        np.testing.assert_array_equal(group.index, own)
        np.testing.assert_array_equal(group.lanes.likelihood.sigma, [every[i][0] for i in own])
        np.testing.assert_array_equal(group.lanes.seed, [every[i][2] for i in own])
    joined = np.concatenate([group.index for group in product])
    np.testing.assert_array_equal(np.sort(joined), np.arange(24))


def test_leaves_are_stacked_and_keep_the_config_s_precision(product):
    """Judged in float64, as the config says them; the training rounds to float32 by itself."""
    for group in product:
        leaves = dict(jax.tree_util.tree_leaves_with_path(group.lanes))
        assert {leaf.shape for leaf in leaves.values()} == {(12,)}
        assert group.lanes.seed.dtype == np.uint32
        others = {leaf.dtype for path, leaf in leaves.items() if "seed" not in str(path)}
        assert others == {np.dtype(np.float64)}
    assert 0.1 in product[0].lanes.likelihood.sigma


@pytest.mark.parametrize("seed", [0, 2**31, 2**32 - 1])
def test_every_seed_of_32_bits_is_kept(seed):
    assert lanes.lane_of(flatten(base.get_config()), seed).seed == seed


def test_groups_come_in_the_order_of_their_first_lanes():
    groups = _groups("model.decoder.hidden_dim=8,4")
    assert [group.lanes.model.decoder.hidden_dim for group in groups] == [8, 4]
    assert [list(group.index) for group in groups] == [[0], [1]]


# Every field that can be swept: where it lands, and whether it needs a program of its own. Some
# land only where others are as in NEEDS.

SEQUENCES = {"data.design": "sequence", "data.length": 20}
NEEDS = {
    "data.length": SEQUENCES,
    "data.a": SEQUENCES,
    "data.missing": SEQUENCES,
    "dynamics.start": {"dynamics.kind": "markov"},
    "dynamics.learning_rate": {"dynamics.kind": "markov"},
    "objective.spacing": {"objective.kind": "evidence", "objective.num_samples": 16},
    "start.kind": SEQUENCES,
    **{f"start.{name}": SEQUENCES | {"start.kind": "slow_feature"} for name in ("degree", "lag")},
    "objective.kind": {"objective.num_samples": 16},
    "data.size": {"data.kind": "circle"},
    **{
        f"start.{name}": {"start.kind": "order"}
        for name in ("weight", "share", "num_cuts", "max_attempts")
    },
    "data.num_rings": {"data.kind": "rings"},
    **{
        f"data.{name}": {"data.kind": "lissajous"}
        for name in ("frequency_x", "frequency_y", "phase")
    },
    "data.standardise": {"data.kind": "table", "data.path": "a.csv", "data.columns": "a,b"},
    "likelihood.anneal_from": {"likelihood.anneal": 0.5},
    "posterior.num_components": {"posterior.kind": "mixture"},
    "posterior.num_bins": {"posterior.kind": "spline"},
    "posterior.refinement": SEQUENCES | {"posterior.kind": "potential", "dynamics.kind": "markov"},
    "data.noise_sigma_x": {"data.noise_sigma_x": 0.3},
    "data.noise_sigma_y": {"data.noise_sigma_y": 0.3},
    "likelihood.averaging": {
        "likelihood.kind": "closed_form",
        "likelihood.estimator": "moving_average",
    },
    "likelihood.learning_rate": {"likelihood.kind": "learned"},
    "likelihood.freedom": {"likelihood.kind": "learned"},
    "likelihood.kappa": {"likelihood.kind": "geco", "likelihood.kappa": 0.3},
    "likelihood.geco_rate": {"likelihood.kind": "geco"},
    "likelihood.geco_averaging": {"likelihood.kind": "geco"},
    "likelihood.estimator": {"likelihood.kind": "per_dimension"},
    **{
        f"likelihood.{name}": {"likelihood.kind": "heteroscedastic"}
        for name in ("stabiliser", "floor", "weight_decay")
    },
    **{
        f"likelihood.{name}": {
            "likelihood.kind": "heteroscedastic",
            "likelihood.stabiliser": stabiliser,
        }
        for name, stabiliser in (("beta_nll", "beta_nll"), ("warmup", "warmup"))
    },
    "optimizer.decay_every": {"optimizer.schedule": "step"},
    "optimizer.decay_factor": {"optimizer.schedule": "step"},
    "optimizer.warmup": {"optimizer.schedule": "cosine"},
}
NUMBERS = {
    "data.a": "0.1,0.2",
    "dynamics.start": "0.1,0.2",
    "dynamics.learning_rate": "0.1,0.2",
    "data.size": "1,2",
    "start.weight": "1,2",
    "start.share": "0.1,0.2",
    "data.phase": "0.1,0.2",
    "likelihood.anneal_from": "0.8,0.9",
    "data.omega": "1,2",
    "data.rdot": "1,2",
    "data.noise_sigma": "1,2",
    "data.noise_sigma_x": "1,2",
    "data.noise_sigma_y": "1,2",
    "data.noise_slope": "1,2",
    "data.noise_angle": "1,2",
    "data.u_start": "0.1,0.2",
    "data.u_stop": "0.7,0.8",
    "likelihood.sigma": "1,2",
    "likelihood.averaging": "0.1,0.2",
    "likelihood.learning_rate": "0.1,0",
    "likelihood.kappa": "1,2",
    "likelihood.geco_rate": "0.1,0.2",
    "likelihood.geco_averaging": "0.1,0",
    "likelihood.beta_nll": "0.1,1",
    "likelihood.warmup": "0.1,0.2",
    "likelihood.floor": "0.1,0.2",
    "likelihood.weight_decay": "0.1,0.2",
    "objective.beta": "0.5,2",
    "objective.kl_warmup": "0.1,0.2",
    "optimizer.encoder_learning_rate": "0.1,0",
    "optimizer.decoder_learning_rate": "0.1,0",
    "optimizer.decoder_weight_decay": "0.1,0.2",
    "optimizer.decay_every": "7,9",
    "optimizer.decay_factor": "0.5,1",
    "optimizer.warmup": "0.1,0.2",
}
PARTS = {  # the fields of parts lie in the section of the whole
    "data.length": "data.design.length",
    "data.a": "data.design.a",
    "data.missing": "data.design.missing",
    "likelihood.averaging": "likelihood.estimator.averaging",
    "likelihood.beta_nll": "likelihood.stabiliser.beta_nll",
    "likelihood.warmup": "likelihood.stabiliser.warmup",
    "optimizer.decay_every": "optimizer.schedule.decay_every",
    "optimizer.decay_factor": "optimizer.schedule.decay_factor",
    "optimizer.warmup": "optimizer.schedule.warmup",
}
SHAPES = {
    "data.kind": [kind for kind in fields.kinds("data") if kind != "table"],
    "data.num_rings": [2, 3],
    "start.kind": list(fields.kinds("start")),
    "start.num_cuts": [10, 20],
    "start.max_attempts": [2, 3],
    "model.encoder.fourier_features": [4, 8],
    "model.encoder.fourier_scale": [0.5, 2.0],
    "model.decoder.first_layer": [1.0, 3.0],
    "data.frequency_x": [1, 3],
    "data.frequency_y": [1, 3],
    "data.standardise": [True, False],
    "likelihood.anneal": [0.1, 0.5],
    "likelihood.freedom": [1.0, 2.0],
    "data.num_points": [300, 400],
    "data.t_law": ["sqrt", "uniform"],
    "data.design": ["random", "grid"],
    "data.length": [10, 20],
    "data.missing": [0.1, 0.2],
    "dynamics.kind": list(fields.kinds("dynamics")),
    "objective.spacing": ["mass", "even"],
    "start.degree": [2, 3],
    "start.lag": [2, 3],
    "model.latent_dim": [1, 2],
    "model.encoder.hidden_dim": [3, 4],
    "model.encoder.hidden_layers": [1, 2],
    "model.decoder.hidden_dim": [3, 4],
    "model.decoder.hidden_layers": [1, 2],
    "likelihood.kind": list(fields.kinds("likelihood")),
    "likelihood.estimator": list(fields.kinds("estimator")),
    "likelihood.stabiliser": list(fields.kinds("stabiliser")),
    "objective.kind": ["iwae", "elbo", "evidence"],
    "objective.estimator": ["reparameterised", "stl"],
    "posterior.kind": list(fields.kinds("posterior")),
    "posterior.num_components": [2, 4],
    "posterior.num_bins": [4, 8],
    "posterior.refinement": [1, 2],
    "objective.num_samples": [16, 30],
    "encoder.sleep": [0.1, 0.2],
    "encoder.after": [0.1, 0.2],
    "optimizer.schedule": ["step", "cosine"],
    "train.num_epochs": [10, 20],
    "train.batch_size": [20, 50],
    "train.shuffle": [False, True],
    "train.compiled": ["quickly", "fully"],
}
FAMILIES = {  # of which a field names a kind
    "data.kind": "data",
    "start.kind": "start",
    "data.design": "design",
    "dynamics.kind": "dynamics",
    "posterior.kind": "posterior",
    "likelihood.kind": "likelihood",
    "likelihood.estimator": "estimator",
    "likelihood.stabiliser": "stabiliser",
    "objective.kind": "objective",
    "optimizer.schedule": "schedule",
}


def _landed(lane, path):
    """What a field has become in a lane; of a kind its name."""
    attributes = PARTS.get(path, path).removesuffix(".kind").split(".")
    found = functools.reduce(getattr, attributes, lane)
    if path in FAMILIES:
        names = {cls: name for name, cls in fields.kinds(FAMILIES[path]).items()}
        return names[type(found)]
    return found


@pytest.mark.parametrize("path", NUMBERS)
def test_numbers_are_lanes_of_one_program(path):
    needs = NEEDS.get(path, {})
    (group,) = _groups(f"{path}={NUMBERS[path]}", **needs)
    values = [float(value) for value in NUMBERS[path].split(",")]
    np.testing.assert_array_equal(_landed(group.lanes, path), values)
    (default,) = _groups(num_seeds=2, **needs)
    changed = jax.tree.map(lambda a, b: not np.array_equal(a, b), group.lanes, default.lanes)
    # Nothing else moved but the seed, of which this sweep has one.
    assert sum(jax.tree.leaves(changed)) == 2


@pytest.mark.parametrize("path", SHAPES)
def test_what_fixes_the_program_makes_groups(path):
    values = SHAPES[path]
    groups = _groups(f"{path}={','.join(map(str, values))}", **NEEDS.get(path, {}))
    assert [_landed(group.lanes, path) for group in groups] == values
    assert [list(group.index) for group in groups] == [[i] for i in range(len(values))]


def _first(group):
    return jax.tree.map(lambda leaf: leaf[0], group.lanes)


def test_an_empty_sigma_of_one_axis_is_that_of_both():
    own = {"data.noise_sigma": 0.3, "data.noise_sigma_y": 0.7}
    (group,) = _groups(**own)
    scale = _first(group).data.observation(0.0).scale
    np.testing.assert_allclose(scale, np.diag([0.3, 0.7]), rtol=1e-6)


@pytest.mark.parametrize(("kappa", "start"), [(None, 0.2), (0.3, 0.3)])
def test_an_empty_kappa_is_searched_from_sigma(kappa, start):
    own = {} if kappa is None else {"likelihood.kappa": kappa}
    (group,) = _groups(**{"likelihood.kind": "geco", **own})
    likelihood = _first(group).likelihood
    assert likelihood.kappa == kappa
    _, carried = likelihood.init(2)
    np.testing.assert_allclose(np.exp(carried["log_kappa"]), start, rtol=1e-6)


@pytest.mark.parametrize("stabiliser", fields.kinds("stabiliser"))
def test_the_decoder_has_the_heads_of_the_likelihood(stabiliser):
    own = {"likelihood.kind": "heteroscedastic", "likelihood.stabiliser": stabiliser}
    (group,) = _groups(**own)
    decoder = group.lanes.vae.decoder
    student = stabiliser in ("student_t", "variational")
    assert decoder.heads == (("mean", 2), ("logvar", 2), ("dof", 2))[: 2 + student]
    assert decoder.detached == (("logvar",) if stabiliser == "faithful" else ())


@pytest.mark.parametrize("estimator", fields.kinds("estimator"))
@pytest.mark.parametrize("kind", ["per_dimension", "full_covariance"])
def test_a_warmup_is_a_number_where_it_is_asked_for_and_nowhere_else(kind, estimator):
    own = {"likelihood.kind": kind, "likelihood.estimator": estimator}
    (plain,) = _groups(**own)
    assert not jax.tree.leaves(plain.lanes.likelihood.stabiliser)
    (warm,) = _groups("likelihood.warmup=0.1,0.2", **own, **{"likelihood.stabiliser": "warmup"})
    np.testing.assert_array_equal(warm.lanes.likelihood.stabiliser.warmup, [0.1, 0.2])


def test_the_tables_hold_every_field_that_can_be_swept():
    """A field that lands nowhere would make lanes that differ in name alone."""
    config = base.get_config()
    landing = {*NUMBERS, *SHAPES}
    for path, value in flatten(config).items():
        try:
            parse_axis(f"{path}={1.0 if value is None else value}", config)
        except ConfigError:
            assert path not in landing
        else:
            assert path in landing


def test_the_tables_say_what_the_declarations_say():
    for path, own in fields.declared(*ROOTS).items():
        if not own.fields[0].not_swept:
            assert own.fields[0].static == (path in SHAPES), path
