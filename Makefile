# make run and make test need Python >= 3.11 with pip and venv, and nothing else: they set up what they use.
PYTHON ?= python3
SEED ?= 0
SCENARIO ?= topology/gallery/node-offline-uaf.toml
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LINKS := .dev/slubloom

.PHONY: help run test bench yardstick clean

help:
	@echo "make run    search a shipped scenario for a race and see it explained ($(SCENARIO), SEED=$(SEED))"
	@echo "make test   lint, types, import contracts, all tests"
	@echo "make bench  benchmarks, beside their peers"
	@echo "make yardstick  schedules to the first bug, beside published figures; takes long"
	@echo "make clean  remove what the others made"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

# Checkers cannot follow the import hook of an editable install: this folder of links is the package as they see it.
$(LINKS): slubloom $(wildcard slubloom/*)
	rm -rf .dev
	mkdir -p $(LINKS)
	for file in slubloom/*.py slubloom/py.typed slubloom/commands slubloom/compare slubloom/conform slubloom/explore; do ln -s ../../$$file $(LINKS)/; done
	for room in traces topology actors kernel; do ln -s ../../$$room $(LINKS)/$$room; done

run: $(READY)
	$(BIN)/slubloom explore $(SCENARIO) --seed $(SEED)

test: $(READY) $(LINKS)
	$(BIN)/ruff check
	$(BIN)/mypy
	cd .dev && ../$(BIN)/lint-imports --config ../pyproject.toml --no-cache
	$(BIN)/python -m pytest

bench: $(READY)
	for file in bench/*.py; do $(BIN)/python $$file || exit 1; done

# The whole tables take a few hours on two processors; YARDSTICK="--seeds 5 --schedules 1000" is a quick look.
yardstick: $(READY)
	$(BIN)/python -m tests.yardsticks.measure $(YARDSTICK)
	$(BIN)/python -m tests.yardsticks.kernel

clean:
	rm -rf $(VENV) .dev build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
