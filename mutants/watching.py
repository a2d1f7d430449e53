"""A plugin of pytest: how long each test takes, and which lines the processes run that it starts.

Those of the test itself are told by pytest-cov.
"""

import collections
import functools
import json
import os
import subprocess
from pathlib import Path

TIMES = "MUTANTS_TIMES"  # names the file for what tests took
CONFIG = "MUTANTS_COVERAGE"  # names the file that tells coverage what to measure
_TEST = "PYTEST_CURRENT_TEST"  # which coverage takes as the context

_seconds: collections.Counter[str] = collections.Counter()
_failed: set[str] = set()


def pytest_runtest_logreport(report):
    _seconds[report.nodeid] += report.duration
    if not report.passed:  # also those that are skipped
        _failed.add(report.nodeid)


def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        times = {test: taken for test, taken in _seconds.items() if test not in _failed}
        Path(os.environ[TIMES]).write_text(json.dumps(times))


def pytest_configure(config):
    begin = subprocess.Popen.__init__

    @functools.wraps(begin)
    def measured(self, *args, env=None, **options):
        told = {"COVERAGE_PROCESS_START": os.environ[CONFIG], _TEST: os.environ.get(_TEST, "")}
        begin(self, *args, env={**(os.environ if env is None else env), **told}, **options)

    if hasattr(config, "workerinput"):
        subprocess.Popen.__init__ = measured
