"""The command that writes a page: what it is told wrongly is a sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spiral_vae.explore import page
from spiral_vae.runs import run
from spiral_vae.workdir import life
from spiral_vae.workdir.life import WorkdirError
from tests.lanes import make_config

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "error: found 'nothing', must be one folder"),
        (["a", "b"], "error: found 'a b', must be one folder"),
        (["--workdir=a"], "error: found '--workdir=a', must be one folder"),
        (["no/such/folder"], "error: no/such/folder holds no run"),
    ],
)
def test_a_mistake_is_a_sentence(arguments, sentence, environment):
    command = [sys.executable, "-m", "spiral_vae.explore", *arguments]
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith(sentence)
    assert len(found.stderr.splitlines()) == 1


def test_a_run_has_to_be_finished(tmp_path):
    run.train_and_evaluate(make_config(), str(tmp_path), figures="none")
    (tmp_path / "summary.csv").write_text("lane\n")
    with pytest.raises(WorkdirError, match="summary.csv is damaged"):
        page.write(tmp_path)
    sums = tmp_path / "SHA256SUMS"
    kept = [line for line in sums.read_text().splitlines() if "config.json" in line]
    sums.write_text("\n".join(kept) + "\n")
    with pytest.raises(WorkdirError, match="its run has to be finished"):
        page.write(tmp_path)


def test_a_page_that_cannot_be_written_is_a_sentence(tmp_path):
    run.train_and_evaluate(make_config(), str(tmp_path), figures="none")
    (tmp_path / life.EXPLORER).mkdir()
    with pytest.raises(WorkdirError, match="explorer.html can't be written"):
        page.write(tmp_path)


def test_the_flag_writes_a_page_at_the_end(whole_run, main, whole_run_args, tmp_path):
    """And once more of a run that is finished; it leaves the run whole."""
    found = main("--resume", "--explore", workdir=whole_run.workdir)()
    path = whole_run.workdir / life.EXPLORER
    assert (found.code, found.stderr) == (0, "")
    assert found.stdout.splitlines()[-1] == f"explorer: {path}"
    text = path.read_text()
    start = text.index('id="content">') + len('id="content">')
    content = json.loads(text[start : text.index("</script>", start)])
    assert [axis["text"] for axis in content["axes"]] == [["0.1", "0.2"], ["0", "1"]]
    assert len(content["params"]) == len(content["lanes"]) == 4
    assert [film["lane"] for film in content["films"]] == [0, 2, 1, 3]
    os.remove(path)
