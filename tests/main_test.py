"""Whole runs through the command line, on tiny sizes."""

import csv
import hashlib
import json
import shlex
import shutil
import signal

import numpy as np
import pytest

from spiral_vae.config import stored as stored_lib
from spiral_vae.exact import ground_truth
from spiral_vae.exact.model import judge
from spiral_vae.runs import load as trained
from spiral_vae.workdir import life as workdir
from tests.workdir.tensorboard_test import events

TINY = (
    "--config.train.num_epochs=40",
    "--config.train.log_every=10",
    "--config.train.compiled=quickly",
)


def read_rows(workdir):
    with open(workdir / "summary.csv", newline="") as file:
        return list(csv.DictReader(file))


def hashes(workdir):
    files = sorted(path for path in workdir.rglob("*") if path.is_file())
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def assert_same_params(a, b):
    with np.load(a / "params.npz") as one, np.load(b / "params.npz") as other:
        assert one.files == other.files
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def assert_same_results(a, b):
    assert_same_params(a, b)
    assert (a / "summary.csv").read_bytes() == (b / "summary.csv").read_bytes()


@pytest.fixture(scope="module")
def run(whole_run):
    """The sweep of 2 sigmas x 2 seeds: its workdir and what it printed."""
    assert (whole_run.code, whole_run.stderr) == (0, "")
    return whole_run.workdir, whole_run.stdout


def test_prints_the_plan_the_table_and_where_the_results_are(run):
    workdir, stdout = run
    lines = stdout.splitlines()
    assert lines[0].startswith("4 lanes (likelihood.sigma: 2, seeds: 2) in 1 group, 2 devices")
    assert max(map(len, lines[:-2])) <= 80
    assert lines[-2:] == [f"results: {workdir}", f"figures: {workdir / 'figures'}"]


def test_workdir_holds_what_it_should_and_nothing_else(run):
    workdir, _ = run
    figures = "basic_run training progress density posterior gaps calibration".split()
    expected = {
        "config.json",
        "environment.json",
        "summary.csv",
        "results.nc",
        "params.npz",
        "data.npz",
    }
    expected |= {f"metrics/{name}.npz" for name in ("training", "probes", "snapshots")}
    expected |= {"SHA256SUMS", ".lock"}
    expected |= {f"figures/{name}.png" for name in figures}
    found = {str(path.relative_to(workdir)) for path in workdir.rglob("*") if path.is_file()}
    logs = {name for name in found if name.startswith("metrics/tensorboard/")}
    checkpoints = {name for name in found if name.startswith("checkpoints/")}
    assert found - logs - checkpoints == expected
    assert {name.split("/epoch_")[0] for name in checkpoints} == {
        f"checkpoints/group_0/cell_0000{cell}" for cell in range(2)
    }
    assert sorted(name.split("/")[2] for name in logs) == [f"lane_000{i}" for i in range(4)]


def test_event_files_carry_the_curves(run):
    workdir, _ = run
    (file,) = (workdir / "metrics/tensorboard/lane_0003").iterdir()
    _, *found = events(file)
    for name, prefix in (("training", ""), ("probes", "probe/")):
        with np.load(workdir / f"metrics/{name}.npz") as arrays:
            wanted = [
                (int(epoch), {prefix + key: arrays[key][3, i] for key in set(arrays) - {"epoch"}})
                for i, epoch in enumerate(arrays["epoch"])
            ]
        assert [event for event in found if ("/" in min(event[1])) == bool(prefix)] == wanted


def test_summary_has_the_contract_columns_in_the_order_of_the_product(run):
    rows = read_rows(run[0])
    assert list(rows[0])[:4] == ["lane", "seed", "likelihood.sigma", "status"]
    contract = "sigma elbo nll kl_to_truth inference_gap kl_to_prior spearman recovered collapsed"
    assert set(contract.split()) <= set(rows[0])
    found = [(row["lane"], row["likelihood.sigma"], row["seed"], row["status"]) for row in rows]
    points = [(sigma, seed) for sigma in ("0.1", "0.2") for seed in "01"]
    assert found == [(str(lane), *point, "ok") for lane, point in enumerate(points)]


