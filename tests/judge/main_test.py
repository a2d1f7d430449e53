"""The judge's command: what it prints, what it writes, how it ends."""

import csv
import subprocess
import sys

import pytest

from spiral_vae.config.values import updated
from spiral_vae.judge import __main__ as command
from spiral_vae.judge import trial
from spiral_vae.judge.methods import METHODS, method
from spiral_vae.judge.problems import PROBLEMS, problem
from tests.conftest import ROOT
from tests.judge import broken

COPY = """\
from spiral_vae import base_config


def get_config():
    return base_config({})
"""


@pytest.fixture(scope="module")
def judge(environment):
    """Returns a function that runs the command in a process."""

    def run(*args):
        return subprocess.run(
            [sys.executable, "-m", "spiral_vae.judge", *map(str, args)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )

    return run


@pytest.fixture(scope="module")
def judged(judge, tmp_path_factory):
    """A copy of a built-in method on an own problem, its process and its workdir."""
    folder = tmp_path_factory.mktemp("judged")
    (folder / "copied.py").write_text(COPY)
    args = ("--problem=examples/rose.py", "--against=elbo", "--seeds=2")
    run = judge(folder / "copied.py", *args, f"--workdir={folder / 'new' / 'run'}")
    assert (run.returncode, run.stderr) == (0, "")
    return run, folder / "new" / "run"


def test_a_copy_differs_by_nothing_in_any_pair(judged):
    run, workdir = judged
    with open(workdir / "paired.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["problem"], row["method"], row["against"]) == ("rose", "copied", "elbo")
    assert (row["seeds"], row["ties"], row["verdict"]) == ("2", "2", "the same")
    assert {float(row[name]) for name in ("median_difference", "low", "high")} == {0.0}
    with open(workdir / "rows.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows] == ["0", "1"]
    assert len({row["params_sha256"] for row in rows}) == 2


def test_it_prints_checks_a_summary_and_a_table_of_eighty_columns(judged):
    run, workdir = judged
    *lines, last = run.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("✓" in line for line in lines) == 8 and "✗" not in run.stdout
    assert any(line.startswith("copied on rose, ") for line in lines)
    (row,) = (line for line in lines if line.endswith("the same"))
    assert row.split()[0] == "elbo"
    assert last == f"results: {workdir}"


def test_the_workdir_has_a_figure_and_a_table_for_a_paper(judged):
    _, workdir = judged
    assert {path.name for path in workdir.iterdir()} >= {"paired.png", "paired.svg", "paired.md"}
    table = [line for line in (workdir / "paired.md").read_text().splitlines() if "|" in line[:1]]
    assert len({line.count("|") for line in table}) == 1 and len(table) == 3


def test_a_broken_file_ends_before_anything_is_trained(judge, tmp_path):
    path, workdir = tmp_path / "mine.py", tmp_path / "run"
    path.write_text(broken.FILES["kl of wrong sign"][0])
    run = judge(path, f"--workdir={workdir}")
    assert (run.returncode, run.stderr) == (2, "")
    assert run.stdout.splitlines()[-1].startswith("  ✗ kl: kl() gives")
    assert not workdir.exists()


def test_a_folder_with_something_else_is_refused(judge, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    run = judge("elbo", f"--workdir={tmp_path}", "--seeds=1")
    assert run.returncode == 2
    assert "is in use already" in run.stderr and run.stderr.count("\n") == 1
    assert run.stdout == ""  # before the checks, which take a while
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_rows_are_kept_of_the_very_config_alone(judged):
    """Another file of the name, or more seeds, is another trial."""
    _, workdir = judged
    one, own = problem("examples/rose.py"), method("elbo")
    folder = workdir / one.name / own.name
    config = trial.config(one, own, 2)
    assert [row["seed"] for row in trial.kept(folder, config)] == [0, 1]
    assert trial.kept(folder, trial.config(one, own, 3)) is None
    assert trial.kept(folder, updated(config, {"objective.num_samples": 2})) is None


def test_two_methods_of_one_name_are_refused(judge, tmp_path):
    for name, sigma in (("old", 0.3), ("new", 0.4)):
        (tmp_path / name).mkdir()
        text = COPY.replace("{}", f"{{'likelihood.sigma': {sigma}}}")
        (tmp_path / name / "mine.py").write_text(text)
    run = judge(tmp_path / "new" / "mine.py", f"--against={tmp_path / 'old' / 'mine.py'}")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "error: --against: two methods are called 'mine'; rename a file\n"


def test_a_folder_that_cannot_be_written_is_a_sentence(judge, tmp_path):
    (tmp_path / "file").write_text("")
    run = judge("elbo", f"--workdir={tmp_path / 'file' / 'below'}", "--seeds=1")
    assert run.returncode == 2
    assert run.stderr.startswith("error: ") and "can't be written" in run.stderr
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ((), "error: method: missing, must be a file or a name; --help says more"),
        (("nothing",), "error: method: found 'nothing', must be a file or one of elbo, "),
        (("elbo", "--problem=x"), "error: problem: found 'x', must be a file or one of post, "),
        (("elbo", "--against=x"), "error: method: found 'x', must be a file or one of elbo, "),
        (("elbo", "--seeds=0"), "error: argument --seeds: found '0', must be 1 .. 1000"),
        (("--standing", "--part=3/2"), "error: argument --part: found '3/2', must be K/N with"),
        (("--standing",), "error: --standing: needs a --workdir"),
        (("--repeat=post/x",), "error: repeat: found 'post/x', must be one of "),
        (("elbo", "--nothing"), "error: unrecognized arguments: --nothing"),
    ],
)
def test_a_mistake_is_a_sentence(args, sentence, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(list(args))
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(sentence) and error.count("\n") == 1


@pytest.mark.parametrize(("flag", "known"), [("--problems", PROBLEMS), ("--methods", METHODS)])
def test_what_there_is_is_printed(flag, known, capsys):
    command.main([flag])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert {line.split(" ")[0] for line in text.splitlines()} >= set(known)


@pytest.mark.parametrize(("same", "status"), [(16, None), (15, 1)])
def test_the_status_tells_whether_a_cell_came_out_with_the_same_bits(
    same, status, monkeypatch, tmp_path, capsys
):
    """What training it would give is made up."""

    def repeated(folder, cell):
        assert (folder, cell) == (tmp_path, "post/elbo")
        return cell, same, 16

    monkeypatch.setattr(command.standing, "repeated", repeated)
    assert command.main(["--repeat=post/elbo", f"--workdir={tmp_path}"]) == status
    told = f"post/elbo: {same} of 16 lanes have the same bits as the standing results\n"
    assert capsys.readouterr().out == told
