"""The table that a run ends with: what it shows, and that it fits a terminal."""

import itertools

import numpy as np
import pytest

from spiral_vae.present.table import MAX_LINES, table

VERDICTS = ["recovered", "partly folded", "inaccurate", "overfitted", "collapsed"]
KEYS = {"likelihood.sigma": (0.0001, 0.2, 2.0), "model.decoder.hidden_dim": (8, 32)}


def _row(lane, seed=0, verdict="recovered", sweep=None, **metrics):
    found = {
        "kl_to_truth": 0.0123,
        "nll": 2.2588,
        "inference_gap_new": 0.0456,
        "kl_to_prior": 2.345,
        "order_of_curve": 0.9991,
        **metrics,
    }
    return {
        "lane": lane,
        "seed": seed,
        **(sweep or {}),
        "status": "ok",
        "verdict": verdict,
        **found,
    }


NOT_FINITE = "not finite at step 300: reconstruction"
NOT_EVALUATED = "not evaluated: the curve of the means is 1e+08 standard deviations long"


def _failed(lane, seed=0, sweep=None, status=NOT_FINITE):
    return {"lane": lane, "seed": seed, **(sweep or {}), "status": status}


def _widest(text):
    return max(map(len, text.splitlines()))


def test_a_single_run_shows_its_numbers():
    lines = table([_row(0, seed=7)], []).splitlines()
    heading = lines[0].replace("kl to truth", "kl_to_truth").replace("new gap", "new_gap").split()
    shown = dict(zip(heading, lines[1].split(), strict=True))
    assert shown == {
        "seed": "7",
        "kl_to_truth": "0.0123",
        "nll": "2.2588",
        "new_gap": "0.0456",
        "kl": "2.345",
        "order": "0.9991",
        "verdict": "recovered",
    }
    assert "KL(p*||p)" in "\n".join(lines[2:])


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_single_run_fits_80_columns(verdict):
    assert _widest(table([_row(0, seed=0, verdict=verdict)], [])) <= 80


@pytest.mark.parametrize("size", [1e3, -1e5, 1.234e7, 1e12])
def test_a_single_run_of_huge_numbers_fits_80_columns(size):
    names = ("kl_to_truth", "nll", "inference_gap_new", "kl_to_prior")
    text = table([_row(0, verdict="overfitted", **dict.fromkeys(names, size))], [])
    assert _widest(text) <= 80
    assert f"{size:.3g}" in text


def test_numbers_are_aligned_to_the_right():
    rows = [_row(0, nll=2.5), _row(1, seed=1, nll=-123.25), _row(2, seed=10, nll=1234567.0)]
    lines = table(rows, []).splitlines()[:4]
    ends = [
        line.index(text) + len(text)
        for line, text in zip(lines, ("nll", "2.5000", "-123.2500", "1.23e+06"), strict=True)
    ]
    assert len(set(ends)) == 1


@pytest.mark.parametrize("others", [0, 2])
@pytest.mark.parametrize("status", [NOT_FINITE, NOT_EVALUATED])
def test_a_failed_lane_is_shown_with_the_kind_of_failure_and_no_numbers(status, others):
    rows = [_failed(0, status=status)] + [_row(i, seed=i) for i in range(1, others + 1)]
    text = table(rows, [])
    line = text.splitlines()[1]
    assert line.split() == ["0", *"-----", *status.split(":")[0].split()[:2]]
    assert _widest(text) <= 80


def test_columns_of_a_sweep_are_named_and_filled():
    sweep = [{"likelihood.sigma": s} for s in KEYS["likelihood.sigma"]]
    rows = [_row(i, sweep=point) for i, point in enumerate(sweep)]
    lines = table(rows, ["likelihood.sigma"]).splitlines()
    assert lines[0].split()[:2] == ["seed", "sigma"]
    assert [line.split()[1] for line in lines[1:4]] == ["0.0001", "0.2", "2"]


@pytest.mark.parametrize("num_seeds", [1, 20])
def test_swept_fields_of_the_same_name_are_told_apart_by_their_sections(num_seeds):
    """As few parts of the paths as it takes."""
    paths = ["model.encoder.hidden_dim", "model.decoder.hidden_dim", "likelihood.sigma"]
    rows = [_row(i, i, sweep=dict(zip(paths, (8, 16, 0.2), strict=True))) for i in range(num_seeds)]
    heading, line, *_ = table(rows, paths).splitlines()
    first = num_seeds == 1
    assert heading.split()[first : 3 + first] == [
        "encoder.hidden_dim",
        "decoder.hidden_dim",
        "sigma",
    ]
    assert line.split()[first : 3 + first] == ["8", "16", "0.2"]


@pytest.mark.parametrize("verdict", [*VERDICTS, None])
@pytest.mark.parametrize("num_axes", [1, 2])
def test_a_small_sweep_fits_80_columns(num_axes, verdict):
    names = list(KEYS)[:num_axes]
    points = [
        dict(zip(names, values, strict=True))
        for values in itertools.product(*(KEYS[name] for name in names))
    ]
    rows = [
        _row(i, sweep=point, verdict=verdict) if verdict else _failed(i, sweep=point)
        for i, point in enumerate(points)
    ]
    assert len(rows) <= MAX_LINES
    assert _widest(table(rows, names)) <= 80