def test_params_and_curves_have_a_row_for_each_lane(run):
    workdir, _ = run
    with np.load(workdir / "params.npz") as params:
        shapes = {name: params[name].shape for name in params.files}
    assert shapes["encoder/hidden_0/kernel"] == (4, 2, 5)
    assert shapes["encoder/logvar/bias"] == (4, 1)
    assert shapes["decoder/mean/kernel"] == (4, 32, 2)
    with np.load(workdir / "metrics/training.npz") as curves:
        np.testing.assert_array_equal(curves["epoch"], [10, 20, 30, 40])
        assert curves["loss"].shape == (4, 4)
        total = curves["reconstruction"] + curves["kl"]  # beta is 1
        np.testing.assert_allclose(curves["loss"], total, rtol=1e-5)  # float32


def test_stored_lane_is_the_one_that_was_judged(run):
    """Data, parameters and sigma of lane 2 come back from disk: its exact nll is the same."""
    workdir, _ = run
    model = trained.load(workdir, 2)
    density = ground_truth.model_density(model.observe, 1, reach=10.0)
    nll = ground_truth.cross_entropy(ground_truth.truth(model.curve), density).value
    row = read_rows(workdir)[2]
    np.testing.assert_array_equal(model.observe(np.zeros((1, 1))).scale, [0.2 * np.eye(2)])
    np.testing.assert_allclose(nll, float(row["nll"]), rtol=1e-9)  # another reach, other nodes
    report = judge(model)
    np.testing.assert_allclose(report.metrics["elbo"], float(row["elbo"]), rtol=1e-12)


def test_stored_config_repeats_the_run_with_its_bits(run, main, tmp_path):
    folder, _ = run
    stored = stored_lib.from_json((folder / "config.json").read_text())
    assert stored.sweep == ("likelihood.sigma=0.1,0.2",)
    again = tmp_path / "again"
    repeated = main(f"--config=stored:{folder}/config.json", workdir=again)()
    assert (repeated.code, repeated.stderr) == (0, "")
    assert_same_results(folder, again)


@pytest.fixture
def copied(run, tmp_path):
    """A copy of the finished run, for a test to change."""
    shutil.copytree(run[0], tmp_path / "copied")
    return tmp_path / "copied"


def test_a_finished_run_is_told_again_and_nothing_is_written(copied, run, main):
    before = hashes(copied)
    del before[copied / ".lock"]  # says who held it last
    again = main("--resume", workdir=copied)()
    assert (again.code, again.stderr) == (0, "")
    told = again.stdout.splitlines()
    assert told[0] == "this run is finished already"
    assert told[1:-2] == run[1].splitlines()[1:-2]  # the table
    after = hashes(copied)
    del after[copied / ".lock"]
    assert after == before


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_results_that_are_lost_are_made_again_with_their_bits(copied, run, main, how):
    """From the checkpoints alone, without training: the command needs no config."""
    if how == "gone":
        (copied / "params.npz").unlink()
    else:
        (copied / "params.npz").write_bytes((copied / "params.npz").read_bytes()[:-1])
    again = main("--resume", workdir=copied)()
    assert (again.code, again.stderr) == (0, "")
    assert again.stdout.splitlines()[0] == run[1].splitlines()[0]
    assert_same_results(run[0], copied)
    assert workdir.is_finished(copied)


