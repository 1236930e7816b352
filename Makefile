# Every check that a change must pass, and the files that are generated. Run in a virtual environment with '.[dev]'.
PYTHON ?= python

.PHONY: check style types test coverage mutation docs reports notebooks bench calibrations validation

check: style types test docs

style:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .

types:
	$(PYTHON) -m mypy

test:
	$(PYTHON) -m pytest -n 2

# The documentation as a site, in site/: index.html can be opened from disk. A link that leads nowhere stops it.
docs:
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict

# Branches of the core that tests take; what a test starts as a process of its own is not seen. The second figure is
# without the code that needs a GPU, which no test runs where there is none.
coverage:
	$(PYTHON) -m pytest -n 2 -q --cov --cov-report=term --cov-fail-under=95
	$(PYTHON) -m coverage report --omit='perfkit/web/*,perfkit/measuring/cuda.py'

# How many small changes of the formulas their tests notice: docs/mutation.md. Needs mutmut, which no extra installs.
mutation:
	$(PYTHON) -m mutmut run --max-children 2
	$(PYTHON) -m mutmut results

# Files made from the program itself; tests fail when they lag behind.
reports:
	$(PYTHON) -m scripts.cli_reference
	$(PYTHON) -m scripts.validation_reports
	$(PYTHON) -m scripts.figures
	$(PYTHON) -m scripts.paper_reports
	$(PYTHON) -m scripts.source_pages
	$(PYTHON) -m scripts.accuracy_page
	$(PYTHON) -m scripts.json_forms
	$(PYTHON) -m scripts.transcripts

# What the notebooks show, each run from a clean kernel.
notebooks:
	$(PYTHON) -m scripts.notebooks

bench:
	$(PYTHON) -m benchmarks.start
	$(PYTHON) -m benchmarks.analysis
	$(PYTHON) -m benchmarks.kernels
	$(PYTHON) -m benchmarks.sweep
	$(PYTHON) -m benchmarks.serving
	$(PYTHON) -m benchmarks.page
	$(PYTHON) -m benchmarks.reducers
	$(PYTHON) -m benchmarks.reduced_llava

# Parameters of the kernel model, from kernel tables in DATA=DIR that stay outside the repository.
calibrations:
	$(PYTHON) -m scripts.calibrations $(DATA)

# The kernel model against kernels that no fit saw, from the same tables: reports/validation/kernels.md and its charts.
validation:
	$(PYTHON) -m scripts.kernel_validation $(DATA)
