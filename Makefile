# make demo    find faces in the demonstration picture
# make test    set up every framework, check style and types, run all tests
# make help    the other targets

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
PACKAGING := setup.cfg pyproject.toml constraints.txt

DEMO_PICTURE := docs/pictures/demo.jpg
DEMO_MODEL := zoo-260
# A mirror of AIZOO's published weights beside the checkout is used where there is one.
SIBLING_MIRROR := $(wildcard ../shared/aizoo)
ifneq ($(SIBLING_MIRROR),)
export FACEMASK_ZOO_MIRROR ?= $(abspath $(SIBLING_MIRROR))
endif
# node, and where it finds TensorFlow.js
export PATH := $(abspath $(BIN)):$(PATH)
export NODE_PATH := $(abspath $(VENV))/tfjs/node_modules

.PHONY: demo test test-scale lint format parity bench precisions evaluation landmarks-crops landmarks-evaluation accuracy-plot convert-matrix sharing standalone test-matrix fuzz fuzz-files docs notebooks release masked-set masks-called schemas tiles fuzz-media lock goldens clean help
.DEFAULT_GOAL := help

help:
	@echo "make demo     find faces in $(DEMO_PICTURE)"
	@echo "make test     set up every framework, check style and types, run all tests"
	@echo "make test-scale  soak, kill and cluster tests at length; minutes"
	@echo "make lint     style and types alone"
	@echo "make format   let ruff put the code in order"
	@echo "make parity   measure every framework against the reference; writes README's table"
	@echo "make bench    speed of everything here, on a quiet machine; writes docs/performance.md"
	@echo "make precisions  half precision and integers, on labelled pictures; writes docs/converting.md"
	@echo "make evaluation  all models and peers on labelled pictures; writes README, docs/evaluation.md"
	@echo "make landmarks-evaluation  the landmark network against MediaPipe; writes docs/landmarks.md"
	@echo "make accuracy-plot  their accuracy against measured time, on a quiet machine"
	@echo "make tiles    windows over large pictures; writes docs/detect-pictures.md"
	@echo "make convert-matrix  every format into every other; writes docs/conversions.md"
	@echo "make sharing  threads on one detector and processes on one cache, every framework; minutes"
	@echo "make masked-set  2,000 generated pictures, killed midway and resumed; writes docs/masks.md"
	@echo "make masks-called  what aizoo-360 makes of drawn masks; writes docs/masks.md"
	@echo "make standalone  every framework with its own extra alone; minutes and gigabytes"
	@echo "make test-matrix  Python, NumPy, oldest and newest frameworks; an hour and gigabytes"
	@echo "make fuzz-files  damage every readable kind of file in thousands of places"
	@echo "make fuzz-media  the same for pictures and videos alone; a few minutes"
	@echo "make fuzz     coverage-guided fuzzing of every reader; FUZZ_SECONDS=150 for each"
	@echo "make docs     the pages of docs/ as a site, in out/site"
	@echo "make notebooks  run the notebooks of docs/ and keep what they print"
	@echo "make release  wheel, source and every model in every format into dist/, with SHA256SUMS"
	@echo "make lock     write the versions in the environment to constraints.txt"
	@echo "make goldens  rebuild the golden tensors of the tests"
	@echo "make clean    remove environments and caches"

demo: $(VENV)/.base
	$(BIN)/facemask-zoo detect $(DEMO_PICTURE) --model $(DEMO_MODEL) --output out/demo.jpg --overwrite
	@echo "The picture with boxes: out/demo.jpg"

# Two processes, a file of tests in each; more would want several gigabytes each.
test: lint
	$(BIN)/pytest --require-frameworks --numprocesses 2 --dist loadfile

# What make test does in a short version: ten kills, a cluster under load, thousands of frames.
test-scale: $(VENV)/.all
	$(BIN)/pytest --require-frameworks -m scale
	$(BIN)/python tests/stream_soak.py --write docs/detect-videos.md

lint: $(VENV)/.all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.all
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

parity: $(VENV)/.all
	$(BIN)/python -m facemask_zoo.benchmarks.parity --picture $(DEMO_PICTURE) --write README.md

# One folder of results for each kind of machine; half an hour, with nothing else running.
BENCH = benchmarks/results/$(shell $(BIN)/python -m facemask_zoo.benchmarks.environment)
BENCHED ?= zoo-260 aizoo-360
YUNET ?= $(wildcard ../shared/peers/yunet_2026may.onnx)
# Else the time of imports is that of compiling the package again in every process.
bench: export PYTHONDONTWRITEBYTECODE =
bench: $(VENV)/.all
	$(BIN)/facemask-zoo bench --model $(BENCHED) --batch 1 8 --picture $(DEMO_PICTURE) \
		--output $(BENCH) --write README.md --overwrite
	$(BIN)/python -m facemask_zoo.benchmarks.peers --picture $(DEMO_PICTURE) \
		$(if $(YUNET),--yunet $(YUNET)) --output $(BENCH)/peers.json --overwrite
	$(BIN)/python -m facemask_zoo.benchmarks.growth --output $(BENCH)/growth.json \
		--plot $(BENCH)/growth.png --overwrite
	$(BIN)/python -m facemask_zoo.benchmarks.performance --bench $(BENCH)/results.json \
		--peers $(BENCH)/peers.json --growth $(BENCH)/growth.json --write docs/performance.md
	$(BIN)/python -m facemask_zoo.benchmarks.fastest $(BENCH)/results.json \
		--write facemask_zoo/backends/fastest.json

