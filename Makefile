# Every check that a change must pass, and the files that are generated. Run in a virtual environment with '.[dev]'.
PYTHON ?= python

.PHONY: check style types test reports bench calibrations validation

check: style types test

style:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .

types:
	$(PYTHON) -m mypy

test:
	$(PYTHON) -m pytest -n 2

# Files made from the program itself; tests fail when they lag behind.
reports:
	$(PYTHON) -m scripts.cli_reference
	$(PYTHON) -m scripts.validation_reports
	$(PYTHON) -m scripts.figures
	$(PYTHON) -m scripts.paper_reports

bench:
	$(PYTHON) -m benchmarks.start
	$(PYTHON) -m benchmarks.analysis
	$(PYTHON) -m benchmarks.kernels
	$(PYTHON) -m benchmarks.sweep
	$(PYTHON) -m benchmarks.serving
	$(PYTHON) -m benchmarks.reducers
	$(PYTHON) -m benchmarks.reduced_llava

# Parameters of the kernel model, from kernel tables in DATA=DIR that stay outside the repository.
calibrations:
	$(PYTHON) -m scripts.calibrations $(DATA)

# The kernel model against kernels that no fit saw, from the same tables: reports/validation/kernels.md and its charts.
validation:
	$(PYTHON) -m scripts.kernel_validation $(DATA)
