"""From a config to groups of lanes."""

import flax
import jax
import numpy as np
import pytest

from configs import base
from spiral_vae.config import command_line as config_lib
from spiral_vae.config import lanes as sweep
from spiral_vae.model import likelihood

SIGMAS = (0.1, 0.2, 0.4)
WIDTHS = (4, 8)
SEEDS = (5, 6, 7, 8)


def _groups(*axes, **overrides):
    config = base.get_config()
    config.update_from_flattened_dict(overrides)
    return sweep.groups(config, config_lib.expand(config, axes)[1])


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
    assert [group.program.vae.encoder.hidden_dim for group in product] == list(WIDTHS)
    every = [(sigma, width, seed) for sigma in SIGMAS for width in WIDTHS for seed in SEEDS]
    for group in product:
        width = group.program.vae.encoder.hidden_dim
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
    assert sweep.lane_of(base.get_config(), seed).seed == seed


def test_groups_come_in_the_order_of_their_first_lanes():
    groups = _groups("model.decoder.hidden_dim=8,4")
    assert [group.program.vae.decoder.hidden_dim for group in groups] == [8, 4]
    assert [list(group.index) for group in groups] == [[0], [1]]


# Every field that can be swept: where it lands, and whether it needs a program of its own. Some
# land only where others are as in NEEDS.

NEEDS = {
    "likelihood.averaging": {
        "likelihood.kind": "closed_form",
        "likelihood.estimator": "moving_average",
    },
    "likelihood.kappa": {"likelihood.kind": "geco", "likelihood.kappa": 0.3},
    "likelihood.geco_rate": {"likelihood.kind": "geco"},
    "likelihood.geco_averaging": {"likelihood.kind": "geco"},
    "likelihood.estimator": {"likelihood.kind": "per_dimension"},
    **{
        f"likelihood.{name}": {"likelihood.kind": "heteroscedastic"}
        for name in ("stabiliser", "beta_nll", "warmup", "floor", "weight_decay")
    },
}
NUMBERS = {
    "data.omega": ("1,2", lambda lanes: lanes.spiral.omega),
    "data.rdot": ("1,2", lambda lanes: lanes.spiral.rdot),
    "data.noise_sigma": ("1,2", lambda lanes: lanes.spiral.noise_sigma),  # a pair
    "data.noise_sigma_x": ("1,2", lambda lanes: lanes.spiral.noise_sigma[0]),
    "data.noise_sigma_y": ("1,2", lambda lanes: lanes.spiral.noise_sigma[1]),
    "data.noise_slope": ("1,2", lambda lanes: lanes.spiral.noise_slope),
    "data.noise_angle": ("1,2", lambda lanes: lanes.spiral.noise_angle),
    "data.u_start": ("0.1,0.2", lambda lanes: lanes.spiral.u_start),
    "data.u_stop": ("0.7,0.8", lambda lanes: lanes.spiral.u_stop),
    "likelihood.sigma": ("1,2", lambda lanes: lanes.likelihood.sigma),
    "likelihood.averaging": ("0.1,0.2", lambda lanes: lanes.likelihood.rate),
    "likelihood.learning_rate": ("0.1,0", lambda lanes: lanes.likelihood_learning_rate),
    "likelihood.kappa": ("1,2", lambda lanes: lanes.likelihood.kappa),
    "likelihood.geco_rate": ("0.1,0.2", lambda lanes: lanes.likelihood.rate),
    "likelihood.geco_averaging": ("0.1,0", lambda lanes: lanes.likelihood.averaging),
    "likelihood.beta_nll": ("0.1,1", lambda lanes: lanes.likelihood.exponent),
    "likelihood.warmup": ("0.1,0.2", lambda lanes: lanes.likelihood.warmup),
    "likelihood.floor": ("0.1,0.2", lambda lanes: lanes.likelihood.floor),
    "likelihood.weight_decay": ("0.1,0.2", lambda lanes: lanes.variance_weight_decay),
    "objective.beta": ("0.5,2", lambda lanes: lanes.beta),
    "objective.kl_warmup": ("0.1,0.2", lambda lanes: lanes.kl_warmup),
    "optimizer.encoder_learning_rate": ("0.1,0", lambda lanes: lanes.encoder_learning_rate),
    "optimizer.decoder_learning_rate": ("0.1,0", lambda lanes: lanes.decoder_learning_rate),
    "optimizer.decoder_weight_decay": ("0.1,0.2", lambda lanes: lanes.decoder_weight_decay),
    "optimizer.decay_every": ("7,9", lambda lanes: lanes.decay_every),
    "optimizer.decay_factor": ("0.5,1", lambda lanes: lanes.decay_factor),
    "optimizer.warmup": ("0.1,0.2", lambda lanes: lanes.warmup),
}
SHAPES = {
    "data.num_points": ([300, 400], lambda group: group.program.num_points),
    "data.t_law": (["sqrt", "uniform"], lambda group: group.lanes.spiral.t_law),
    "data.design": (["random", "grid"], lambda group: group.program.design),
    "model.latent_dim": ([1, 2], lambda group: group.program.vae.encoder.latent_dim),
    "model.encoder.hidden_dim": ([3, 4], lambda group: group.program.vae.encoder.hidden_dim),
    "model.encoder.hidden_layers": ([1, 2], lambda group: group.program.vae.encoder.hidden_layers),
    "model.decoder.hidden_dim": ([3, 4], lambda group: group.program.vae.decoder.hidden_dim),
    "model.decoder.hidden_layers": ([1, 2], lambda group: group.program.vae.decoder.hidden_layers),
    "likelihood.kind": (list(likelihood.KINDS), lambda group: _kind(group.lanes.likelihood)),
    "likelihood.estimator": (
        list(likelihood.ESTIMATORS),
        lambda group: getattr(group.lanes.likelihood, "estimator", "learned"),
    ),
    "likelihood.stabiliser": (
        list(likelihood.STABILISERS),
        lambda group: group.lanes.likelihood.stabiliser,
    ),
    "objective.kind": (["iwae", "elbo"], lambda group: group.program.objective),
    "objective.num_samples": ([1, 3], lambda group: group.program.num_samples),
    "optimizer.schedule": (["step", "cosine"], lambda group: group.program.schedule),
    "train.num_epochs": ([10, 20], lambda group: group.program.num_epochs),
    "train.batch_size": ([20, 50], lambda group: group.program.batch_size),
    "train.shuffle": ([False, True], lambda group: group.program.shuffle),
}


