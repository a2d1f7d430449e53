"""Every mistake of the user's ends in a sentence that names it, and lanes are what was asked."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import ml_collections
import pytest
from absl import flags
from ml_collections import config_flags

from configs import base
from spiral_vae.config import command_line as config_lib
from spiral_vae.config.command_line import (
    ConfigError,
    check_resume,
    expand,
    from_json,
    lane_config,
    parse_axis,
    to_json,
)

ROOT = Path(__file__).resolve().parents[2]

# ml_collections loads config files by a deprecated method.
pytestmark = pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")


def _config(**overrides):
    """The default config with fields set past ConfigDict's own type checks."""
    config = base.get_config()
    with config.ignore_type():
        config.update_from_flattened_dict(overrides)
    return config


# validate


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
        ("likelihood.averaging", 1.0),
        ("likelihood.learning_rate", 0.0),
        ("objective.kind", "iwae"),
        ("objective.beta", 0.0),
        ("objective.kl_warmup", 0.9),
        ("optimizer.encoder_learning_rate", 0.0),
        ("optimizer.decay_factor", 1.0),
        ("optimizer.schedule", "cosine"),
        ("train.batch_size", 200),
        ("train.log_every", 10**6),
        ("evaluate.every", 0.0),
        ("evaluate.every", 1.0),
        ("checkpoint.every", 0),
        ("checkpoint.keep", 1),
    ],
)
def test_validate_accepts(path, value):
    expand(_config(**{path: value}), ())


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
def test_validate_names_field_and_value(path, value):
    with pytest.raises(ConfigError) as error:
        expand(_config(**{path: value}), ())
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{path}: found {value!r}, must be ")


@pytest.mark.parametrize(
    "overrides",
    [
        {"data.u_start": 0.5, "data.u_stop": 0.5},
        {"train.batch_size": 201},
        {"seed": 2**32 - 1, "num_seeds": 2},
        {"likelihood.kind": "closed_form", "likelihood.estimator": "learned"},
        {"likelihood.kind": "learned", "likelihood.kappa": 0.1},
        {"likelihood.kind": "geco", "likelihood.stabiliser": "faithful"},
        {"likelihood.kind": "closed_form", "likelihood.stabiliser": "warmup"},
        {"likelihood.kind": "per_dimension", "likelihood.stabiliser": "beta_nll"},
        {"likelihood.kind": "full_covariance", "likelihood.stabiliser": "student_t"},
        {"likelihood.kind": "fixed", "likelihood.floor": 0.01},
        {"likelihood.kind": "fixed", "likelihood.weight_decay": 0.1},
    ],
)
def test_validate_refuses_combinations(overrides):
    with pytest.raises(ConfigError) as error:
        expand(_config(**overrides), ())
    (line,) = str(error.value).splitlines()
    for path, value in overrides.items():
        assert f"{path}={value}" in line


@pytest.mark.parametrize("rdot", [1.5, -1.5])
@pytest.mark.parametrize("floor", [1.5, 2.0])
def test_validate_refuses_a_floor_as_wide_as_the_data(floor, rdot):
    own = {"likelihood.kind": "heteroscedastic", "likelihood.floor": floor, "data.rdot": rdot}
    with pytest.raises(ConfigError) as error:
        expand(_config(**own), ())
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
def test_validate_accepts_combinations(overrides):
    expand(_config(**overrides), ())


def test_validate_lists_all_problems():
    config = _config(**{"seed": -1, "likelihood.sigma": 0.0, "train.batch_size": 300})
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


def _get(config, path):
    for name in path.split("."):
        config = config[name]
    return config


@pytest.mark.parametrize("path", OPTIONAL)
def test_an_optional_field_is_empty_until_it_is_set(path):
    config = base.get_config()
    assert _get(config, path) is None
    restored = from_json(to_json(config))
    assert _get(restored, path) is None and restored == config
    for empty in (config, restored):  # both with ConfigDict's own type checks
        with pytest.raises(TypeError):
            empty.update_from_flattened_dict({path: "wide"})
        empty.update_from_flattened_dict({path: 0.3, **GECO})
        expand(empty, ())
    again = from_json(to_json(config))
    assert _get(again, path) == 0.3 and again == config == restored


