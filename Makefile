# Everything happens in .venv; `make install` is quick when nothing changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := $(if $(CI),-c requirements.lock,)
# without what they ask for: jax2onnx names an older Orbax than the one that everything is tested with, and works with it
ONNX := jax2onnx onnx onnx-ir onnxruntime dm_pix equinox jaxtyping wadler_lindig toolz chex sympy mpmath
export JAX_PLATFORMS ?= cpu

# gradio 6.31 asks for Pillow below 13 and runs with 13, as the tests of the page say: it goes without its requirements
GRADIO := 'gradio>=6.31,<7' gradio_client hf-gradio 'safehttpx<0.2'
GRADIO_NEEDS := 'audioop-lts; python_version >= "3.13"' brotli 'fastapi<1' groovy 'httpx<1' 'jinja2<4' 'orjson<4' \
	'pandas<4' pydub 'python-multipart<1' pytz semantic-version 'starlette<2' 'tomlkit<0.15' uvicorn

.PHONY: install browser demo evidence test test-parity lint format release lock clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo 'addsr needs Python 3.11 to 3.13: make PYTHON=python3.12 ...'; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo 'the venv module is missing: sudo apt install python3-venv'; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet $(LOCK) -e '.[train,gcs,test]' $(GRADIO_NEEDS)
	$(BIN)/pip install --quiet $(LOCK) --no-deps $(ONNX) $(GRADIO)
	touch $@

# what the tests of the page open it with; as root, on Debian and Ubuntu
browser:
	command -v chromium || { apt-get update --quiet=2 && \
		apt-get install --quiet=2 --yes --no-install-recommends chromium fonts-dejavu-core; }

demo: install
	$(BIN)/python -m addsr_jax.demo

# tables and pictures of the documents, for hours:
# make evidence LQ=FOLDER HR=FOLDER [ABLATION=WORKDIR] [PHOTOS=FOLDER LEFT_OUT=FOLDER]
evidence: install
	$(BIN)/python -m benchmarks.evidence $(if $(LQ),--lq $(LQ)) $(if $(HR),--hr $(HR)) \
		$(if $(ABLATION),--ablation $(ABLATION)) $(if $(PHOTOS),--photos $(PHOTOS)) $(if $(LEFT_OUT),--left_out $(LEFT_OUT))

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not torch'

# torch 2.13.0 has a CPU build; timm goes without torchvision, which has none
$(VENV)/.parity: $(VENV)/.installed
	$(BIN)/pip install --quiet $(LOCK) torch==2.13.0
	$(BIN)/pip install --quiet $(LOCK) -e '.[train,gcs,test,parity]'
	$(BIN)/pip install --quiet $(LOCK) --no-deps 'timm>=1.0.20' pyyaml
	touch $@

test-parity: $(VENV)/.parity
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m torch

# dist/ with wheel and sdist, each installed into an empty environment where it has to restore a photograph
release: install
	$(BIN)/pip install --quiet $(LOCK) -e '.[release]'
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*
	$(BIN)/python -m benchmarks.install dist/*.whl dist/*.tar.gz

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV)/.parity
	$(BIN)/pip freeze --exclude-editable | grep -v -e '^torch' -e '^nvidia' -e '^triton' > requirements.lock

clean:
	rm -rf $(VENV) build dist
