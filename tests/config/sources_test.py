"""A config is found by its name or its file, and what is wrong in a file is told with its line."""

import sys

import numpy as np
import pytest

from spiral_vae import fields
from spiral_vae.config import sources
from spiral_vae.config.axes import expand
from spiral_vae.config.settings import ROOTS
from spiral_vae.config.values import ConfigError, flatten
from spiral_vae.configs import base, recommended, sigma_series
from tests.config.made import MINE


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("base", base.get_config()),
        ("recommended", recommended.get_config()),
        ("recommended.py", recommended.get_config()),
        ("configs/recommended.py", recommended.get_config()),
        ("configs/sigma_series", sigma_series.get_config()),
        ("sigma_series:post", sigma_series.get_config("post")),
        ("configs/sigma_series.py:post", sigma_series.get_config("post")),
    ],
)
def test_a_config_of_the_package_is_found_from_any_folder(tmp_path, monkeypatch, source, wanted):
    monkeypatch.chdir(tmp_path)
    found = sources.load(source)
    assert found == wanted
    expand(found, found.sweep)


@pytest.mark.parametrize("path", sorted(sources._PACKAGED.glob("*.py")), ids=lambda path: path.stem)
def test_every_config_of_the_package_is_sound(path):
    if path.stem not in ("__init__", "stored", "own_sequences"):  # these are none alone
        config = sources.load(path.stem)
        expand(config, config.sweep)


def test_a_file_goes_before_a_name(mine):
    mine.rename("recommended.py")
    assert sources.load("recommended.py").likelihood.kind == "mine"
    assert sources.load("recommended").likelihood.kind == "learned"


def test_a_file_may_lie_anywhere(mine, monkeypatch, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert sources.load("../mine.py").likelihood.kind == "mine"
    assert sources.load(str(mine)).likelihood.kind == "mine"


def test_a_config_of_a_user_s_kind_has_all_fields(mine):
    found = flatten(sources.load("mine.py"))
    assert found.keys() == fields.declared(*ROOTS).keys()
    assert found["likelihood.own"] == 1.5
    expand(sources.load("mine.py"), ["likelihood.kind=mine", "likelihood.own=1,2"])


def test_a_file_runs_once_until_its_content_changes(mine, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # it would be that of the same second
    first = sources.load_file(mine)
    assert sources.load_file(mine) is first
    mine.write_text(MINE.replace("1.5", "2.5"))
    assert sources.load("mine.py").likelihood.own == 2.5
    assert fields.kinds("likelihood")["mine"] is not first.Mine
    mine.write_text(MINE)
    assert sources.load("mine.py").likelihood.own == 1.5  # as it was before


HEAD = MINE.partition("@kind")[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def get_config():\n    return undefined\n", "line 2: NameError: name 'undefined'"),
        ("\n\nimport nothing_of_this_name\n", "line 3: ModuleNotFoundError: No module"),
        ("raise SystemExit('enough')\n", "line 1: SystemExit: enough"),
        ("def get_config(:\n", "mine.py: SyntaxError"),
        (
            MINE.replace('"likelihood", "mine"', '"likelihod", "mine"'),
            "line 8: likelihod 'mine' (Mine): no such family; there are ",
        ),
        (
            MINE.replace('"likelihood", "mine"', '"likelihood", "geco"'),
            "line 8: likelihood 'geco' (Mine): the name belongs to spiral_vae.",
        ),
        (
            MINE.replace("frozen=True, kw_only=True", "kw_only=True"),
            "line 9: TypeError: cannot inherit non-frozen dataclass from a frozen one",
        ),
        (
            HEAD.replace("Fixed", "Likelihood")
            + '@kind("likelihood", "mine")\n@dataclasses.dataclass(frozen=True, kw_only=True)\n'
            "class Mine(Likelihood):\n    pass\n",
            "line 8: likelihood 'mine' (Mine): lacks observation()",
        ),
    ],
)
def test_a_mistake_in_a_user_s_file_is_told_with_its_line(mine, text, words):
    mine.write_text(text)
    with pytest.raises(ConfigError) as error:
        sources.load("mine.py")
    assert str(error.value).startswith("mine.py")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("head", ["", MINE], ids=["at once", "after its kind"])
def test_a_file_that_failed_can_be_mended(mine, head):
    mine.write_text(f"{head}undefined\n")
    number = head.count("\n") + 1
    for _ in range(2):
        with pytest.raises(ConfigError, match=f"line {number}: NameError"):
            sources.load("mine.py")
        assert "mine" not in fields.kinds("likelihood")
    mine.write_text(MINE)
    assert sources.load("mine.py").likelihood.kind == "mine"


def test_an_unknown_name_is_told_with_those_that_there_are():
    with pytest.raises(ConfigError) as error:
        sources.load("recommend")
    assert str(error.value).startswith("config: there is no file 'recommend'; of the package")
    assert "recommended" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["anisotropic", "claims", "order_first", "posteriors"])
def test_an_unknown_argument_is_told_with_those_that_there_are(name):
    with pytest.raises(ConfigError, match=r"^config: \w+: found 'other', allowed: '\w+', '\w+'"):
        sources.load(f"{name}:other")


def test_an_argument_that_a_config_does_not_take_is_told():
    with pytest.raises(ConfigError, match="config: found '3' after the colon"):
        sources.load("turns:3")


def test_an_argument_of_another_type_is_a_config_s_own_matter():
    assert sources.load("dynamics:3").data.omega == pytest.approx(6 * np.pi)
