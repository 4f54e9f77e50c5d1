# make demo    the whole system on a sample video; results in demo-output/
# make test    everything that has to hold: formatting, types, tests (CI runs this)
# make lint    the quick part of it
# make clean   removes what these made, the results too

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The first Python that is new enough; PYTHON=... chooses another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.10; do \
	if $$python -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then echo $$python; break; fi; done)

# The demonstration's environment has no torch; the tests' has everything.
DEMO_ENV := .venv
TEST_ENV := .venv-test

# TRACKING_SYSTEM_TEST_TORCH=0 leaves out torch (5 GB with the GPU libraries that come with it) and its tests.
TRACKING_SYSTEM_TEST_TORCH ?= 1
comma := ,
TEST_EXTRAS := $(if $(filter 0,$(TRACKING_SYSTEM_TEST_TORCH)),test,test$(comma)torch)

# What OpenCV's window needs from the system, and what the tests use: a display, a mouse, video and RTSP.
RUN_PACKAGES := libgl1 libglib2.0-0
TEST_PACKAGES := $(RUN_PACKAGES) xvfb openbox xdotool ffmpeg python3-gi gir1.2-gst-rtsp-server-1.0 \
	gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

.PHONY: help demo test lint clean test-packages

help:
	@sed -n 's/^# make/make/p' Makefile

demo: $(DEMO_ENV)/.complete
	$(DEMO_ENV)/bin/tracking-system demo

test: test-packages lint
	$(TEST_ENV)/bin/mypy
	$(TEST_ENV)/bin/pytest

lint: $(TEST_ENV)/.complete-$(TEST_EXTRAS)
	$(TEST_ENV)/bin/ruff check
	$(TEST_ENV)/bin/ruff format --check

test-packages:
	@$(call install_missing,$(TEST_PACKAGES))

clean:
	rm -rf $(DEMO_ENV) $(TEST_ENV) demo-output build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(DEMO_ENV)/.complete: pyproject.toml
	@$(call make_environment,$(DEMO_ENV))
	@echo "installing into $(DEMO_ENV)"
	@$(DEMO_ENV)/bin/pip install --quiet --editable '.[openvino]'
	@$(DEMO_ENV)/bin/python -c 'import cv2' 2>/dev/null || { $(call install_missing,$(RUN_PACKAGES)); }
	@touch $@

$(TEST_ENV)/.complete-$(TEST_EXTRAS): pyproject.toml
	@$(call make_environment,$(TEST_ENV))
	@echo "installing into $(TEST_ENV): $(TEST_EXTRAS)"
	@$(TEST_ENV)/bin/pip install --quiet --editable '.[$(TEST_EXTRAS)]'
	@touch $@

# $(call make_environment,FOLDER): Debian keeps the module venv in a package of its own.
define make_environment
if [ -z "$(PYTHON)" ]; then echo "there is no Python 3.10 or newer here: install one, or name it with PYTHON=..." >&2; exit 1; fi; \
if ! $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(call install_missing,python3-venv); fi; \
$(PYTHON) -m venv --clear $(1)
endef

# $(call install_missing,NAMES): Debian packages that are not there yet; says so where it may not install.
define install_missing
missing=(); for package in $(1); do \
	[ "$$(dpkg-query --show --showformat='$${db:Status-Status}' $$package 2>/dev/null)" = installed ] || missing+=($$package); done; \
if [ $${#missing[@]} -gt 0 ]; then \
	sudo=(); if [ "$$(id -u)" != 0 ]; then sudo=(sudo -n); fi; \
	if command -v apt-get >/dev/null && "$${sudo[@]}" true 2>/dev/null; then \
		echo "installing $${missing[*]}"; \
		"$${sudo[@]}" apt-get update -qq; \
		"$${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$${missing[@]}" >/dev/null; \
	else echo "not installed, and may not be installed from here: $${missing[*]}" >&2; fi; fi
endef
