"""What the values of a config may be, and fields that it lacks or leaves empty."""

import math

import pytest
from ml_collections import ConfigDict

from spiral_vae import fields
from spiral_vae.config.axes import expand, parse_axis
from spiral_vae.config.settings import ROOTS
from spiral_vae.config.stored import from_json, to_json
from spiral_vae.config.values import ConfigError, complete, flatten, parse, type_of, with_values
from spiral_vae.configs import base
from tests.config.made import get, make


def test_every_field_of_the_default_config_has_a_rule_and_keeps_it():
    expand(base.get_config(), ())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", 2**32 - 1),
        ("num_seeds", 4096),
        ("data.u_start", 0.0),
        ("data.omega", -1.0),
        ("data.rdot", -2.5),
        ("data.noise_sigma_x", 0.1),
        ("data.noise_slope", 0.5),
        ("data.noise_angle", -7.0),
        ("model.latent_dim", 2),
        ("likelihood.kind", "full_covariance"),
        ("posterior.kind", "gaussian"),
        ("objective.kind", "iwae"),
        ("objective.beta", 0.0),
        ("objective.kl_warmup", 0.9),
        ("optimizer.encoder_learning_rate", 0.0),
        ("optimizer.schedule", "cosine"),
        ("train.batch_size", 200),
        ("train.log_every", 10**6),
        ("evaluate.every", 0.0),
        ("evaluate.every", 1.0),
        ("checkpoint.every", 0),
        ("checkpoint.keep", 1),
    ],
)
def test_a_value_is_accepted(path, value):
    expand(make(**{path: value}), ())


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ({"likelihood.estimator": "moving_average"}, "likelihood.averaging", 1.0),
        ({"likelihood.estimator": "learned"}, "likelihood.learning_rate", 0.0),
        ({"likelihood.stabiliser": "warmup"}, "likelihood.warmup", 1.0),
        ({"optimizer.schedule": "step"}, "optimizer.decay_factor", 1.0),
        ({"optimizer.schedule": "cosine"}, "optimizer.warmup", 0.9),
    ],
)
def test_a_value_of_a_kind_is_accepted(kind, path, value):
    expand(make(**{"likelihood.kind": "per_dimension"}, **kind, **{path: value}), ())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", -1),
        ("seed", 2**32),
        ("seed", True),
        ("num_seeds", 0),
        ("sweep", (1,)),
        ("sweep", "likelihood.sigma=1,2"),
        ("cell_width", 1),
        ("cell_width", 65),
        ("data.num_points", 1),
        ("data.num_points", 200.0),
        ("data.omega", math.inf),
        ("data.rdot", 0.0),
        ("data.noise_sigma", 0.0),
        ("data.noise_sigma", None),
        ("data.kind", "line"),
        ("posterior.kind", None),
        ("data.noise_sigma_x", 0.0),
        ("data.noise_sigma_y", "0.1"),
        ("data.noise_slope", -0.1),
        ("data.noise_angle", math.nan),
        ("data.t_law", "linear"),
        ("data.u_start", -0.01),
        ("data.u_stop", 1.01),
        ("data.design", None),
        ("model.latent_dim", 0),
        ("model.latent_dim", 3),
        ("model.encoder.hidden_layers", 0),
        ("model.decoder.hidden_dim", 10**9),
        ("likelihood.kind", "Fixed"),
        ("likelihood.sigma", 0.0),
        ("likelihood.sigma", math.nan),
        ("likelihood.sigma", "0.2"),
        ("likelihood.estimator", "mean"),
        ("likelihood.averaging", 0.0),
        ("likelihood.learning_rate", -1e-3),
        ("likelihood.kappa", 0.0),
        ("likelihood.kappa", -1.0),
        ("likelihood.kappa", math.inf),
        ("likelihood.geco_rate", 0.0),
        ("likelihood.geco_averaging", 1.0),
        ("likelihood.stabiliser", None),
        ("likelihood.beta_nll", 1.1),
        ("likelihood.warmup", -0.1),
        ("likelihood.floor", -1e-3),
        ("likelihood.weight_decay", -1e-3),
        ("objective.kind", "vi"),
        ("objective.beta", -1.0),
        ("objective.beta", math.inf),
        ("objective.num_samples", 0),
        ("objective.kl_warmup", 0.91),
        ("optimizer.decoder_learning_rate", -1e-3),
        ("optimizer.decoder_weight_decay", -1e-3),
        ("optimizer.decay_factor", 0.0),
        ("optimizer.decay_factor", 1.5),
        ("optimizer.warmup", math.nan),
        ("train.num_epochs", 2**31),
        ("train.shuffle", 1),
        ("train.log_every", 0),
        ("evaluate.every", 1.5),
        ("checkpoint.every", -1),
        ("checkpoint.every", 0.5),
        ("checkpoint.keep", 0),
    ],
)
def test_a_wrong_value_is_named_with_its_field(path, value):
    with pytest.raises(ConfigError) as error:
        expand(make(**{path: value}), ())
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{path}: found {value!r}, must be ")