@pytest.mark.parametrize("path", OPTIONAL)
def test_an_optional_field_can_be_swept(path):
    axes, lanes = expand(_config(**GECO), [f"{path}=1,0.5", "data.omega=1,2"])
    assert axes[0].values == (1.0, 0.5) and type(axes[0].values[0]) is float
    assert [lane[path] for lane in lanes] == [1.0, 1.0, 0.5, 0.5]
    assert _get(lane_config(base.get_config(), lanes[2]), path) == 0.5
    assert parse_axis(f"{path}=lin(1,2,3)", base.get_config()).values == (1.0, 1.5, 2.0)
    with pytest.raises(ConfigError, match=f"{path}: 'wide' is not a number"):
        parse_axis(f"{path}=1,wide", base.get_config())
    with pytest.raises(ConfigError, match=f"lane {path}=-1.0: {path}: found -1.0"):
        expand(_config(**GECO), [f"{path}=1,-1"])


# axes and lanes


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("likelihood.sigma=0.0001,0.2,2.0", (0.0001, 0.2, 2.0)),
        (" likelihood.sigma = 1, 2 ", (1.0, 2.0)),
        ("likelihood.sigma=log(0.001,1,4)", (0.001, 0.01, 0.1, 1.0)),
        ("likelihood.sigma=log(1,0.01,3)", (1.0, 0.1, 0.01)),
        ("objective.beta=lin(0,0.3,4)", (0.0, 0.1, 0.2, 0.3)),
        ("objective.beta=lin(0.5,2,1)", (0.5,)),
        ("data.omega=lin(-1e308,1e308,3)", (-1e308, 0.0, 1e308)),
        ("model.encoder.hidden_dim=log(8,128,5)", (8, 16, 32, 64, 128)),
        ("data.num_points=lin(100,300,3)", (100, 200, 300)),
        ("train.shuffle=true,false", (True, False)),
        ("data.t_law=sqrt,uniform", ("sqrt", "uniform")),
    ],
)
def test_parse_axis(text, values):
    axis = parse_axis(text, base.get_config())
    assert axis.path == text.partition("=")[0].strip()
    assert axis.values == values
    assert [type(v) for v in axis.values] == [type(v) for v in values]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("likelihood.sigma", "FIELD=VALUE"),
        ("sgima=1", "did you mean likelihood.sigma?"),
        ("config.likelihood.sigma=1", "did you mean likelihood.sigma"),
        ("learning_rate=1", "did you mean likelihood.learning_rate?"),
        ("coder_learning_rate=1", "optimizer.decoder_learning_rate"),
        ("xyzzy=1", "configs/base.py"),
        ("likelihood=1", "likelihood: a section, not a field; it has likelihood.averaging, "),
        ("likelihood.sigma=", "no values"),
        ("likelihood.sigma=1,,2", "'' is not a number"),
        ("data.t_law=sqrt,", "empty"),
        ("likelihood.sigma=a", "likelihood.sigma: 'a' is not a number"),
        ("train.num_epochs=1e3", "train.num_epochs: '1e3' is not an integer"),
        ("train.shuffle=maybe", "train.shuffle: 'maybe' is not true or false"),
        ("likelihood.sigma=nan", "nan can't be swept, must be finite"),
        ("likelihood.sigma=0.1,0.10", "0.1 is more than once"),
        ("likelihood.sigma=lin(1,1,2)", "more than once"),
        ("likelihood.sigma=lin(1,2,0)", "N = 0"),
        ("likelihood.sigma=lin(1,2,10000000000)", "N = 10000000000"),
        ("likelihood.sigma=lin(1,2)", "lin(LO,HI,N)"),
        ("likelihood.sigma=lin(1,inf,3)", "finite"),
        ("likelihood.sigma=log(0,1,3)", "> 0"),
        ("data.num_points=lin(100,201,3)", "150.5, which is not an integer"),
        ("data.t_law=lin(1,2,2)", "a number"),
        ("seed=1,2", "config.num_seeds"),
        ("num_seeds=1,2", "config.num_seeds"),
        ("cell_width=2,4", "can't be swept"),
        ("sweep=a", "--sweep"),
        ("evaluate.every=0.1,0.2", "can't be swept"),
        ("checkpoint.every=1,2", "can't be swept"),
        ("checkpoint.keep=1,2", "can't be swept"),
    ],
)
def test_parse_axis_refuses(text, words):
    with pytest.raises(ConfigError) as error:
        parse_axis(text, base.get_config())
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_lanes_are_the_product_with_seeds_fastest():
    sweep = ["likelihood.sigma=0.1,0.2", "train.batch_size=100,50"]
    axes, lanes = expand(_config(seed=7, num_seeds=2), sweep)
    assert [axis.path for axis in axes] == ["likelihood.sigma", "train.batch_size"]
    assert lanes == [
        {"seed": seed, "likelihood.sigma": sigma, "train.batch_size": batch_size}
        for sigma in (0.1, 0.2)
        for batch_size in (100, 50)
        for seed in (7, 8)
    ]


