# Everything that is run by hand or by CI; `make check` is what a change must pass.
PYTHON ?= python
EXPERIMENTS = basic_run sigma_series posterior_collapse turns unknown_sigma anisotropic \
  heteroscedastic sigma_laws n_and_sigma posteriors amortisation gradients curves ambiguity dynamics \
  bidirectional claims.signal_to_noise claims.rate claims.regularised claims.wrong_models \
  claims.width

# Pythons of `make matrix`; each gets an environment of its own with the newest versions.
PYTHONS ?= python3.11 python3.13

.PHONY: check lint test matrix mutants reference soak benchmarks experiments explorer notebook \
  standing

check: lint test

lint:
	ruff format --check .
	ruff check .
	mypy

test:
	$(PYTHON) -m pytest -n 2 --dist loadfile

matrix:
	set -e; for python in $(PYTHONS); do \
	  $$python -m venv .venv-$$python; \
	  .venv-$$python/bin/pip install --quiet -r requirements-dev.txt; \
	  PATH=$$PWD/.venv-$$python/bin:$$PATH $(MAKE) check; \
	done

mutants:
	$(PYTHON) -m mutants

reference:
	$(PYTHON) -m spiral_vae.present.reference docs
	$(PYTHON) -m spiral_vae.judge.reference docs

soak:
	$(PYTHON) -m soak

benchmarks:
	$(PYTHON) -m benchmarks

experiments:
	set -e; for name in $(EXPERIMENTS); do \
	  $(PYTHON) -m experiments.$$name; \
	done

# All methods on all problems; stopped, it goes on.
standing:
	$(PYTHON) -m spiral_vae.judge --standing --workdir=runs/standing
	$(PYTHON) -m spiral_vae.judge.reference docs

# 25 sigmas x 4 seeds of two small hidden layers; 2 minutes.
explorer:
	rm -rf runs/sigma_sweep
	$(PYTHON) -m spiral_vae.main --workdir=runs/sigma_sweep --explore --config.num_seeds=4 \
	  --sweep='likelihood.sigma=log(0.02,2,25)' --config.train.num_epochs=10000 \
	  --config.model.encoder.hidden_layers=2 --config.model.encoder.hidden_dim=20 \
	  --config.model.decoder.hidden_layers=2 --config.model.decoder.hidden_dim=20
	cp runs/sigma_sweep/explorer.html docs/explorer/sigma_sweep.html
	$(PYTHON) -m benchmarks.explorer docs/explorer/sigma_sweep.html \
	  --picture=docs/explorer/sigma_sweep.png

# With all epochs; 4 minutes.
notebook:
	PYTHONPATH=$(CURDIR) $(PYTHON) docs/notebook.py docs/story.ipynb