@pytest.mark.parametrize(
    "overrides",
    [
        {"data.u_start": 0.5, "data.u_stop": 0.5},
        {"train.batch_size": 201},
        {"seed": 2**32 - 1, "num_seeds": 2},
    ],
)
def test_what_fields_must_keep_together_is_told_with_all_of_them(overrides):
    with pytest.raises(ConfigError) as error:
        expand(make(**overrides), ())
    (line,) = str(error.value).splitlines()
    for path, value in overrides.items():
        assert f"{path}={value}" in line


@pytest.mark.parametrize(
    ("kind", "path", "value", "wanted"),
    [
        (
            "closed_form",
            "likelihood.estimator",
            "learned",
            "must be 'full_data' or 'batch' or 'moving_average'",
        ),
        ("per_dimension", "likelihood.stabiliser", "beta_nll", "must be 'none' or 'warmup'"),
        ("full_covariance", "likelihood.stabiliser", "student_t", "must be 'none' or 'warmup'"),
        ("learned", "likelihood.kappa", 0.1, "but nothing here uses it; "),
        ("geco", "likelihood.stabiliser", "faithful", "but nothing here uses it; "),
        ("closed_form", "likelihood.stabiliser", "warmup", "but nothing here uses it; "),
        ("fixed", "likelihood.floor", 0.01, "but nothing here uses it; "),
        ("fixed", "likelihood.weight_decay", 0.1, "but nothing here uses it; "),
    ],
)
def test_what_a_kind_has_no_use_for_is_refused(kind, path, value, wanted):
    with pytest.raises(ConfigError) as error:
        expand(make(**{"likelihood.kind": kind, path: value}), ())
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{path}: found {value!r}, {wanted}")


@pytest.mark.parametrize("rdot", [1.5, -1.5])
@pytest.mark.parametrize("floor", [1.5, 2.0])
def test_a_floor_as_wide_as_the_data_is_refused(floor, rdot):
    own = {"likelihood.kind": "heteroscedastic", "likelihood.floor": floor, "data.rdot": rdot}
    with pytest.raises(ConfigError) as error:
        expand(make(**own), ())
    (line,) = str(error.value).splitlines()
    assert "likelihood.floor must be <" in line
    assert line.endswith(f"found likelihood.floor={floor}, data.rdot={rdot}")


@pytest.mark.parametrize(
    "overrides",
    [
        {"likelihood.kind": "full_covariance", "likelihood.estimator": "learned"},
        {"likelihood.kind": "geco", "likelihood.kappa": 0.1},
        {"likelihood.kind": "per_dimension", "likelihood.stabiliser": "warmup"},
        {
            "likelihood.kind": "full_covariance",
            "likelihood.estimator": "learned",
            "likelihood.stabiliser": "warmup",
        },
        {
            "likelihood.kind": "heteroscedastic",
            "likelihood.stabiliser": "beta_nll",
            "likelihood.floor": 1.4,
            "likelihood.weight_decay": 0.1,
            "data.rdot": -1.5,
        },
    ],
)
def test_kinds_take_what_is_theirs(overrides):
    expand(make(**overrides), ())