def test_without_axes_the_lanes_are_the_seeds():
    assert expand(_config(num_seeds=3), ()) == ([], [{"seed": 0}, {"seed": 1}, {"seed": 2}])


@pytest.mark.parametrize(
    ("overrides", "sweep", "message"),
    [
        ({}, ["likelihood.sigma=1", "likelihood.sigma=2"], "likelihood.sigma: swept twice"),
        ({}, ["likelihood.sigma=1,-1"], "lane likelihood.sigma=-1.0: likelihood.sigma: found -1.0"),
        (
            {},
            ["objective.beta=0,1", "train.batch_size=100,300"],
            "lane objective.beta=0.0, train.batch_size=300: train.batch_size must be <=",
        ),
        ({"seed": -1}, ["objective.beta=0,1"], "seed: found -1"),  # no fault of a lane's
        ({"num_seeds": 2**12}, ["objective.beta=lin(0,1,257)"], "lanes, must have at most"),
        ({"num_seeds": "many"}, ["objective.beta=0,1"], "num_seeds: found 'many'"),
    ],
)
def test_expand_refuses(overrides, sweep, message):
    with pytest.raises(ConfigError) as error:
        expand(_config(**overrides), sweep)
    assert message in str(error.value)
    assert str(error.value).startswith(message.split(":")[0]) or "at most" in message


def test_a_sweep_may_repair_the_config_it_starts_from():
    _, lanes = expand(_config(**{"train.batch_size": 300}), ["data.num_points=300,400"])
    assert len(lanes) == 2


def test_a_sweep_may_have_thousands_of_lanes():
    _, lanes = expand(_config(num_seeds=4), ["likelihood.sigma=log(0.01,1,1024)"])
    assert len(lanes) == 4096


def test_lane_config_is_a_copy_with_the_values_set():
    config = base.get_config().lock()
    lane = lane_config(config, {"seed": 3, "likelihood.sigma": 1.5})
    assert (lane.seed, lane.likelihood.sigma) == (3, 1.5)
    assert config == base.get_config().lock()


# to and from disk


def test_a_config_that_its_sweep_repairs_comes_back_from_disk():
    sweep = ("likelihood.kind=heteroscedastic",)
    config = _config(**{"sweep": sweep, "likelihood.stabiliser": "student_t"})
    assert from_json(to_json(config)) == config
    with pytest.raises(ConfigError, match="likelihood.stabiliser must be"):
        from_json(to_json(_config(**{"likelihood.stabiliser": "student_t"})))


def test_json_round_trip_keeps_values_and_types():
    config = _config(**{"sweep": ("likelihood.sigma=1,2",), "likelihood.sigma": 0.1 + 0.2})
    restored = from_json(to_json(config))
    assert restored == config
    assert isinstance(restored.sweep, tuple)
    types = jax.tree.map(type, config.to_dict())
    assert jax.tree.map(type, restored.to_dict()) == types


