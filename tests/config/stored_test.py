"""Configs come back from disk as they were, and a run goes on with what changes no result."""

import hashlib
import json

import jax
import pytest

from spiral_vae import fields
from spiral_vae.config import sources
from spiral_vae.config.settings import ROOTS
from spiral_vae.config.stored import check_resume, from_json, to_json
from spiral_vae.config.values import ConfigError, flatten
from spiral_vae.configs import base
from tests.config.made import MINE, forgetting, get, make


def test_a_config_that_its_sweep_repairs_comes_back_from_disk():
    sweep = ("likelihood.kind=heteroscedastic",)
    config = make(**{"sweep": sweep, "likelihood.stabiliser": "student_t"})
    assert from_json(to_json(config)) == config
    with pytest.raises(ConfigError, match="likelihood.stabiliser: found 'student_t', but nothing"):
        from_json(to_json(make(**{"likelihood.stabiliser": "student_t"})))


def test_json_round_trip_keeps_values_and_types():
    config = make(**{"sweep": ("likelihood.sigma=1,2",), "likelihood.sigma": 0.1 + 0.2})
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
        (_changed(sweep=None), "sweep: found None, must be a tuple of strings"),
        (_changed(sweep="a=1"), "sweep: found 'a=1', must be a tuple of strings"),
        (_changed(sweep=[1]), "sweep: found (1,), must be a tuple of strings"),
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


@pytest.mark.parametrize(
    "paths",
    [
        ("data.kind", "posterior.kind"),  # fields that older runs don't have
        ("seed",),
        ("sweep",),
        ("likelihood.kappa",),
        ("evaluate.every", "checkpoint.every"),
    ],
)
def test_a_field_that_is_missing_gets_its_default(paths):
    restored = from_json(_changed(**{path: ... for path in paths}))
    assert flatten(restored) == flatten(base.get_config())


def test_a_section_that_is_missing_gets_its_defaults():
    assert from_json(_changed(posterior=...)) == base.get_config()
    assert from_json("{}") == base.get_config()


def test_a_config_of_before_the_kinds_of_data_and_posterior_comes_back():
    text = _changed(**{"data.kind": ..., "posterior": ..., "likelihood.kind": "geco"})
    restored = from_json(text)
    assert restored == make(**{"likelihood.kind": "geco"})
    check_resume(restored, make(**{"likelihood.kind": "geco"}))


# a user's file

AVERAGE = """\
import dataclasses

from spiral_vae.fields import kind
from spiral_vae.model.likelihood.estimator import Batch


@kind("estimator", "own")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Own(Batch):
    pass
"""


def test_a_user_s_file_is_recorded_by_its_content(mine):
    text = to_json(sources.load("mine.py"))
    digest = hashlib.sha256(MINE.encode()).hexdigest()
    assert json.loads(text)["files"] == {str(mine.resolve()): digest}


def test_a_file_whose_kinds_are_not_used_is_not_recorded(mine):
    config = sources.load("mine.py")
    config.likelihood.kind = "geco"
    assert "files" not in json.loads(to_json(config))
    assert "files" not in json.loads(to_json(base.get_config()))


@pytest.mark.parametrize(
    "sweep",
    [
        ("likelihood.estimator=own,batch",),
        ("likelihood.kind=closed_form,per_dimension", "likelihood.estimator=batch,own"),
        ("likelihood.sigma=1,2", "likelihood.estimator=own", "likelihood.kind=closed_form"),
    ],
)
def test_a_file_whose_kinds_a_sweep_names_is_recorded(mine, sweep):
    mine.write_text(AVERAGE)
    sources.load_file(mine)
    kind = "fixed" if any("kind" in axis for axis in sweep) else "per_dimension"
    text = to_json(make(**{"sweep": sweep, "likelihood.kind": kind}))
    assert list(json.loads(text)["files"]) == [str(mine.resolve())]


