# Everything runs in .venv, which the first target that needs it creates and fills. By hand nothing has to be
# installed but make itself and a Python from 3.10 to 3.12.
#
# PYTHON          which Python makes the environment, for example: make env PYTHON=python3.12
# TORCH           which torch is installed; TORCH_PIP_ARGS says from where, for example the index of CPU builds
# PYTEST_ARGS     more arguments of pytest, for example: make test PYTEST_ARGS="-k geometry"
# BENCH_IMAGE     a real image with constant air, for make bench; BENCH_CUDA_SCALE: enlargement of make bench-cuda
# SLICER          the program Slicer that make test-slicer starts
# DATA            folder of the test images of make zoo-report, else SUPERRESOLUTION_DATA names it; MODELS: folder of
#                 further models, not bundled; RUNS: folders of runs, whose curves are kept; ZOO_ARGS: more arguments

PYTHON ?= python3
TORCH ?= torch==2.13.0
TORCH_PIP_ARGS ?=
PYTEST_ARGS ?=
SLICER ?= Slicer
DATA ?= $(SUPERRESOLUTION_DATA)
MODELS ?=
RUNS ?=
ZOO_ARGS ?=

BENCH_IMAGE ?=
BENCH_CUDA_SCALE ?= 2

VENV := .venv
BIN := $(VENV)/bin
BENCH = $(BIN)/superres bench --overwrite
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input

# The module's own test, and the plain unittest files that Testing/CMakeLists.txt registers.
SELF_TESTS := SuperResolution $(basename $(notdir $(wildcard Testing/SuperResolution*Test.py)))

.PHONY: help env web demo screenshots zoo-report test test-slicer bench bench-cuda bench-report lint clean distclean

help:
	@echo "make demo       upscale two real images and draw a side-by-side picture"
	@echo "make test       run the whole test suite"
	@echo "make test-slicer SLICER=/path/to/Slicer   run the self-tests inside Slicer"
	@echo "make screenshots   draw the pictures of the panel and the web page anew (no Slicer needed)"
	@echo "make bench      measure speed and memory into docs/bench (an hour or more; nothing else should run)"
	@echo "make bench-cuda    the same on a graphics card"
	@echo "make bench-report   write docs/PERFORMANCE.md from docs/bench"
	@echo "make zoo-report DATA=folder   measure every model and write docs/MODELS.md"
	@echo "make env        only create the environment: $(BIN)/superres"
	@echo "make web        also install the web page: $(BIN)/superres view"
	@echo "make lint       check the style of the code"
	@echo "make clean      remove outputs and caches; make distclean removes $(VENV) as well"

# The web page, superres view.
web: $(VENV)/.has-web
	@echo "Ready: $(BIN)/superres view"

env: $(VENV)/.has-cli
	@echo "Ready: $(BIN)/superres"

demo: $(VENV)/.has-cli
	$(BIN)/superres demo

test: $(VENV)/.has-test
	$(BIN)/python Testing/install_system_libraries.py
	$(BIN)/python -m pytest Testing $(PYTEST_ARGS)

# As ctest runs them in a build of Slicer. torch and Resources/requirements.txt must be in Slicer's Python.
test-slicer:
	@for name in $(SELF_TESTS); do \
		echo "$$name"; \
		"$(SLICER)" --no-splash --testing --no-main-window --disable-cli-modules \
			--additional-module-paths "$(CURDIR)/SuperResolution" \
			--python-code "import slicer.testing; slicer.testing.runUnitTest(['$(CURDIR)/Testing'], '$$name')" \
			|| exit 1; \
	done

screenshots: $(VENV)/.has-test
	$(BIN)/python Testing/install_system_libraries.py
	$(BIN)/python -m Testing.screenshots
	$(BIN)/python -m Testing.page_screenshots

# Each measurement is a file of docs/bench. BENCH_IMAGE: a real head whose air is constant, for what skipping gains.
bench: $(VENV)/.has-bench
	$(BENCH) --model edsr-ise-general-psnr --scale 4 --size 256x256x64 --peers --output docs/bench/1-edsr-ise-int16.json
	$(BENCH) --model edsr-ise-general-psnr --scale 4 --size 256x256x16 --type uint8 --peers --output docs/bench/2-edsr-ise-uint8.json
	$(BENCH) --model span-general-psnr --scale 4 --size 256x256x64 --peers --output docs/bench/3-span-int16.json
	$(BENCH) --model span-general-psnr --scale 4 --series scaling --repeats 3 --output docs/bench/4-scaling.json
	$(BENCH) --model span-general-psnr --scale 4 --series memory --backend openvino --output docs/bench/5-memory.json
ifneq ($(BENCH_IMAGE),)
	$(BENCH) --model span-general-psnr --scale 4 --series skipping --image "$(BENCH_IMAGE)" --output docs/bench/6-skipping.json
endif

# On a machine with a CUDA card: the same network at x2, and everything that the card can do.
bench-cuda: $(VENV)/.has-bench
	$(BENCH) --model edsr-ise-general-psnr --scale $(BENCH_CUDA_SCALE) --device cuda --size 512x512x300 --peers \
		--output docs/bench/7-cuda.json

bench-report: $(VENV)/.has-cli
	$(BIN)/superres bench-report docs/bench docs/PERFORMANCE.md

zoo-report: $(VENV)/.has-test
	$(BIN)/python -m training zoo-report $(if $(DATA),"$(DATA)") $(if $(MODELS),--models "$(MODELS)") \
		$(if $(RUNS),--runs $(RUNS)) $(ZOO_ARGS)

lint: $(VENV)/.has-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# A stamp file in the environment says that a step is done, so that a second run starts at once.
$(VENV)/.has-python:
	@sh Testing/create_environment.sh "$(PYTHON)" "$(VENV)"
	@touch $@

# torch is named first and alone: what is installed after it then finds its need met and pulls no other build.
$(VENV)/.has-torch: $(VENV)/.has-python
	@echo "Installing $(TORCH) (a large download)"
	@$(PIP) install $(TORCH_PIP_ARGS) "$(TORCH)"
	@touch $@

$(VENV)/.has-cli: $(VENV)/.has-torch pyproject.toml
	@echo "Installing SuperResolution with its terminal program"
	@$(PIP) install --editable ".[cli]"
	@touch $@

$(VENV)/.has-web: $(VENV)/.has-cli pyproject.toml
	@echo "Installing the web page"
	@$(PIP) install --editable ".[cli,viewer]"
	@touch $@

$(VENV)/.has-bench: $(VENV)/.has-cli pyproject.toml
	@echo "Installing what the measurements compare with"
	@$(PIP) install --editable ".[cli,speed,bench]"
	@touch $@

$(VENV)/.has-test: $(VENV)/.has-cli pyproject.toml
	@echo "Installing what the tests need"
	@$(PIP) install --editable ".[cli,training,viewer,test]"
	@touch $@

$(VENV)/.has-dev: $(VENV)/.has-python pyproject.toml
	@echo "Installing the style checker"
	@$(PIP) install --editable ".[dev]"
	@touch $@

clean:
	rm -rf demo build dist .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path "./$(VENV)/*" -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) SuperResolution/*.egg-info
