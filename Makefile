# Each target creates the environment it needs in .venv; constraints.txt pins what is installed.
PYTHON ?= python3
BIN := .venv/bin
# One OpenMP thread a process: two test workers on two cores would otherwise wait for each other.
SERIAL := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: demo test test-slow test-versions sanitize lint format bench accuracy notebooks docs docs-serve wheel clean

.venv/installed: pyproject.toml constraints.txt functional_dists/_kernels.c functional_dists/_gamma.h
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test,demo]"
	touch $@

demo: .venv/installed  ## train the demos' policies and plot their learning curves
	$(BIN)/python notebooks/sac_pendulum.py --output outputs
	$(BIN)/python notebooks/ppo_taxi.py --output outputs
	$(BIN)/python notebooks/mixed_actions.py --output outputs
	$(BIN)/python notebooks/multimodal.py --output outputs
	$(BIN)/python notebooks/beta_policy.py --output outputs
	$(BIN)/python notebooks/grpo_tokens.py --output outputs
	$(BIN)/python notebooks/many_devices.py --output outputs

test: lint  ## lint, types and tests
	$(SERIAL) $(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: .venv/wheel  ## the tests that take minutes, which `make test` leaves out
	$(SERIAL) $(BIN)/python -m pytest -n 2 --dist worksteal -m slow

test-versions:  ## the tests on other versions of PyTorch, such as VERSIONS="2.11.0 2.15.0@python3.13"
	$(PYTHON) -m tests.versions $(VERSIONS)

# A copy of the package with an extension that stops at the first wrong address or undefined operation.
SANITIZED := build/sanitized
sanitize: .venv/installed  ## the tests of the C functions, with the sanitizers of addresses and of undefined behaviour
	rm -rf $(SANITIZED) && mkdir -p $(SANITIZED) && cp -r functional_dists tests pyproject.toml $(SANITIZED)
	$(CC) -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-math-errno -fno-trapping-math \
		-ffp-contract=off -shared -fPIC -I$$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('include'))") \
		functional_dists/_kernels.c -lm -o $(SANITIZED)/functional_dists/_kernels.abi3.so
	cd $(SANITIZED) && LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
		ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=. $(SERIAL) $(abspath $(BIN))/python -m pytest -q tests/test_kernels.py

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
	$(BIN)/jupytext --to ipynb --execute notebooks/sac_pendulum.py notebooks/ppo_taxi.py notebooks/mixed_actions.py \
		notebooks/multimodal.py notebooks/beta_policy.py notebooks/grpo_tokens.py notebooks/many_devices.py

.venv/docs: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

docs: .venv/docs  ## build the site into build/docs; a warning, a broken link or an undocumented name fails
	$(SERIAL) $(BIN)/sphinx-build -W --keep-going docs build/docs
	$(BIN)/python docs/check_site.py build/docs

docs-serve: docs  ## show the site at http://127.0.0.1:8000
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/docs 8000

.venv/wheel: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[wheel]"
	touch $@

# Without PyTorch: pip builds in environments of their own, the wheel from the sdist.
wheel: .venv/wheel  ## the sdist and the wheel into dist/; then the wheel is used where there is no C compiler
	rm -rf dist build/wheel functional_dists.egg-info && mkdir dist  # the last names files of earlier sdists
	PIP_CONSTRAINT=$(abspath constraints.txt) $(BIN)/python -m build --outdir build/wheel
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/auditwheel repair --strip --wheel-dir dist build/wheel/*.whl
	$(BIN)/abi3audit --strict dist/*.whl
	mv build/wheel/*.tar.gz dist
	$(BIN)/python -m tests.wheel.check dist/*.whl

clean:
	rm -rf .venv outputs build dist docs/about docs/measured docs/notebooks docs/reference
