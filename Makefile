# make demo   opens the sample radiographs (no display: saves screenshots and says where)
# make test   runs the tests (make check-long: the long ones, too)
# Both set everything up first, in .venv, and are quick the second time.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DATA ?= ../shared/data
DARKNET ?= ../shared/weights/yolov3-tiny.weights
PYTEST := $(BIN)/python -m pytest
OFFSCREEN := xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX"

export YOLO_OFFLINE := 1
export YOLO_AUTOINSTALL := 0

.PHONY: demo test lint check-long bench weights samples clean

demo: $(READY)
ifneq ($(or $(DISPLAY),$(WAYLAND_DISPLAY),$(filter Darwin Windows_NT,$(shell uname -s) $(OS))),)
	@$(BIN)/napari-graydet demo
else
	@echo "No display here: the window runs off screen and saves what you would see."
	@$(OFFSCREEN) $(BIN)/napari-graydet demo --screenshots demo-output
endif

test: $(READY) lint
	$(PYTEST) -q -n 2 --dist loadfile -m "not long" --ignore tests/gui --ignore tests/e2e
	QT_API=pyqt5 $(PYTEST) -q -n 2 --dist loadfile -m "not long" tests/gui tests/e2e
	QT_API=pyqt6 $(PYTEST) -q -n 2 --dist loadfile -m "gui and not long" tests/gui

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check -q .
	$(BIN)/lint-imports >/dev/null || $(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/npe2 validate napari_graydet

check-long: $(READY)
	QT_API=pyqt5 $(PYTEST) -q -m long
	GRAYDET_EXPLORE=1 $(PYTEST) -q -m "not long" --ignore tests/gui --ignore tests/e2e
	GRAYDET_EXPLORE=1 QT_API=pyqt5 $(PYTEST) -q -m "not long" tests/gui

bench: $(READY)
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.accuracy --data $(DATA)
	$(OFFSCREEN) $(BIN)/python -m benchmarks.drag
	$(OFFSCREEN) $(BIN)/python -m benchmarks.pauses

# Weights as shipped are made: phantoms and the Montgomery images only. Some three hours on two cores.
weights: $(READY)
	$(BIN)/python -m napari_graydet.workflows.weights --data $(DATA) --darknet $(DARKNET) \
		--out napari_graydet/weights --part all --seed 0

samples: $(READY)
	$(BIN)/python -m napari_graydet.workflows.phantoms sample_data

$(READY): pyproject.toml tools/system-libraries.sh
	@tools/system-libraries.sh
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing napari-graydet and its libraries into .venv (several minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[pyqt5,pyqt6,testing,dev]"
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info
