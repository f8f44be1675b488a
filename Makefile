# make demo | test | test-interop | test-long | check | format | lock | image | clean
# PYTHON= chooses the interpreter, VENV= the environment's folder, ARGS= goes to pytest or to the demo.
VENV ?= .venv
IMAGE ?= sipbridge
ARGS ?=
export VENV
export PYTHON
PY := $(VENV)/bin/python
CODE := bridge tests

.PHONY: help demo test test-interop test-long check format lock image clean set-up phones peers

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

# Most tests wait for other processes: three of them side by side; what fails so must fail once more alone, as two may
# have been given one port. Then those that measure.
TOGETHER := -q -rs -m "not interop and not long and not alone"
test: set-up phones
	@$(PY) -m pytest $(TOGETHER) -n 3 --dist loadfile $(ARGS) || { [ $$? = 1 ] && echo "test: the failed ones again, alone" && \
		$(PY) -m pytest $(TOGETHER) --last-failed --last-failed-no-failures none $(ARGS); }
	@$(PY) -m pytest -q -rs -m "alone and not interop and not long" $(ARGS) || [ $$? = 5 ]

test-interop: set-up phones peers
	@$(PY) -m pytest -q -rs -m interop $(ARGS)

# Exit code 5 is pytest's "no test was chosen".
test-long: set-up phones
	@$(PY) -m pytest -q -rs -m long $(ARGS) || { [ $$? = 5 ] && echo "test-long: no long tests yet"; }

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
