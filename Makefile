# make demo | test | test-interop | test-long | bench | check | format | lock | image | clean
# PYTHON= chooses the interpreter, VENV= the environment's folder, ARGS= goes to pytest, to the demo or to the bench.
VENV ?= .venv
IMAGE ?= sipbridge
ARGS ?=
export VENV
export PYTHON
PY := $(VENV)/bin/python
CODE := bridge tests setup.py

.PHONY: help demo test test-interop test-long bench check format lock image clean set-up phones peers

help:
	@sed -n '1,2s/^# //p' Makefile

set-up:
	@scripts/set-up dev

phones: set-up
	@scripts/phones

# The big ones: Asterisk, Kamailio, linphone, scanners.
peers: set-up
	@scripts/peers

demo:
	@scripts/set-up demo
	@$(PY) -m bridge demo $(ARGS)

# What fails must fail once more alone: two programs may have been given one port, and other users of the machine take
# time from those that measure. The first argument chooses the tests, the second is for the first try only.
once_more = ( $(PY) -m pytest $(1) $(2) $(ARGS) || { code=$$?; [ $$code = 1 ] || exit $$code; \
	echo "test: the failed ones again, alone"; \
	$(PY) -m pytest $(1) --last-failed --last-failed-no-failures none $(ARGS); } )

# Most tests wait for other processes: three of them side by side. Then those that measure.
TOGETHER := -q -rs -m "not interop and not long and not alone"
test: set-up phones
	@$(call once_more,$(TOGETHER),-n 3 --dist loadfile)
	@$(call once_more,-q -rs -m "alone and not interop and not long") || [ $$? = 5 ]

test-interop: set-up phones peers
	@$(call once_more,-q -rs -m interop)

# Exit code 5 is pytest's "no test was chosen".
test-long: set-up phones
	@$(PY) -m pytest -q -rs -m long $(ARGS) || { [ $$? = 5 ] && echo "test-long: no long tests yet"; }

# Calls per core, latencies, memory: about 25 minutes on two cores that nobody else uses. ARGS=--list shows the cases.
bench: set-up
	@$(PY) -m tests.bench $(ARGS)

check: set-up
	@$(PY) -m ruff format --check $(CODE)
	@$(PY) -m ruff check $(CODE)
	@$(PY) -m mypy

format: set-up
	@$(PY) -m ruff format $(CODE)
	@$(PY) -m ruff check --fix $(CODE)

lock:
	@scripts/lock

image:
	docker build -t $(IMAGE) .

clean:
	rm -rf .venv .cache build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find bridge tests -name __pycache__ -type d -prune -exec rm -rf {} +
