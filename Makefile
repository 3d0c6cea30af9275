# Two commands are enough on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin
# Never torchvision next to CPU torch: it breaks the import of transformers.
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: demo serve test test-fast test-full fuzz lint mutants bench docs clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --progress-bar on $(TORCH)
	$(BIN)/pip install --quiet --progress-bar on -c constraints.txt -e '.[dev]'
	@touch $@

demo: .venv/ready
	$(BIN)/crosscue demo

# The page over the emoji of `make demo`, with the model before and after.
serve: .venv/ready
	$(BIN)/crosscue serve runs/demo/emoji.crosscue --open

# One process a core, one thread each (tests/conftest.py); tests that share downloads stay in one process.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadgroup

test: .venv/ready lint
	$(PYTEST)

test-fast: .venv/ready lint
	$(PYTEST) -m "not slow and not starter"

# Every method with every family, where `make test` has each row of the contract with one, or two: graphs, and gradients of several processes.
test-full: .venv/ready
	CROSSCUE_FULL=1 $(PYTEST) tests/exporting/test_graphs.py tests/training/test_processes.py

# Ten times the damaged sources and images of `make test`; where atheris is installed, as many that follow the branches of the readers.
fuzz: .venv/ready
	CROSSCUE_FUZZ=20000 $(BIN)/python -m pytest tests/data/test_fuzzing.py
	if $(BIN)/python -c "import atheris" 2>/dev/null; then $(BIN)/python -m tests.data.coverage_fuzzing -runs=20000 -seed=1 -max_total_time=900; fi

lint: .venv/ready
	$(BIN)/ruff check src tests scripts benchmarks examples
	$(BIN)/ruff format --check src tests scripts benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_words.py

# 400 sampled changes of the numeric rooms, and those of tests/mutants.toml; an interrupted run continues.
mutants: .venv/ready
	nice -n 19 $(BIN)/python scripts/mutants.py

# Real captions set the lengths that speed depends on: `make bench CAPTIONS=SOURCE` takes any source of pairs.
SHARED := $(or $(CROSSCUE_SHARED),../shared/data)
CAPTIONS ?= $(SHARED)/fdrd_caltech101

bench: .venv/ready
	$(BIN)/python benchmarks/ceiling.py
	$(BIN)/python benchmarks/linear_kernels.py
	$(BIN)/python benchmarks/attention.py
	$(BIN)/python benchmarks/image_encoding.py
	$(BIN)/python benchmarks/text_encoding.py $(CAPTIONS)
	$(BIN)/python benchmarks/ranks.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/normalising.py $(CAPTIONS)
	$(BIN)/python benchmarks/late_interaction.py
	$(BIN)/python benchmarks/prompt_steps.py $(CAPTIONS)
	$(BIN)/python benchmarks/dcar_step.py $(CAPTIONS)
	$(BIN)/python benchmarks/dcar_parts.py $(CAPTIONS)
	$(BIN)/python benchmarks/rerank.py $(CAPTIONS)
	$(BIN)/python benchmarks/two_processes.py $(CAPTIONS)
	$(BIN)/python benchmarks/frozen_features.py $(CAPTIONS)
	$(BIN)/python benchmarks/acke_step.py $(CAPTIONS)
	$(BIN)/python benchmarks/act_step.py $(CAPTIONS)
	$(BIN)/python benchmarks/plan.py $(CAPTIONS)
	$(BIN)/python benchmarks/plan_commands.py $(CAPTIONS)
	$(BIN)/python benchmarks/search.py $(SHARED) --sizes 20000
	test -d exports/starter || $(BIN)/crosscue export onnx zero_shot --data $(CAPTIONS) --out exports/starter
	$(BIN)/python benchmarks/onnx_encoding.py $(CAPTIONS)
	$(BIN)/python benchmarks/serving.py exports/starter
	PYTHONPATH=. $(BIN)/python benchmarks/replicas.py exports/starter
	$(BIN)/python benchmarks/peers.py $(CAPTIONS) --environment runs/peers

# The site goes into site/; a warning fails the target.
docs: .venv/ready
	$(BIN)/python scripts/render_reference.py
	$(BIN)/zensical build --strict --clean

clean:
	rm -rf .venv runs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
