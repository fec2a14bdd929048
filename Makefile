# `make help` lists what there is. Everything runs in .venv, which ci/bootstrap-machine makes; LAB=NAME names another lab.
SHELL := /bin/sh
VENV := .venv
PILLARBOX := $(VENV)/bin/pillarbox
LAB ?= pillarbox-lab

.PHONY: help lab lab-status lab-clean test long-test fast-test docs
.DEFAULT_GOAL := help

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

lab: ## A small real cloud on this machine: makes it, or checks and repairs it (as root)
	@ci/bootstrap-machine lab
	@$(PILLARBOX) lab --name $(LAB) up $(ARGS)

lab-status: ## What the lab is doing now
	@ci/bootstrap-machine lab
	@$(PILLARBOX) lab --name $(LAB) status

lab-clean: ## Remove the lab and all that was installed for it; KEEP=cache keeps what was downloaded and compiled
	@if ci/bootstrap-machine left; then \
	    ci/bootstrap-machine lab && $(PILLARBOX) lab --name $(LAB) clean $(if $(filter cache,$(KEEP)),--keep-cache) \
	    && ci/bootstrap-machine remove; \
	fi

test: ## The whole test suite, the real cluster included (as root); says what it skips and why
	@ci/bootstrap-machine lab
	@$(VENV)/bin/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder $(ARGS)

long-test: ## The whole test suite, with those that take minutes each (as root)
	@ci/bootstrap-machine long
	@$(VENV)/bin/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder --long $(ARGS)

fast-test: ## The tests that need neither an engine nor a cluster
	@ci/bootstrap-machine venv
	@$(VENV)/bin/python -m pytest -m 'not engine and not lab' $(ARGS)

docs: ## The documentation as a website, in build/docs; a broken link fails
	@ci/bootstrap-machine venv
	@$(VENV)/bin/python -m sphinx -n -W --keep-going -q docs build/docs
	@echo "build/docs/index.html"
