# Every target makes the environment it needs by itself.
#
#   make bitstream [BOARD=ulx3s_85f] [NETWORK=hybnn-mini] [TARGET_CYCLES=...] [OPTIONS=...]
#   make env | test | sim | formal | bench | lint | clean | zoo-check
#
# BOARD=zcu102 and BOARD=ultra96v2 need Vivado; where there is none, `bitstream` writes the project
# for it, says how to go on, and ends in error 3. OPTIONS are those of `python -m boards.build`.
# `formal` proves properties of streams, AXI ports and memory engines, and is part of `test`.

PYTHON ?= python3
BOARD ?= ulx3s_85f
NETWORK ?= hybnn-mini
TARGET_CYCLES ?=
OPTIONS ?=
# Parallel test workers.
JOBS ?= 2
# The PyTorch release whose wheel brings no CUDA libraries; any release in the range of
# pyproject.toml does.
TORCH ?= torch==2.13.0

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Two stamps: a bitstream needs neither PyTorch nor a simulator.
BUILD_STAMP := $(VENV)/.stamp-build
FULL_STAMP := $(VENV)/.stamp-full

.PHONY: bitstream env test sim formal bench lint clean zoo-check
.DELETE_ON_ERROR:

bitstream: $(BUILD_STAMP)
	$(BIN)/python -m boards.build $(BOARD) $(NETWORK) \
		$(if $(TARGET_CYCLES),--target-cycles $(TARGET_CYCLES)) $(OPTIONS)

env: $(FULL_STAMP)

test: $(FULL_STAMP)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal tests sim formal

sim: $(FULL_STAMP)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal sim

formal: $(FULL_STAMP)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal formal

bench: $(FULL_STAMP)
	$(BIN)/python -m bench

zoo-check: $(FULL_STAMP)
	$(BIN)/python -m model.zoo_check

lint: $(FULL_STAMP)
	$(BIN)/ruff check .

clean:
	rm -rf build .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: Bitwright needs Python 3.11 or newer; name one with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "error: $(PYTHON) -m venv failed; on Debian: apt install python3-venv" >&2; exit 1; }

$(BUILD_STAMP): pyproject.toml | $(BIN)/python
	@echo "Installing the tools for bitstreams into $(VENV)"
	$(PIP) --editable .
	@touch $@

$(FULL_STAMP): pyproject.toml | $(BIN)/python
	@echo "Installing all tools, PyTorch included, into $(VENV)"
	$(PIP) --editable '.[sim,test]' '$(TORCH)'
	@touch $(BUILD_STAMP) $@
