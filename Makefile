# Each target creates the environment it needs in .venv; constraints.txt pins what is installed.
PYTHON ?= python3
BIN := .venv/bin
# One OpenMP thread a process: two test workers on two cores would otherwise wait for each other.
SERIAL := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: demo test test-slow lint format bench accuracy notebooks clean

.venv/installed: pyproject.toml constraints.txt functional_dists/_kernels.c
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test,demo]"
	touch $@

demo: .venv/installed  ## train the demos' policies and plot their learning curves
	$(BIN)/python notebooks/sac_pendulum.py --output outputs
	$(BIN)/python notebooks/ppo_taxi.py --output outputs
	$(BIN)/python notebooks/mixed_actions.py --output outputs

test: lint  ## lint, types and tests
	$(SERIAL) $(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: .venv/installed  ## the tests that take minutes, which `make test` leaves out
	$(SERIAL) $(BIN)/python -m pytest -n 2 --dist worksteal -m slow

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/bench: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]"
	touch $@

bench: .venv/bench  ## beside TorchRL, torch.distributions and JAX, to benchmarks/RESULTS.md and RESULTS.png
	$(BIN)/python -m benchmarks.compare $(BENCH)

accuracy: .venv/installed  ## errors against 50 digits, beside torch.distributions and TorchRL, to tests/accuracy/TABLE.md
	$(SERIAL) $(BIN)/python -m tests.accuracy.table --peer torch --peer torchrl | tee tests/accuracy/TABLE.md

notebooks: .venv/installed  ## run the notebooks and store their outputs in them
	$(BIN)/jupytext --to ipynb --execute notebooks/sac_pendulum.py notebooks/ppo_taxi.py notebooks/mixed_actions.py

clean:
	rm -rf .venv outputs