def test_a_damaged_result_is_not_loaded(copied):
    content = bytearray((copied / "params.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (copied / "params.npz").write_bytes(content)
    with pytest.raises(workdir.WorkdirError, match="params.npz is damaged: its SHA-256"):
        trained.load(copied)


def test_resume_with_another_config_is_refused_and_changes_nothing(copied, main):
    before = hashes(copied)
    del before[copied / ".lock"]
    refused = main("--resume", "--config.seed=1", workdir=copied)()
    assert (refused.code, refused.stdout) == (2, "")
    assert refused.stderr == "error: seed: found 1, must be 0 as in the run that goes on\n"
    after = hashes(copied)
    del after[copied / ".lock"]
    assert after == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_stopped_goes_on_by_the_command_it_gives(
    run, main, whole_run_args, tmp_path, number
):
    """The signal comes when the config is written: before the first chunk is over, or soon after.

    What it had trained is stored, and the command finishes with the bits of the undisturbed run.
    """
    started = main(*whole_run_args, workdir=tmp_path / "a run")
    started.wait_for("environment.json")
    started.process.send_signal(number)
    stopped = started()
    assert stopped.code == 128 + number
    lines = stopped.stderr.splitlines()
    assert lines[0] == "stopping after this chunk; again to stop at once"
    assert lines[1].startswith("stopped; to go on: ") and len(lines) == 2
    program, *args = shlex.split(lines[1].removeprefix("stopped; to go on: "))
    assert program == "python"
    flags = ["--resume", f"--workdir={tmp_path / 'a run'}", "--figures=none"]
    assert args == ["-m", "spiral_vae.main", *flags]
    assert any((tmp_path / "a run").glob("checkpoints/group_0/cell_00000/epoch_*"))
    assert not (tmp_path / "a run" / "summary.csv").exists()
    resumed = main(args[2], workdir=tmp_path / "a run")()
    assert (resumed.code, resumed.stderr) == (0, "")
    assert resumed.stdout.splitlines()[1:-1] == run[1].splitlines()[1:-2]
    assert_same_results(run[0], tmp_path / "a run")
    environment = json.loads((tmp_path / "a run" / "environment.json").read_text())
    assert len(environment["resumed"]) == 1


def test_a_run_that_is_killed_goes_on_from_its_last_checkpoint(run, main, whole_run_args, tmp_path):
    args = (*whole_run_args, "--config.checkpoint.every=1", "--config.checkpoint.keep=4")
    started = main("--resume", "--config=configs/base.py", *args, workdir=tmp_path / "killed")
    started.wait_for("checkpoints/group_0/cell_00000/epoch_*")
    started.process.kill()
    assert started().code == -signal.SIGKILL
    resumed = main("--resume", workdir=tmp_path / "killed")()
    assert (resumed.code, resumed.stderr) == (0, "")
    assert_same_results(run[0], tmp_path / "killed")


def test_debug_nans_leads_to_the_line(main, tmp_path):
    """A step of 1e30 makes residuals whose squares overflow."""
    path = tmp_path / "broken"
    small = ("--config.data.num_points=10", "--config.train.batch_size=5")
    args = (*small, "--sweep=optimizer.decoder_learning_rate=1e-3,1e30")
    broken = main(*TINY, *args, "--config.evaluate.every=0", workdir=path)()
    assert (broken.code, broken.stderr) == (3, "")
    assert broken.stdout.splitlines()[-2] == "1 of 2 lanes failed."
    assert [row["status"] for row in read_rows(path)] == [
        "ok",
        "not finite at step 2: reconstruction",
    ]
    found = main("--debug_nans", workdir=path)()
    assert (found.code, found.stderr) == (0, "")
    lines = found.stdout.splitlines()
    assert lines[0] == "lane 1: not finite at step 2: reconstruction"
    assert any("spiral_vae/maths/observation.py:" in line for line in lines[1:-2])
    assert "invalid value" in lines[-2] or "encountered" in lines[-2]
    assert lines[-1] == "lanes that stopped being finite: 1"


def test_workdir_with_a_run_is_refused_and_left_alone(run, main):
    folder, _ = run
    before = hashes(folder)
    refused = main(*TINY, workdir=folder)()
    assert (refused.code, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: workdir: ") and refused.stderr.count("\n") == 1
    assert hashes(folder) == before


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--config.likelihood.sgima=0.1"], "likelihood.sigma"),
        (["--config.train.num_epochs=1.5"], "train.num_epochs"),
        (["--config.likelihood.sigma=-1", "--config.data.u_start=1.0"], "data.u_start"),
        (["--sweep=train.batch_size=100,300"], "train.batch_size"),
        (["--coordinator=127.0.0.1:1"], "--num_processes"),
        (["--process_id=1"], "--coordinator"),
        (["--config=configs/nope.py"], "nope.py"),
        (["--resume"], "there is no run in"),
        (["--debug_nans"], "there is no run in"),
    ],
)
def test_mistakes_get_a_sentence_and_write_nothing(args, named, main, tmp_path):
    refused = main(*args, workdir=tmp_path / "workdir")()
    assert (refused.code, refused.stdout) == (2, "")
    assert all(line.startswith("error: ") for line in refused.stderr.splitlines())
    assert named in refused.stderr
    assert not refused.workdir.exists()


def test_workdir_below_a_file_is_refused(main, tmp_path):
    (tmp_path / "file").write_text("mine")
    refused = main(*TINY, workdir=tmp_path / "file" / "workdir")()
    assert refused.code == 2 and refused.stderr.startswith("error: ")
    assert "can't be written: Not a directory" in refused.stderr
    assert (tmp_path / "file").read_text() == "mine"


# What the environment holds

FOREIGN = {
    "JAX_ENABLE_X64": "1",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_TRANSFER_GUARD": "disallow",
    "JAX_DEBUG_NANS": "1",
    "MPLBACKEND": "module://matplotlib_inline.no_such_backend",
    "PYTHONIOENCODING": "ascii",
    "PYTHONWARNINGS": "error",
}


def test_no_setting_of_the_environment_changes_a_bit(run, main, whole_run_args, tmp_path):
    found = main(*whole_run_args, workdir=tmp_path / "caf\xe9", **FOREIGN)()
    assert (found.code, found.stderr) == (0, "")
    assert found.stdout.splitlines()[-1].endswith("caf\\xe9")
    assert_same_results(run[0], found.workdir)
    with np.load(run[0] / "data.npz") as one, np.load(found.workdir / "data.npz") as other:
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name])