def test_a_lane_has_one_line_whose_verdict_is_whole():
    """'heteroscedastic' and 'partly folded' leave no room for the last column."""
    rows = [
        _row(0, 0, "partly folded", {"likelihood.kind": "heteroscedastic"}),
        _row(1, 1, "recovered", {"likelihood.kind": "fixed"}),
    ]
    heading, first, second, *_ = table(rows, ["likelihood.kind"]).splitlines()
    assert heading.split()[-3:] == ["nll", "kl", "verdict"]
    assert first.endswith("partly folded") and second.endswith("recovered")


def _many(num_seeds, verdicts, failed=0):
    """Three points of a sweep with `num_seeds` lanes each, kl_to_truth rising with the seed."""
    rows = []
    for sigma in KEYS["likelihood.sigma"]:
        for seed in range(num_seeds):
            sweep = {"likelihood.sigma": sigma}
            if seed < failed:
                rows.append(_failed(len(rows), seed, sweep))
            else:
                verdict = verdicts[seed % len(verdicts)]
                rows.append(
                    _row(
                        len(rows),
                        seed,
                        verdict,
                        sweep,
                        kl_to_truth=sigma + 0.01 * seed,
                        order_of_curve=0.95,
                    )
                )
    return rows


def test_many_lanes_are_summarised_by_point():
    text = table(_many(11, ["recovered"]), ["likelihood.sigma"])
    lines = text.splitlines()
    assert lines[0].split()[:2] == ["sigma", "lanes"]
    for line, sigma in zip(lines[1:4], KEYS["likelihood.sigma"], strict=True):
        low, middle, high = (sigma + 0.01 * k for k in (1, 5, 9))  # of 0 .. 10
        assert line.split()[:2] == [f"{sigma:g}", "11"]
        assert f"{middle:.4f} ({low:.4f}-{high:.4f})" in line
        assert "0.9500" in line  # of the sizes: half of the signs are negative
        assert line.endswith("11 recovered")


def test_failed_lanes_are_counted_apart_and_spoil_no_quantile():
    text = table(_many(12, ["recovered"], failed=1), ["likelihood.sigma"])
    words = " ".join(text.split())  # the verdicts may be wrapped
    assert f"{2 + 0.06:.4f} ({2 + 0.02:.4f}-{2 + 0.10:.4f})" in words  # of 1 .. 11
    assert words.count("11 recovered, 1 not finite") == 3


def test_lanes_that_failed_in_different_ways_are_counted_apart():
    rows = _many(12, ["recovered"], failed=2)
    for row in rows:
        if row["status"] != "ok" and row["seed"] == 1:
            row["status"] = NOT_EVALUATED
    words = " ".join(table(rows, ["likelihood.sigma"]).split())
    assert words.count("10 recovered, 1 not finite, 1 not evaluated") == 3


def test_a_point_without_a_sound_lane_has_dashes():
    lines = table(_many(20, ["recovered"], failed=20), ["likelihood.sigma"]).splitlines()
    assert lines[1].split()[1:4] == ["20", "-", "-"]
    assert "20 not finite" in lines[1]


def test_a_point_whose_lanes_have_no_order_has_a_dash():
    rows = [row | {"kl_to_truth": 0.5} for row in _many(20, ["recovered"])]
    for row in rows:
        del row["order_of_curve"]
    lines = table(rows, ["likelihood.sigma"]).splitlines()
    assert lines[1].split()[1:5] == ["20", "0.5000", "(0.5000-0.5000)", "-"]


@pytest.mark.parametrize("failed", [0, 2])
@pytest.mark.parametrize("num_verdicts", [1, 2, 3, 5])
def test_many_lanes_fit_80_columns(num_verdicts, failed):
    text = table(_many(24, VERDICTS[:num_verdicts], failed), ["likelihood.sigma"])
    assert _widest(text) <= 80
    for name in VERDICTS[:num_verdicts]:  # nothing is cut off, at most wrapped
        assert name in " ".join(text.split())


@pytest.mark.parametrize(("num", "summarised"), [(16, False), (17, True)])
def test_seeds_alone_are_summarised_above_16_lanes(num, summarised):
    lines = table([_row(i, seed=i) for i in range(num)], []).splitlines()
    assert ("lanes" in lines[0]) == summarised
    assert len(lines) == (2 if summarised else num + 1) + 3
    assert max(map(len, lines)) <= 80
    if summarised:
        assert lines[1].split()[0] == str(num)
        assert np.isclose(float(lines[1].split()[1]), 0.0123)


@pytest.mark.parametrize("num", [3, 20])
def test_lanes_that_failed_are_counted(num):
    """In a table of lanes and in one of points; nothing is said where none did."""
    rows = [_row(lane, seed=lane) for lane in range(num - 2)]
    assert "failed" not in table(rows, [])
    rows += [_failed(num - 2), _failed(num - 1, status=NOT_EVALUATED)]
    assert table(rows, []).splitlines()[-1] == f"2 of {num} lanes failed."


def test_a_field_without_a_value_is_none():
    """As it is in a fresh run, and as it is read back from a finished one."""
    path = "data.noise_sigma_x"
    rows = [_row(0, sweep={path: None}), _row(1), _row(2, sweep={path: 0.3})]
    lines = table(rows, [path]).splitlines()[1:4]
    assert [line.split()[1] for line in lines] == ["none", "none", "0.3"]