# A folder with val.json, val/ and train/, such as users do not have.
LABELLED ?= ../shared/data/detection
precisions: $(VENV)/.all
	$(BIN)/python -m facemask_zoo.benchmarks.precisions --data $(LABELLED)/val.json \
		--images $(LABELLED)/val --calibration $(LABELLED)/train --write docs/converting.md

# Face detectors to measure against, which users bring themselves; the folder for what is measured.
PEERS ?= ../shared/peers
MEASURED ?= out/evaluation
EVALUATED ?= zoo-416 zoo-m@640 zoo-m@480x640 zoo-m@416 zoo-260 aizoo-360 aizoo-260
FACE_PEERS := $(BIN)/python -m facemask_zoo.benchmarks.face_peers --data $(LABELLED)/val.json \
	--negatives $(LABELLED)/negatives --negatives-last 100 --overwrite
peer = --output $(MEASURED)/$(1).json --negatives-output $(MEASURED)/$(1).negatives.json
boxes = --face-results '$(1)@0.6=$(MEASURED)/$(1).json' \
	--negative-results '$(1)=$(MEASURED)/$(1).negatives.json'
evaluation: $(VENV)/.all
	$(FACE_PEERS) --network $(PEERS)/yunet_n_dynamic.onnx $(call peer,YuNet-n)
	$(FACE_PEERS) --network $(PEERS)/yunet_n_dynamic.onnx --enlarge 1.75 $(call peer,YuNet-n-x1.75)
	$(FACE_PEERS) --network $(PEERS)/yunet_2026may.onnx --engine opencv $(call peer,YuNet-2026)
	$(FACE_PEERS) --network $(PEERS)/yunet_2026may.onnx --engine opencv --enlarge 1.75 \
		$(call peer,YuNet-2026-x1.75)
	$(BIN)/facemask-zoo eval --data $(LABELLED)/val.json --model $(EVALUATED) --framework onnx \
		--negatives $(LABELLED)/negatives --negatives-last 100 --false-at 0.3 0.7 \
		--group clean=jolignier1750,chienyld678 $(call boxes,YuNet-n) $(call boxes,YuNet-n-x1.75) \
		$(call boxes,YuNet-2026) $(call boxes,YuNet-2026-x1.75) \
		--report $(MEASURED)/ap --overwrite
	$(BIN)/facemask-zoo eval --data $(LABELLED)/../two_stage --protocol dataroots \
		--model $(EVALUATED) --framework onnx --report $(MEASURED)/dataroots --overwrite
	$(BIN)/python -m facemask_zoo.benchmarks.accuracy_tables --results $(MEASURED)/ap/results.json \
		--dataroots $(MEASURED)/dataroots/results.json --write docs/evaluation.md --readme README.md \
		--cards weights

# MediaPipe wants an older protobuf than the frameworks do, and gets an environment of its own.
MEDIAPIPE ?= .venv-mediapipe/bin/python
.venv-mediapipe/bin/python:
	$(PYTHON) -m venv .venv-mediapipe
	.venv-mediapipe/bin/pip install --quiet --disable-pip-version-check 'mediapipe==0.10.21'

landmarks-crops: $(VENV)/.all $(MEDIAPIPE)
	$(BIN)/python -m facemask_zoo.masks.face_crops --data $(LABELLED)/train.json \
		--images $(LABELLED)/train --mediapipe $(MEDIAPIPE) --output out/landmarks/train.npz

landmarks-evaluation: $(VENV)/.all $(MEDIAPIPE)
	$(BIN)/python -m facemask_zoo.benchmarks.landmarks --data $(LABELLED)/val.json \
		--images $(LABELLED)/val --mediapipe $(MEDIAPIPE) --crops out/landmarks/val.npz \
		--write docs/landmarks.md \
		--plot docs/pictures/landmarks-errors.png
	$(BIN)/python docs/pictures/make_landmarks.py

accuracy-plot: $(VENV)/.all
	$(BIN)/python -m facemask_zoo.benchmarks.accuracy_plot --results $(MEASURED)/ap/results.json \
		--peer YuNet-n=$(PEERS)/yunet_n_dynamic.onnx@448x352 \
		--peer YuNet-n-x1.75=$(PEERS)/yunet_n_dynamic.onnx@800x608 \
		--peer YuNet-2026=$(PEERS)/yunet_2026may.onnx@448x352 \
		--peer YuNet-2026-x1.75=$(PEERS)/yunet_2026may.onnx@800x608 \
		--output docs/pictures/accuracy-against-time.png --overwrite