def test_a_bad_lane_costs_no_other_where_the_environment_looks_for_nan(main, tmp_path):
    """JAX would end the program at the first one."""
    small = ("--config.data.num_points=10", "--config.train.batch_size=5")
    args = (*TINY, *small, "--sweep=optimizer.decoder_learning_rate=1e-3,1e30")
    found = main(*args, workdir=tmp_path / "run", JAX_DEBUG_NANS="1")()
    assert (found.code, found.stderr) == (3, "")
    assert [row["status"][:10] for row in read_rows(found.workdir)] == ["ok", "not finite"]


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({"JAX_PLATFORMS": "cuda"}, "error: JAX_PLATFORMS: found 'cuda', but JAX says: "),
        ({"JAX_RANDOM_SEED_OFFSET": "3"}, "error: jax_random_seed_offset: found 3, must be 0"),
    ],
)
def test_what_the_environment_makes_impossible_is_told(main, tmp_path, env, told):
    refused = main(*TINY, workdir=tmp_path / "run", **env)()
    assert refused.code == 2 and not refused.workdir.exists()
    assert refused.stderr.startswith(told) and refused.stderr.count("\n") == 1


def test_without_a_place_for_compiled_code_there_is_one_note(main, tmp_path):
    small = ("--config.data.num_points=10", "--config.train.batch_size=5")
    args = (*TINY, *small, "--config.evaluate.every=0")
    env = {"JAX_COMPILATION_CACHE_DIR": "/proc/nowhere", "MPLCONFIGDIR": "/proc/nowhere"}
    found = main(*args, workdir=tmp_path / "run", HOME="/proc/nowhere", **env)()
    assert found.code == 0
    assert found.stderr.startswith("note: there is no folder for compiled code")
    assert found.stderr.count("\n") == 1


def test_compiled_code_that_a_kill_left_in_parts_is_made_anew(main, tmp_path):
    small = ("--config.data.num_points=10", "--config.train.batch_size=5")
    args = (*TINY, *small, "--config.evaluate.every=0")
    folder = tmp_path / "compiled"
    folder.mkdir()
    env = {"JAX_COMPILATION_CACHE_DIR": str(folder), "PYTHONWARNINGS": "error"}
    assert main(*args, workdir=tmp_path / "first", **env)().code == 0
    entries = set(folder.glob("*-cache"))
    assert entries
    for path in entries:
        path.write_bytes(path.read_bytes()[:100])
    found = main(*args, workdir=tmp_path / "run", **env)()
    assert (found.code, found.stderr) == (0, "")
    assert set(folder.glob("*-cache")) == entries
    assert min(path.stat().st_size for path in entries) > 100
