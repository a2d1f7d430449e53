# Everything that is run by hand or by CI; `make check` is what a change must pass.
PYTHON ?= python
EXPERIMENTS = basic_run sigma_series posterior_collapse turns unknown_sigma anisotropic \
  heteroscedastic sigma_laws n_and_sigma

.PHONY: check lint test reference soak benchmarks experiments

check: lint test

lint:
	ruff format --check .
	ruff check .
	mypy

test:
	$(PYTHON) -m pytest -n 2

reference:
	$(PYTHON) -m spiral_vae.present.reference docs

soak:
	$(PYTHON) -m soak

benchmarks:
	$(PYTHON) -m benchmarks

experiments:
	set -e; for name in $(EXPERIMENTS); do \
	  $(PYTHON) -m experiments.$$name; \
	done
