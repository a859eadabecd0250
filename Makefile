# Liege: the entry points of a person. meson does the building (meson.build); this file names what can be done.
BUILD ?= build
PYTHON ?= /usr/bin/python3

PREFIX ?= /usr/local
GUEST_DIR = $(BUILD)/guest
MEMORY ?= 512M
CPUS ?= 1
ACCEL ?= auto

.DEFAULT_GOAL = all
.PHONY: all help run test test-full soak workloads bench bench-engine install lint format fuzz clean
.PHONY: deps-build guest-shell guest-disk guest-debian guest-workloads bench-deps

all: deps-build $(BUILD)/build.ninja  ## build build/liege
	@ninja -C $(BUILD) --quiet

$(BUILD)/build.ninja:
	@meson setup $(BUILD) >$(BUILD).log 2>&1 || { cat $(BUILD).log; rm -f $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log

deps-build:
	@tools/deps.sh build

run: all guest-$(or $(GUEST),shell)  ## open a shell in a guest; GUEST=debian: Debian on a disk; ACCEL=, CPUS=, MEMORY=
	@tools/run.sh "$(or $(GUEST),shell)" "$(BUILD)" --memory $(MEMORY) --cpus $(CPUS) --accel $(ACCEL) $(ARGS)

guest-shell:
	@tools/deps.sh guest
	@mkdir -p $(GUEST_DIR)
	@tools/guest/kernel.sh $(GUEST_DIR)/kernel
	@[ -e $(GUEST_DIR)/shell.cpio ] && [ -z "$$(find tools/guest/shell -newer $(GUEST_DIR)/shell.cpio)" ] || \
	    tools/guest/initramfs.sh $(GUEST_DIR)/kernel tools/guest/shell $(GUEST_DIR)/shell.cpio

guest-disk: guest-shell
	@tools/deps.sh debian
	@[ $(GUEST_DIR)/disk.cpio -nt tools/guest/disk/init ] || \
	    tools/guest/initramfs.sh $(GUEST_DIR)/kernel tools/guest/disk $(GUEST_DIR)/disk.cpio

guest-debian: guest-disk
	@KERNEL_DIR=$(GUEST_DIR)/kernel tools/guest/debian.sh $(GUEST_DIR)/debian.img

guest-workloads: guest-disk
	@KERNEL_DIR=$(GUEST_DIR)/kernel TREE=$(GUEST_DIR)/workloads.tree HOOK=tests/workloads/packages.sh \
	    tools/guest/debian.sh $(GUEST_DIR)/workloads.img 8G

test:  ## build and test (at most 15 minutes on two cores); ends with one line: N passed, N failed, N skipped
	@tools/test.sh short

test-full:  ## everything, in shards of at most an hour (SHARD=name for one)
	@tools/test.sh full $(SHARD)

soak:  ## the long runs
	@tools/test.sh soak $(SHARD)

workloads: all guest-workloads  ## real programs in a Debian guest against the host; NAMES=, GROUP=; JSON=file
	@$(PYTHON) tests/workloads/run.py $(if $(GROUP),--group $(GROUP)) $(if $(JSON),--json $(JSON)) $(NAMES)

bench: all guest-shell bench-deps  ## figures as a table; JSON beside it in results/
	@$(PYTHON) bench/bench.py --build $(BUILD)

bench-engine: all guest-shell bench-deps  ## the engine beside QEMU in turn; RUNS=5, QUICK=1, ROWS=a,..., CHECK=1: judge
	@$(PYTHON) bench/engine.py --build $(BUILD) $(if $(RUNS),--runs $(RUNS)) $(if $(QUICK),--quick) \
	    $(if $(ROWS),--rows $(ROWS)) $(if $(CHECK),--check) $(if $(JSON),--json $(JSON))

bench-deps:
	@tools/deps.sh bench

fuzz:  ## run every fuzz target, SECONDS each (default 600), JOBS at a time (2); a dated result goes to results/
	@tools/fuzz.sh $(or $(SECONDS),600)

lint:  ## shellcheck, cppcheck, clang-tidy; layout is reported
	@tools/lint.sh

format:  ## lay out the code as .clang-format says
	@git ls-files '*.c' '*.h' | grep -v '^bench/guestbench.c' | xargs clang-format -i

install: all  ## binary, man page, shell completion into PREFIX
	install -D -m 755 $(BUILD)/liege $(DESTDIR)$(PREFIX)/bin/liege
	install -D -m 644 docs/liege.1 $(DESTDIR)$(PREFIX)/share/man/man1/liege.1
	install -D -m 644 tools/liege.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/liege

clean:  ## remove what was built, guests included
	rm -rf $(BUILD) build-asan build-tsan build-fuzz

help:  ## this text
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14
