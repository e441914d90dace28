# Everything runs in .venv/, which `make setup` makes.  PYTHON=python3.12 names the interpreter it is made with.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# processes that run tests side by side, a file at a time each
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-long lint docs clean

help: ## list the targets
	@echo "make <target>:"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-12s %s\n", $$1, $$2 }'

setup: $(STAMP) ## make .venv/ and install requirements.txt (nothing to do when up to date)
	@echo "== setup: $(VENV)/ is up to date"

# The stamp is written last, so an installation that broke off is taken up again.
$(STAMP): requirements.txt
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "error: there is no $(PYTHON). Install Python 3.11, or name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $$($(PYTHON) --version) is too old for requirements.txt. Name a newer one: make setup PYTHON=python3.11" >&2; exit 1; }
	@echo "== setup: making $(VENV)/ with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "error: no virtual environment could be made. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "== setup: installing requirements.txt (PyTorch is large: this takes minutes)"
	@$(RUN) -m pip install -r requirements.txt || { \
	  echo "error: pip failed, see above. Mend the cause and run make setup again" >&2; exit 1; }
	@touch $(STAMP)

quickstart: setup ## pre-train on walker pixels, fine-tune on walker_stand, draw a poster, name every file made (10 minutes)
	@echo "== quickstart: rendering check, pre-training, fine-tuning, summary"
	@$(RUN) quickstart.py

test: setup ## run the tests (10 minutes on two cores); ARGS='-k name' goes to pytest
	@echo "== test: pytest, without the long ones"
	@$(RUN) -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

# A test that may take more than the 300 s of pyproject.toml says so itself: @pytest.mark.timeout(...).
test-long: setup ## run all tests, with the full counts of kills, fuzzing and soaks (13 GB of disk)
	@echo "== test-long: pytest, all of it"
	@$(RUN) -m pytest -n $(WORKERS) --dist loadfile -m "long or not long" $(ARGS)

lint: setup ## check format, lint and types
	@echo "== lint: ruff format, ruff check, mypy"
	@$(RUN) -m ruff format --check .
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy

docs: setup ## the documentation as a site in site/, links checked
	@echo "== docs: site/"
	@$(RUN) -m mkdocs build --quiet --strict

clean: ## remove caches; runs, snapshots and .venv/ stay
	@echo "== clean: removing caches; exp_local/, exp_sweep/, pretrained_models/ and $(VENV)/ stay"
	@rm -rf .pytest_cache .hypothesis .mypy_cache .ruff_cache
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -not -path './.git/*' -prune -exec rm -rf {} +
