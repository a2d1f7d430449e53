"""Every mistake on the command line ends in a sentence that names it."""

import os
import subprocess
import sys
from pathlib import Path

import ml_collections
import pytest
from absl import flags

from spiral_vae.config import command_line as command_line_lib
from spiral_vae.config import sources
from spiral_vae.config.stored import to_json
from tests.config.made import get, make
from tests.conftest import ROOT

KAPPA = "likelihood.kappa"


@pytest.fixture
def command_line(tmp_path, monkeypatch):
    """Returns a function that parses arguments afresh and returns the config."""
    monkeypatch.chdir(tmp_path)
    files = {
        "good.py": "from spiral_vae.configs import base\n\n\ndef get_config(seed='0'):\n"
        "    config = base.get_config()\n    config.seed = int(seed)\n    return config\n",
        "full.py": "from spiral_vae.configs import base\n\n\ndef get_config():\n"
        "    config = base.get_config()\n    config.likelihood.kappa = 0.3\n    return config\n",
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
        Path(name, "config.json").write_text(to_json(make(seed=seed)))
    Path("damaged").mkdir()
    Path("damaged", "config.json").write_text("{")

    def parse(*args):
        argv = ["main.py", *args]
        values = flags.FlagValues()
        flags.DEFINE_string("workdir", None, "", flag_values=values)
        flags.DEFINE_bool("resume", False, "", flag_values=values)
        flags.DEFINE_bool("debug_nans", False, "", flag_values=values)
        assert command_line_lib.parse_flags(argv, values) == ["main.py"]
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
        (["--config.likelihood.kappa=0.3", "--config.likelihood.kappa=none"], KAPPA, None),
        (["--config.likelihood.kappa=None", "--config.likelihood.kappa=0.3"], KAPPA, 0.3),
        (["--config.likelihood.kappa", "none", "--config.seed=3"], KAPPA, None),
        (["--config.likelihood.kappa", "none", "--config.seed=3"], "seed", 3),
        (["--config=full.py", "--config.likelihood.kappa=none"], KAPPA, None),
        (["--config.train.shuffle", "--workdir", "x"], "train.shuffle", True),
        (["--config.train.shuffle=false"], "train.shuffle", False),
        (["--config.likelihood.kappa=1"], "likelihood.kappa", 1.0),
        (["--config.data.noise_sigma_x", "0.3"], "data.noise_sigma_x", 0.3),
        (["--config.sweep=('seed=1,2',)"], "sweep", ("seed=1,2",)),
        (["--config=good.py:7"], "seed", 7),
        (["--config=recommended"], "likelihood.kind", "learned"),
        (["--config", "sigma_series:post"], "sweep", ("likelihood.sigma=0.0001,0.2,2.0",)),
        (["--config=configs/recommended.py", "--config.seed=2"], "seed", 2),
        (["--resume", "--workdir=run", "--config=base"], "seed", 0),
        (["--workdir=x", "--config", "good.py:7", "--config.seed=8"], "seed", 8),
        (["--workdir=run"], "seed", 0),  # a mistake, but not one of flags
        (["--resume", "--workdir=run"], "seed", 5),
        (["--workdir", "run", "--resume"], "seed", 5),
        (["-resume=true", "-workdir=run"], "seed", 5),
        (["--resume=True", "--workdir=run"], "seed", 5),
        (["--resume=1", "--workdir=run"], "seed", 5),
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
    found = get(command_line(*args), path)
    assert found == value
    assert type(found) is type(value)


def test_a_field_of_a_user_s_kind_can_be_overridden(mine, command_line):
    config = command_line("--config=mine.py", "--config.likelihood.own=3")
    assert (config.likelihood.kind, config.likelihood.own) == ("mine", 3.0)
    assert type(config.likelihood.own) is float
    assert command_line("--config=mine.py").likelihood.own == 1.5


def test_a_mistake_in_a_field_of_a_user_s_kind_is_told(mine, command_line, capsys):
    for flag, words in (
        ("--config.likelihood.own=x", "likelihood.own: 'x' is not a number"),
        ("--config.likelihood.onw=1", "likelihood.onw: no such field; did you mean likelihood.own"),
    ):
        with pytest.raises(SystemExit):
            command_line("--config=mine.py", flag)
        assert capsys.readouterr().err.startswith(f"error: {words}")


def test_a_run_of_a_user_s_kind_goes_on_without_its_config(mine, command_line):
    Path("run", "config.json").write_text(to_json(sources.load("mine.py")))
    assert command_line("--resume", "--workdir=run").likelihood.kind == "mine"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: path.write_text("seed = 0\n"), "has changed since the run began"),
        (lambda path: path.unlink(), "is not there any more"),
    ],
    ids=["changed", "gone"],
)
def test_a_run_of_a_user_s_kind_needs_its_file(mine, command_line, capsys, change, words):
    Path("run", "config.json").write_text(to_json(sources.load("mine.py")))
    change(mine)
    with pytest.raises(SystemExit) as stop:
        command_line("--resume", "--workdir=run")
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {mine.resolve()}: {words}")


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
        (["--config"], "--config: needs a file or a name, as in --config=FILE"),
        (["--config="], "config: found ''"),
        (["--config=nope.py"], "config: there is no file 'nope.py'"),
        (["--config=."], "config: there is no file '.'"),
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
        (["--resume", "--workdir=", "--alsologtostderr"], "no run in ''"),
        (["--resume", "--workdir=" + 300 * "x"], "no run in 'xxx"),  # longer than a name can be
        (["--config=" + 300 * "x"], "config: "),
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
        "from spiral_vae.config import command_line as config\n"
        "app.run(lambda argv: None, flags_parser=config.parse_flags)\n"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}

    def run(arg):
        command = [sys.executable, "-c", script, arg]
        return subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT)

    shown = run("--helpfull")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "A config of the package by its name" in shown.stdout
    refused = run("--config.sgima=1")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "error: sgima: no such field; did you mean likelihood.sigma?\n"