def _changed(**overrides):
    """Returns the JSON of the default config with fields set, or taken out by `...`."""
    stored = json.loads(to_json(base.get_config()))
    for path, value in overrides.items():
        *sections, name = path.split(".")
        section = stored
        for part in sections:
            section = section[part]
        section[name] = value
        if value is ...:
            del section[name]
    return json.dumps(stored)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the stored config can't be read: "),
        (_changed()[:-2], "the stored config can't be read: "),
        ("[1]", "the stored config can't be read: "),
        ("null", "the stored config can't be read: found None, must be an object"),
        (_changed(sweep=...), "sweep: missing, must be a tuple of strings"),
        (_changed(sweep=None), "sweep: found None, must be a tuple of strings"),
        (_changed(sweep="a=1"), "sweep: found 'a=1', must be a tuple of strings"),
        (_changed(sweep=[1]), "sweep: found (1,), must be a tuple of strings"),
        (_changed(seed=...), "seed: missing, must be "),
        (_changed(seed="1"), "seed: found '1', must be "),
        (_changed(**{"checkpoint.keep": 0}), "checkpoint.keep: found 0, must be "),
        (_changed(**{"likelihood.kappa": "1"}), "likelihood.kappa: found '1', must be "),
        (_changed(**{"likelihood.sgima": 1.0}), "did you mean likelihood.sigma?"),
    ],
)
def test_from_json_refuses(text, words):
    with pytest.raises(ConfigError) as error:
        from_json(text)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


# resuming


def _pair(stored, given):
    """Returns the config that a run stored and the one that is given to go on."""
    return from_json(to_json(_config(**stored))), _config(**stored | given)


WARMUP = {"likelihood.kind": "heteroscedastic", "likelihood.stabiliser": "warmup"}


@pytest.mark.parametrize(
    ("stored", "given"),
    [
        ({}, {}),
        ({"sweep": ("likelihood.sigma=1,2",), "data.noise_sigma_x": 0.1}, {}),
        ({}, {"checkpoint.every": 3, "checkpoint.keep": 7}),
        ({"train.num_epochs": 10}, {"train.num_epochs": 11}),
        ({"train.num_epochs": 10, "optimizer.schedule": "step"}, {"train.num_epochs": 20}),
        # the length of a warm-up that there is none of
        ({"train.num_epochs": 10, "likelihood.warmup": 0.3}, {"train.num_epochs": 20}),
        ({"train.num_epochs": 10, "sweep": ("objective.beta=1,2",)}, {"train.num_epochs": 20}),
    ],
)
def test_a_run_may_go_on_with_what_changes_no_result(stored, given):
    """All schedules here are constant or in epochs: longer training begins with the shorter."""
    check_resume(*_pair({"optimizer.schedule": "constant"} | stored, given))


@pytest.mark.parametrize(
    ("stored", "given"),
    [
        ({}, {"seed": 1}),
        ({}, {"num_seeds": 2}),
        ({}, {"cell_width": 7}),
        ({}, {"sweep": ("likelihood.sigma=1,2",)}),
        ({}, {"data.noise_sigma_x": 0.1}),
        ({"likelihood.kind": "geco", "likelihood.kappa": 0.1}, {"likelihood.kappa": None}),
        ({}, {"train.log_every": 5}),
        ({}, {"evaluate.every": 0.5}),
        ({}, {"optimizer.decay_factor": 0.25}),
        ({}, {"train.num_epochs": 9}),
    ],
)
def test_a_run_may_not_go_on_with_what_changes_results(stored, given):
    own = {"optimizer.schedule": "constant", "train.num_epochs": 10}
    ((path, value),) = given.items()
    old, new = _pair(own | stored, given)
    with pytest.raises(ConfigError) as error:
        check_resume(old, new)
    wanted = f"{path}: found {value!r}, must be {_get(old, path)!r} as in the run that goes on"
    assert str(error.value) == wanted


@pytest.mark.parametrize(
    "stored",
    [
        {"optimizer.schedule": "cosine"},
        {"objective.kl_warmup": 0.1},
        WARMUP,
        {"likelihood.kind": "per_dimension", "likelihood.stabiliser": "warmup"},
        {"sweep": ("optimizer.schedule=constant,cosine",)},
        {"sweep": ("objective.beta=1,2", " objective.kl_warmup = 0,0.1")},
        {"likelihood.kind": "heteroscedastic", "sweep": ("likelihood.stabiliser=none,warmup",)},
        {"sweep": ("train.num_epochs=10,20",)},
    ],
    ids=str,
)
def test_a_run_that_depends_on_its_length_may_not_grow(stored):
    """Also not if that is so in some lanes of its sweep alone."""
    own = {"optimizer.schedule": "constant", "train.num_epochs": 10}
    old, new = _pair(own | stored, {"train.num_epochs": 20})
    with pytest.raises(ConfigError, match="train.num_epochs: found 20, must be 10"):
        check_resume(old, new)