def _kind(found):
    """The kind that a likelihood was made of."""
    if isinstance(found, likelihood.ClosedForm):
        names = {"isotropic": "closed_form", "full": "full_covariance"}
        return names.get(found.covariance, found.covariance)
    return type(found).__name__.lower()


@pytest.mark.parametrize("path", NUMBERS)
def test_numbers_are_lanes_of_one_program(path):
    text, leaf_of = NUMBERS[path]
    needs = NEEDS.get(path, {})
    (group,) = _groups(f"{path}={text}", **needs)
    leaves = jax.tree.leaves(leaf_of(group.lanes))
    for leaf in leaves:
        np.testing.assert_array_equal(leaf, [float(v) for v in text.split(",")])
    (default,) = _groups(num_seeds=2, **needs)
    changed = jax.tree.map(lambda a, b: not np.array_equal(a, b), group.lanes, default.lanes)
    # Nothing else moved but the seed, of which this sweep has one.
    assert sum(jax.tree.leaves(changed)) == len(leaves) + 1


@pytest.mark.parametrize("path", SHAPES)
def test_what_fixes_the_program_makes_groups(path):
    values, value_of = SHAPES[path]
    groups = _groups(f"{path}={','.join(map(str, values))}", **NEEDS.get(path, {}))
    assert [value_of(group) for group in groups] == values
    assert [list(group.index) for group in groups] == [[i] for i in range(len(values))]


def test_an_empty_sigma_of_one_axis_is_that_of_both():
    own = {"data.noise_sigma": 0.3, "data.noise_sigma_y": 0.7}
    (group,) = _groups(**own)
    np.testing.assert_array_equal(group.lanes.spiral.noise_sigma, [[0.3], [0.7]])


@pytest.mark.parametrize(("kappa", "start"), [(None, 0.2), (0.3, 0.3)])
def test_an_empty_kappa_is_searched_from_sigma(kappa, start):
    own = {} if kappa is None else {"likelihood.kappa": kappa}
    (group,) = _groups(**{"likelihood.kind": "geco", **own})
    assert group.lanes.likelihood.search == (kappa is None)
    assert group.lanes.likelihood.kappa == start


@pytest.mark.parametrize("stabiliser", likelihood.STABILISERS)
def test_the_decoder_has_the_heads_of_the_likelihood(stabiliser):
    own = {"likelihood.kind": "heteroscedastic", "likelihood.stabiliser": stabiliser}
    (group,) = _groups(**own)
    student = stabiliser in ("student_t", "variational")
    assert group.program.vae.decoder.heads == ("mean", "logvar", "dof")[: 2 + student]
    assert group.program.vae.decoder.detached == (stabiliser == "faithful")


@pytest.mark.parametrize("estimator", likelihood.ESTIMATORS)
@pytest.mark.parametrize("kind", ["per_dimension", "full_covariance"])
def test_a_warmup_is_a_number_where_it_is_asked_for_and_nowhere_else(kind, estimator):
    own = {"likelihood.kind": kind, "likelihood.estimator": estimator}
    (plain,) = _groups(**own)
    assert plain.lanes.likelihood.warmup is None
    (warm,) = _groups("likelihood.warmup=0.1,0.2", **own, **{"likelihood.stabiliser": "warmup"})
    np.testing.assert_array_equal(warm.lanes.likelihood.warmup, [0.1, 0.2])


def test_the_tables_hold_every_field_that_can_be_swept():
    """A field that lands nowhere would make lanes that differ in name alone."""
    config = base.get_config()
    landing = {*NUMBERS, *SHAPES}
    for path, value in flax.traverse_util.flatten_dict(config.to_dict(), sep=".").items():
        try:
            config_lib.parse_axis(f"{path}={1.0 if value is None else value}", config)
        except config_lib.ConfigError:
            assert path not in landing
        else:
            assert path in landing
