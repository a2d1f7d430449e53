"""Axes are read as they were meant, and rows are what was asked."""

import pytest

from spiral_vae.config.axes import expand, parse_axis
from spiral_vae.config.values import ConfigError
from spiral_vae.configs import base
from tests.config.made import make


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
        ("likelihood.kind=fixed,geco", ("fixed", "geco")),
        ("likelihood.kappa=none,0.2", (None, 0.2)),
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
        ("learning_rate=1", "did you mean dynamics.learning_rate or likelihood.learning_rate?"),
        ("coder_learning_rate=1", "optimizer.decoder_learning_rate"),
        ("xyzzy=1", "configs/base.py"),
        ("likelihood=1", "likelihood: a section, not a field; it has likelihood.anneal, "),
        ("likelihood.sigma=", "no values"),
        ("likelihood.sigma=1,,2", "'' is not a number"),
        ("data.t_law=sqrt,", "empty"),
        ("likelihood.sigma=a", "likelihood.sigma: 'a' is not a number"),
        ("likelihood.sigma=none", "likelihood.sigma: 'none' is not a number"),
        ("likelihood.kappa=a", "likelihood.kappa: 'a' is not a number or none"),
        ("likelihood.kappa=none,None", "None is more than once"),
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
        ("train.log_every=1,2", "can't be swept"),
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


def test_rows_are_the_product_with_seeds_fastest():
    sweep = ["likelihood.sigma=0.1,0.2", "train.batch_size=100,50"]
    axes, rows = expand(make(seed=7, num_seeds=2), sweep)
    assert [axis.path for axis in axes] == ["likelihood.sigma", "train.batch_size"]
    assert rows == [
        {"seed": seed, "likelihood.sigma": sigma, "train.batch_size": batch_size}
        for sigma in (0.1, 0.2)
        for batch_size in (100, 50)
        for seed in (7, 8)
    ]


def test_without_axes_the_rows_are_the_seeds():
    assert expand(make(num_seeds=3), ()) == ([], [{"seed": 0}, {"seed": 1}, {"seed": 2}])


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
        expand(make(**overrides), sweep)
    assert message in str(error.value)
    assert str(error.value).startswith(message.split(":")[0]) or "at most" in message


def test_what_is_no_field_of_the_package_can_t_be_swept():
    config = make()
    with config.unlocked():
        config.foo = 1
    with pytest.raises(ConfigError, match="^foo: "):
        parse_axis("foo=1,2", config)


def test_a_sweep_may_repair_the_config_it_starts_from():
    _, rows = expand(make(**{"train.batch_size": 300}), ["data.num_points=300,400"])
    assert len(rows) == 2


def test_a_sweep_may_have_thousands_of_lanes():
    _, rows = expand(make(num_seeds=4), ["likelihood.sigma=log(0.01,1,1024)"])
    assert len(rows) == 4096