def test_a_config_of_a_user_s_kind_comes_back_where_the_kind_is_not_known(mine):
    with forgetting():
        config = sources.load("mine.py")
        config.likelihood.own = 2.5
        text = to_json(config)
    with pytest.raises(ConfigError, match="likelihood.kind: found 'mine'"):
        from_json(json.dumps({n: v for n, v in json.loads(text).items() if n != "files"}))
    restored = from_json(text)
    assert restored == config and restored.likelihood.own == 2.5
    assert to_json(restored) == text
    check_resume(restored, config)


def test_a_user_s_file_is_recorded_as_it_was_loaded(mine):
    """And not as it has become by the time that the run begins."""
    config = sources.load("mine.py")
    mine.write_text(MINE.replace("1.5", "2.5"))
    files = json.loads(to_json(config))["files"]
    assert files == {str(mine.resolve()): hashlib.sha256(MINE.encode()).hexdigest()}


def test_a_config_comes_back_with_the_kind_of_its_file_not_of_a_later_one(mine):
    text = to_json(sources.load("mine.py"))
    mine.write_text(MINE.replace("1.5", "2.5"))
    sources.load("mine.py")
    mine.write_text(MINE)
    from_json(text)
    (own,) = fields.declared(*ROOTS)["likelihood.own"].fields
    assert own.default == 1.5


@pytest.mark.parametrize("known", [True, False])
def test_a_run_does_not_go_on_with_another_file(mine, known):
    with forgetting():
        text = to_json(sources.load("mine.py"))
    if known:
        sources.load("mine.py")
    path = mine.resolve()
    mine.write_text(MINE + "\n")
    with pytest.raises(ConfigError) as error:
        from_json(text)
    assert str(error.value) == f"{path}: has changed since the run began, which uses its kinds"
    mine.unlink()
    with pytest.raises(ConfigError) as error:
        from_json(text)
    assert str(error.value) == f"{path}: is not there any more, and the run uses its kinds"


@pytest.mark.parametrize(("said", "may"), [("", False), ("    of_length = False\n", True)])
def test_a_run_of_a_user_s_kind_may_grow_if_the_kind_says_so(mine, said, may):
    mine.write_text(MINE.replace("class Mine(Fixed):\n", "class Mine(Fixed):\n" + said))
    old, new = sources.load("mine.py"), sources.load("mine.py")
    new.train.num_epochs += 1
    if may:
        check_resume(old, new)
    else:
        with pytest.raises(ConfigError, match="train.num_epochs: found 20001, must be 20000"):
            check_resume(old, new)


# resuming


def _pair(stored, given):
    """Returns the config that a run stored and the one that is given to go on."""
    return from_json(to_json(make(**stored))), make(**stored | given)


WARMUP = {"likelihood.kind": "heteroscedastic", "likelihood.stabiliser": "warmup"}


@pytest.mark.parametrize(
    ("stored", "given"),
    [
        ({}, {}),
        ({"sweep": ("likelihood.sigma=1,2",), "data.noise_sigma_x": 0.1}, {}),
        ({}, {"checkpoint.every": 3, "checkpoint.keep": 7}),
        ({"train.num_epochs": 10}, {"train.num_epochs": 11}),
        ({"train.num_epochs": 10, "optimizer.schedule": "step"}, {"train.num_epochs": 20}),
        (
            {"train.num_epochs": 10, "sweep": ("likelihood.kind=closed_form,learned",)},
            {"train.num_epochs": 20},
        ),
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
        ({"optimizer.schedule": "step"}, {"optimizer.decay_factor": 0.25}),
        ({}, {"train.num_epochs": 9}),
    ],
)
def test_a_run_may_not_go_on_with_what_changes_results(stored, given):
    own = {"optimizer.schedule": "constant", "train.num_epochs": 10}
    ((path, value),) = given.items()
    old, new = _pair(own | stored, given)
    with pytest.raises(ConfigError) as error:
        check_resume(old, new)
    wanted = f"{path}: found {value!r}, must be {get(old, path)!r} as in the run that goes on"
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