def test_all_problems_are_listed():
    config = make(**{"seed": -1, "likelihood.sigma": 0.0, "train.batch_size": 300})
    config.likelihood.sgima = 0.1  # a variant's typo, which an unlocked ConfigDict takes
    del config.objective.beta
    with pytest.raises(ConfigError) as error:
        expand(config, ())
    lines = str(error.value).splitlines()
    assert len(lines) == 5
    for start in ("seed: ", "likelihood.sigma: ", "objective.beta: missing", "train.batch_size"):
        assert any(line.startswith(start) for line in lines), start
    assert "likelihood.sgima: no such field; did you mean likelihood.sigma?" in lines


# Fields that may be empty

OPTIONAL = ("data.noise_sigma_x", "data.noise_sigma_y", "likelihood.kappa")
GECO = {"likelihood.kind": "geco"}  # the kind that takes a kappa


@pytest.mark.parametrize("path", OPTIONAL)
def test_an_optional_field_is_empty_until_it_is_set(path):
    config = base.get_config()
    assert get(config, path) is None
    restored = from_json(to_json(config))
    assert get(restored, path) is None and restored == config
    for empty in (config, restored):  # both with ConfigDict's own type checks
        with pytest.raises(TypeError):
            empty.update_from_flattened_dict({path: "wide"})
        empty.update_from_flattened_dict({path: 0.3, **GECO})
        expand(empty, ())
    again = from_json(to_json(config))
    assert get(again, path) == 0.3 and again == config == restored


@pytest.mark.parametrize("path", OPTIONAL)
def test_an_optional_field_can_be_swept(path):
    axes, rows = expand(make(**GECO), [f"{path}=1,0.5", "data.omega=1,2"])
    assert axes[0].values == (1.0, 0.5) and type(axes[0].values[0]) is float
    assert [row[path] for row in rows] == [1.0, 1.0, 0.5, 0.5]
    assert get(with_values(base.get_config(), rows[2]), path) == 0.5
    assert parse_axis(f"{path}=lin(1,2,3)", base.get_config()).values == (1.0, 1.5, 2.0)
    with pytest.raises(ConfigError, match=f"{path}: 'wide' is not a number"):
        parse_axis(f"{path}=1,wide", base.get_config())
    with pytest.raises(ConfigError, match=f"lane {path}=-1.0: {path}: found -1.0"):
        expand(make(**GECO), [f"{path}=1,-1"])


def test_with_values_is_a_copy():
    config = base.get_config().lock()
    lane = with_values(config, {"seed": 3, "likelihood.sigma": 1.5})
    assert (lane.seed, lane.likelihood.sigma) == (3, 1.5)
    assert config == base.get_config().lock()


# fields that a config lacks


def test_a_config_gets_the_fields_that_it_lacks_at_their_defaults():
    config = ConfigDict({"seed": 3, "likelihood": {"kind": "geco"}})
    complete(config)
    found = flatten(config)
    wanted = {path: own.fields[0].default for path, own in fields.declared(*ROOTS).items()}
    assert found == wanted | {"seed": 3, "likelihood.kind": "geco"}
    expand(config, ())


def test_a_whole_config_stays_as_it_is():
    config = make(**{"likelihood.kind": "geco", "likelihood.kappa": 0.3}).lock()
    before = config.to_dict()
    complete(config)
    assert config.to_dict() == before and config.is_locked


@pytest.mark.parametrize("empty", [{}, {"likelihood": {"kappa": None}}], ids=["lacking", "empty"])
def test_a_field_without_a_value_gets_its_type(empty):
    config = ConfigDict(empty)
    complete(config)
    assert config.likelihood.kappa is None
    with pytest.raises(TypeError):
        config.likelihood.kappa = "wide"
    config.likelihood.kappa = 0.5


def test_a_section_that_is_a_value_is_told_by_the_rules():
    config = ConfigDict({"likelihood": 3})
    complete(config)
    with pytest.raises(ConfigError, match="likelihood: no such field"):
        expand(config, ())


def test_a_field_s_type_is_the_declared_one():
    found = flatten(make(**{"likelihood.sigma": 1}))  # an int where a number belongs
    assert type_of("likelihood.sigma", found) is float
    assert type_of("likelihood.kappa", found) is float
    assert parse("likelihood.sigma", "2", float) == 2.0
    with pytest.raises(ConfigError, match="data.nose: no such field"):
        type_of("data.nose", found)
