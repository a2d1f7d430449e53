"""Which tests are asked about a mistake."""

from pathlib import Path

from mutants import suite
from mutants.mistakes import mistakes

SOURCE = """LIMIT = 5


def f(x):
    return min(
        x,
        LIMIT,
    )


def declare():
    return 1
"""
FAR, OWN, OTHER = "tests/main_test.py::far", "tests/maths/f_test.py::own", "tests/z_test.py::other"
DECLARING = "tests/fields_test.py::declared"
FOUND = suite.Suite(
    {OWN: 700.0, f"{OWN}_quick": 1.0, FAR: 400.0, OTHER: 500.0, DECLARING: 0.1},
    {"maths/f.py": {1: {"", FAR}, 5: {OWN, f"{OWN}_quick", FAR, OTHER, "skipped"}, 12: {"", FAR}}},
)


def _asked(line):
    return FOUND.asked(Path("maths/f.py"), line, SOURCE)


def test_the_own_tests_come_first_whatever_they_take_and_others_for_some_time():
    assert _asked(5) == [f"{OWN}_quick", OWN, FAR]
    assert _asked(7) == _asked(5)  # a line of the same statement


def test_what_is_run_at_import_is_asked_of_the_file_and_the_declarations():
    """A process that a test has started imports it, too, but so it does all else."""
    for line in (1, 12):
        assert _asked(line) == [f"{OWN}_quick", OWN, DECLARING, FAR]


def test_tests_of_its_folder_come_before_declarations():
    """Which are many, and would take all of the time for others."""
    own = {"tests/explore/command_test.py::asked": 400.0, DECLARING: 400.0}
    found = suite.Suite(own, {"explore/__main__.py": {5: set(own)}})
    assert found.asked(Path("explore/__main__.py"), 1, SOURCE) == [next(iter(own))]


def test_a_line_that_no_test_runs():
    assert suite.Suite({OWN: 1.0}, {}).asked(Path("maths/f.py"), 5, SOURCE) == []


def test_a_context_names_its_test():
    for context, test in (
        ("", ""),
        ("a::b[x|y]|run", "a::b[x|y]"),
        ("a::b[(1)] (call)", "a::b[(1)]"),
    ):
        assert suite._test(context) == test


def test_mistakes_of_a_line():
    found = {(one.old, one.new) for one in mistakes("y = min(a, b) if a < 2 else -c\n")}
    assert {("min", "max"), ("a, b", "b, a"), ("<", "<="), ("2", "3"), ("-c", "c")} <= found
    assert all("\n" not in one.old and one.line == 1 for one in mistakes("y = min(a, b)\n"))
