"""Whether the tests notice plausible mistakes; `python -m mutants` tries."""