def test_all_that_differs_is_listed():
    given = {"seed": 1, "checkpoint.keep": 5, "data.omega": 1.0}
    with pytest.raises(ConfigError) as error:
        check_resume(*_pair({}, given))
    lines = str(error.value).splitlines()
    assert sorted(line.split(":")[0] for line in lines) == ["data.omega", "seed"]


# the command line


@pytest.fixture
def command_line(tmp_path, monkeypatch):
    """Returns a function that parses arguments afresh and returns the config."""
    monkeypatch.chdir(tmp_path)
    files = {
        "good.py": "from configs import base\n\n\ndef get_config(seed='0'):\n"
        "    config = base.get_config()\n    config.seed = int(seed)\n    return config\n",
        "raises.py": "def get_config():\n    return undefined\n",
        "lacks.py": "seed = 0\n",
        "broken.py": "def get_config(:\n",
        "dict.py": "def get_config():\n    return {'seed': 0}\n",
        "opens.py": "def get_config():\n    open('nothing_here')\n",
    }
    for name, text in files.items():
        Path(name).write_text(text)
    for name, seed in (("run", 5), ("other", 6)):
        Path(name).mkdir()
        Path(name, "config.json").write_text(to_json(_config(seed=seed)))
    Path("damaged").mkdir()
    Path("damaged", "config.json").write_text("{")

    def parse(*args):
        argv = ["main.py", *args]
        values = flags.FlagValues()
        config_flags.DEFINE_config_file("config", None, flag_values=values, sys_argv=argv)
        flags.DEFINE_string("workdir", None, "", flag_values=values)
        flags.DEFINE_bool("resume", False, "", flag_values=values)
        flags.DEFINE_bool("debug_nans", False, "", flag_values=values)
        assert config_lib.parse_flags(argv, values) == ["main.py"]
        return values.config

    return parse


@pytest.mark.parametrize(
    ("args", "path", "value"),
    [
        ([], "likelihood.sigma", 0.2),
        (["--config.likelihood.sigma=1"], "likelihood.sigma", 1.0),
        (["-config.likelihood.sigma", "-1e-3"], "likelihood.sigma", -1e-3),
        (["--config.seed=1", "--config.seed=2"], "seed", 2),
        (["--noconfig.train.shuffle"], "train.shuffle", False),
        (["--config.train.shuffle", "--workdir", "x"], "train.shuffle", True),
        (["--config.train.shuffle=false"], "train.shuffle", False),
        (["--config.likelihood.kappa=1"], "likelihood.kappa", 1.0),
        (["--config.data.noise_sigma_x", "0.3"], "data.noise_sigma_x", 0.3),
        (["--config.sweep=('seed=1,2',)"], "sweep", ("seed=1,2",)),
        (["--config=good.py:7"], "seed", 7),
        (["--workdir=x", "--config", "good.py:7", "--config.seed=8"], "seed", 8),
        (["--workdir=run"], "seed", 0),  # a mistake, but not one of flags
        (["--resume", "--workdir=run"], "seed", 5),
        (["--workdir", "run", "--resume"], "seed", 5),
        (["-resume=true", "-workdir=run"], "seed", 5),
        (["--resume", "--workdir=other", "--workdir=run"], "seed", 5),  # absl takes the last, too
        (["--resume", "--workdir=run", "--config.checkpoint.keep=9"], "checkpoint.keep", 9),
        (["--resume", "--workdir=run", "--config.likelihood.kappa=1"], "likelihood.kappa", 1.0),
        (["--resume", "--workdir=run", "--config=good.py:7"], "seed", 7),
        (["--resume", "--workdir=new", "--config=good.py:7"], "seed", 7),
        (["--noresume", "--workdir=run"], "seed", 0),
        (["--resume=false", "--workdir=run"], "seed", 0),
        (["--debug_nans", "--workdir=run"], "seed", 5),
        ([f"--config={ROOT}/configs/stored.py:run/config.json"], "seed", 5),
    ],
)
def test_parse_flags(command_line, args, path, value):
    found = _get(command_line(*args), path)
    assert found == value
    assert type(found) is type(value)