# Photographs with labels, laid side by side.
tiles: $(VENV)/.all
	$(BIN)/python -m facemask_zoo.benchmarks.tiles --data $(LABELLED)/val.json \
		--write docs/detect-pictures.md

# AIZOO's own format is read from the published file.
convert-matrix: $(VENV)/.all
	$(BIN)/facemask-zoo weights download aizoo-260
	$(BIN)/python -m facemask_zoo.benchmarks.convert_matrix --picture $(DEMO_PICTURE) \
		--write docs/conversions.md

# Eight threads on one detector, eight processes on an empty cache; ten minutes and more.
sharing: $(VENV)/.all
	$(BIN)/python tests/sharing_soak.py --write docs/frameworks.md

masked-set: $(VENV)/.all
	$(BIN)/python -m facemask_zoo.benchmarks.masked_set --output out/masked-set \
		--landmarks zoo --write docs/masks.md

masks-called: $(VENV)/.all
	$(BIN)/python -m facemask_zoo.benchmarks.masks --images $(LABELLED)/val --limit 130 \
		--write docs/masks.md

standalone: $(VENV)/.all
	$(BIN)/python tests/standalone.py --python $(PYTHONS) --write docs/frameworks.md

# An environment for each session of noxfile.py; uv finds or fetches the interpreters. MATRIX names
# some of the sessions: MATRIX="-s base" or MATRIX="-k onnx".
MATRIX ?=
test-matrix: $(VENV)/.all
	-$(BIN)/nox $(MATRIX)
	$(BIN)/python tests/matrix.py --write docs/frameworks.md

# What protoc makes of the messages of other frameworks' files; grpcio-tools brings it.
SCHEMAS := caffe paddle tensorflow

schemas:
	$(PIP_INSTALL) grpcio-tools
	cd converters/schemas && for name in $(SCHEMAS); do $(abspath $(BIN))/python -m grpc_tools.protoc \
		--proto_path=. --descriptor_set_out=$$name.binpb $$name.proto || exit 1; done
	cd converters/schemas && sha256sum *.proto *.binpb > SHA256SUMS

FUZZ_SECONDS ?= 150
ATTACK := PYTHONPATH=tests $(BIN)/python -m attacks

fuzz-files: $(VENV)/.all
	@for kind in $$($(ATTACK).samples); do \
		echo "$$kind" && $(ATTACK).damage $$kind --count 5000 --seconds 900 || exit 1; done

MEDIA_SECONDS ?= 15
fuzz-media: $(VENV)/.all
	@for kind in $$($(ATTACK).samples media); do \
		echo "$$kind" && $(ATTACK).damage $$kind --count 5000 --seconds $(MEDIA_SECONDS) || exit 1; done

fuzz: $(VENV)/.all
	$(PIP_INSTALL) atheris
	@for kind in $$($(ATTACK).samples); do \
		echo "$$kind" && $(ATTACK).fuzz $$kind --seconds $(FUZZ_SECONDS) || exit 1; done

# Warnings are errors: broken links, pages that are not in the navigation, faulty docstrings.
docs: $(VENV)/.all
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "The site: out/site/index.html"

notebooks: $(VENV)/.all
	PYTHONWARNINGS=ignore TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m jupyter nbconvert --to notebook --execute --inplace \
		--ExecutePreprocessor.record_timing=False docs/notebooks/*.ipynb

# The same bytes from the same commit, wherever it is built.
release: $(VENV)/.all
	$(BIN)/python .ci/release.py dist

# The versions that were tested. MXNet keeps NumPy at 1.26, but is only there on Python 3.11.
lock:
	$(BIN)/pip list --format=freeze --exclude-editable | grep -vE '^(pip|wheel)==' \
		| sed -e 's/+cpu$$//' -e 's/^numpy==.*/&; python_version < "3.12"/' > constraints.txt

goldens: $(VENV)/.all
	$(BIN)/python tests/make_goldens.py

clean:
	rm -rf $(VENV) build dist out .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: $(BIN)/pip $(PACKAGING)
	$(PIP_INSTALL) --editable .
	touch $@

# TensorFlow.js comes from npm: where that cannot be reached, its test is skipped.
$(VENV)/.all: $(BIN)/pip $(PACKAGING) tests/tfjs/package-lock.json
	$(PIP_INSTALL) --editable '.[dev]'
	mkdir -p $(VENV)/tfjs
	cp tests/tfjs/package.json tests/tfjs/package-lock.json $(VENV)/tfjs
	$(BIN)/npm ci --prefix $(VENV)/tfjs --no-audit --no-fund --ignore-scripts --silent \
		|| echo "TensorFlow.js could not be installed and is not tested."
	touch $@ $(VENV)/.base
