# Every target sets up .venv by itself: Python 3.11 or newer, make and pip are enough.
PYTHON ?= python3
PROFILE ?= laptop
BIN := .venv/bin
STAMP := .venv/.installed
NBVAL := --nbval --nbval-sanitize-with=tests/notebooks/sanitize.cfg --nbval-cell-timeout=600
# Two workers share two cores: more threads than cores would only wait for each other. Files start
# in the order of their names; by the number of their tests, as xdist would, the longest would start last.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

.PHONY: help setup run reproduce lab explore report test test-slow test-gpu assignments instructor-pack site

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## create .venv with the tested versions

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "resflow-lite needs Python 3.11 or newer, and $(PYTHON) is not: name another, as in make setup PYTHON=python3.12"; \
		exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -c constraints.txt -e .[dev,course]
	@touch $@

run: $(STAMP) ## train on digits and build the page of results; parameters: make run PARAMS="-p steps 200"
	$(BIN)/python -m resflow_lite run $(PARAMS)

reproduce: $(STAMP) ## train the runs of the reproduction, and go on after an interruption: make reproduce PROFILE=smoke PARAMS="toy"
	$(BIN)/python -m resflow_lite reproduce --profile $(PROFILE) $(PARAMS)

lab: $(STAMP) ## open JupyterLab on the notebooks
	$(BIN)/python -m resflow_lite lab $(PARAMS)

explore: $(STAMP) ## open the explorers of chapters 1 to 7 as a page without code
	$(BIN)/python -m resflow_lite explore $(PARAMS)

report: $(STAMP) ## make the page of results and the tables of the README from data/results/
	$(BIN)/python -m resflow_lite report

test: $(STAMP) ## run the tests, and every notebook against its stored outputs
	$(PYTEST) -m "not slow" $(NBVAL) tests notebooks

test-slow: $(STAMP) ## run the tests that take minutes
	$(PYTEST) -m slow tests

test-gpu: $(STAMP) ## run the tests that need a GPU; its table of times: .venv/bin/python tests/benchmarks/gpu.py
	$(BIN)/python -m pytest tests/gpu

assignments: $(STAMP) ## write the students' hand-outs; for a term: make assignments PARAMS="--term 2027"
	$(BIN)/python notebooks/assignments/course handout $(PARAMS)

instructor-pack: $(STAMP) ## write what only instructors may see: solutions, hidden tests, rubrics, the grader
	$(BIN)/python notebooks/assignments/course pack $(PARAMS)

site: $(STAMP) ## build the book as a site, in build/site/html, without network
	@$(BIN)/python -c 'import jupyter_book, pdoc' 2>/dev/null || $(BIN)/python -m pip install -c constraints.txt -e .[site]
	$(BIN)/python notebooks/site/build.py