def test_the_config_is_locked(command_line):
    config = command_line()
    assert isinstance(config, ml_collections.ConfigDict)
    with pytest.raises(AttributeError):
        config.sgima = 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--config.sgima=1"], "sgima: no such field; did you mean likelihood.sigma?"),
        (
            ["--config.model.hiden_dim=64"],
            "did you mean model.decoder.hidden_dim or model.encoder.hidden_dim?",
        ),
        (["--config.likelihood=3"], "likelihood: a section"),
        (["--config.model.encoder.hidden_dim=1.5"], "hidden_dim: '1.5' is not an integer"),
        (["--config.train.num_epochs=1e3"], "train.num_epochs: '1e3' is not an integer"),
        (["--config.likelihood.sigma", "abc"], "likelihood.sigma: 'abc' is not a number"),
        (["--config.likelihood.kappa=small"], "likelihood.kappa: 'small' is not a number"),
        (["--config.data.noise_sigma_x="], "data.noise_sigma_x: '' is not a number"),
        (["--config.train.shuffle=maybe"], "train.shuffle: 'maybe' is not true or false"),
        (["--config.seed="], "seed: '' is not an integer"),
        (["--config.seed"], "Missing value for flag --config.seed"),
        (["--config.sweep=likelihood.sigma=1,2"], "config.sweep"),
        (["--config"], "Missing value for flag --config"),
        (["--config="], "--config: found ''"),
        (["--config=nope.py"], "--config: there is no file 'nope.py'"),
        (["--config=."], "--config: there is no file '.'"),
        (["--config=raises.py"], "raises.py, line 2: NameError: name 'undefined'"),
        (["--config=lacks.py"], "lacks.py must define get_config()"),
        (["--config=dict.py"], "returns a ConfigDict"),
        (["--config=broken.py"], "broken.py: SyntaxError"),
        (["--config=opens.py"], "opens.py, line 2: FileNotFoundError"),
        (["--config=good.py:x"], "good.py, line 6: ValueError"),
        (["--config=good.py", "--config=good.py"], "more than once"),
        (["--config.seed=1", "--config=good.py"], "before the override of seed"),
        (["--cofig.seed=1"], "Unknown command line flag 'cofig.seed'"),
        (["--noconfig.likelihood.sigma"], "Unknown command line flag"),
        (["stray"], "'stray': not a flag"),
        (["--", "--config.typo=1"], "typo: no such field"),
        (["--resume"], "--resume, --debug_nans: need the --workdir of the run"),
        (["--debug_nans"], "--resume, --debug_nans: need the --workdir of the run"),
        (["--resume", "--workdir=none"], "no run in 'none'; to begin one there give --config"),
        (["--resume", "--workdir="], "no run in ''"),
        (["--resume", "--workdir=" + 300 * "x"], "no run in 'xxx"),  # longer than a name can be
        (["--config=" + 300 * "x"], "--config: "),
        (["--resume", "--workdir=damaged"], "the stored config can't be read"),
        (["--resume", "--workdir=run", "--config.sgima=1"], "did you mean likelihood.sigma?"),
        ([f"--config={ROOT}/configs/stored.py:none.json"], "FileNotFoundError"),
        ([f"--config={ROOT}/configs/stored.py"], "TypeError"),
    ],
)
def test_parse_flags_refuses_in_one_sentence(command_line, capsys, args, words):
    with pytest.raises(SystemExit) as stop:
        command_line(*args)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line


def test_help_and_errors_of_a_real_process():
    script = (
        "from absl import app\n"
        "from ml_collections import config_flags\n"
        "from spiral_vae.config import command_line as config\n"
        "config_flags.DEFINE_config_file('config', None, 'the config file')\n"
        "app.run(lambda argv: None, flags_parser=config.parse_flags)\n"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}

    def run(arg):
        command = [sys.executable, "-c", script, arg]
        return subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT)

    shown = run("--helpfull")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "the config file" in shown.stdout
    refused = run("--config.sgima=1")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "error: sgima: no such field; did you mean likelihood.sigma?\n"
