"""Several processes that share a sweep: the same bits as one, one writer, one end for all."""

import csv
import signal
import socket

import numpy as np
import pytest


def _free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def _started(main, workdir, *args, **how):
    """Starts two processes with a device each."""
    port = _free_port()
    return [
        main(
            *args,
            f"--coordinator=127.0.0.1:{port}",
            "--num_processes=2",
            f"--process_id={number}",
            workdir=workdir,
            JAX_NUM_CPU_DEVICES="1",
            **how,
        )
        for number in (0, 1)
    ]


def _pair(main, workdir, *args, **how):
    """Returns the runs of two processes with a device each."""
    return [wait() for wait in _started(main, workdir, *args, **how)]


def _printed(run):
    """Returns what a run printed, without the news of JAX's transport from C++."""
    return [line for line in run.stdout.splitlines() if not line.startswith("[Gloo]")]


def test_two_processes_give_the_bits_of_one(main, whole_run, whole_run_args, tmp_path):
    one = whole_run
    first, second = _pair(main, tmp_path, *whole_run_args, figures="all")
    assert (one.code, first.code, second.code) == (0, 0, 0), first.stderr + second.stderr
    plan = "4 lanes (likelihood.sigma: 2, seeds: 2) in 1 group, 2 devices (cpu)"
    assert _printed(one)[0] == _printed(first)[0] == plan
    assert not _printed(second)  # the first alone reports and writes
    names = [_names(run.workdir) for run in (one, first)]
    assert names[0] == names[1]
    summary = (one.workdir / "summary.csv").read_bytes()
    assert (first.workdir / "summary.csv").read_bytes() == summary
    rows = list(csv.DictReader(summary.decode().splitlines()))
    assert [(row["seed"], row["likelihood.sigma"]) for row in rows] == [
        (str(seed), str(sigma)) for sigma in (0.1, 0.2) for seed in range(2)
    ]
    _assert_same_arrays(one.workdir, first.workdir)


def _names(workdir):
    """Returns the files of a run, without those whose names are random."""
    files = {str(path.relative_to(workdir)) for path in workdir.rglob("*") if path.is_file()}
    return {name for name in files if "events" not in name and "/tree/" not in name}


def _assert_same_arrays(one, other):
    for name in ("params.npz", "metrics/training.npz", "metrics/probes.npz"):
        with np.load(one / name) as a, np.load(other / name) as b:
            assert set(a) == set(b)
            for key in a:
                np.testing.assert_array_equal(a[key], b[key], err_msg=f"{name}: {key}")


@pytest.mark.parametrize("processes", [1, 2])
def test_after_a_crash_one_or_two_processes_go_on_to_the_same_bits(
    main, whole_run, whole_run_args, tmp_path, processes
):
    """The first is killed once the second has stored a cell; without it the second ends, too.

    It would do so by itself, but only after main.TIMEOUT.
    """
    args = (*whole_run_args, "--config.checkpoint.every=1")
    pair = _started(main, tmp_path, *args)
    pair[1].wait_for("checkpoints/group_0/cell_00001/epoch_*")
    for started in pair:
        started.process.kill()
    assert [wait().code for wait in pair] == [-signal.SIGKILL] * 2
    if processes == 1:
        resumed = [main("--resume", workdir=tmp_path)()]
    else:
        resumed = _pair(main, tmp_path, "--resume")
    assert [run.code for run in resumed] == [0] * processes, resumed[-1].stderr
    summary = (whole_run.workdir / "summary.csv").read_bytes()
    assert (tmp_path / "summary.csv").read_bytes() == summary
    _assert_same_arrays(whole_run.workdir, tmp_path)


def test_all_processes_stop_when_the_workdir_is_in_use(main, tmp_path):
    (tmp_path / "kept").write_text("kept")
    first, second = _pair(main, tmp_path)
    assert (first.code, second.code) == (2, 2)
    found = f"{tmp_path} holds files already (kept)"
    error = f"error: workdir: {found}; give a new or an empty folder"
    assert error in first.stderr.splitlines()
    for run in (first, second):
        assert not _printed(run) and "Traceback" not in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
