# Each target does all its own set-up; `make demo` and `make test` are all a fresh clone needs.
CARGO   ?= cargo
PREFIX  ?= /usr/local
DESTDIR ?=
# Debian's kernels that the tests boot, by meta-package: one with plain modules, two with compressed ones.
KERNELS := linux-image-amd64 linux-image-6.12-amd64 linux-image-6.12-cloud-amd64

.PHONY: build test vm vm-warm soak slurm lint stubs golden install bench demo kernels

build:
	@tools/setup build
	$(CARGO) build --release --locked

# Everything: units, golden texts, oracles, the command line, and guests. Where nobody watches (CI) the reason of a failure
# is told where the test fails and not after all others, since a log may be cut off.
test: kernels
	@tools/setup build run test headers
	$(CARGO) test --locked --no-fail-fast $(if $(REQUIRE_VM),-- --nocapture)

# Only the tests that boot guests (vm-warm: that restore them; soak: 1,000 warm runs, 200 killed ones). REQUIRE_VM=1: all of them.
vm-warm: WITH := BOOTLING_WARM=yes
soak: WITH := BOOTLING_SOAK_RUNS=1000 BOOTLING_SOAK_KILLS=200
soak: ONLY := --release soak:: -- --nocapture --test-threads 1
vm vm-warm soak: kernels
	@tools/setup build run headers
	$(WITH) $(CARGO) test --locked --test boot $(ONLY)

# A matrix in four shards on a Slurm of its own, against the same in one piece.
slurm: build kernels
	@tools/setup run slurm && tools/try-slurm

kernels:
	@tools/setup kernels
	@for meta in $(KERNELS); do tools/fetch-kernel $$meta build/kernels || exit 1; done

lint:
	@tools/setup build
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) test --locked --quiet --test house --test layering
	@tools/lint

# The guest's pid 1 is built and embedded by build.rs; this builds it and says what came out. The boot sector's code is
# assembled into assets/, from where it is embedded.
stubs:
	@tools/setup build stubs
	@tools/assemble-bootsector assets
	$(CARGO) test --locked --test stubs -- --nocapture

# Writes what the golden tests (they stand beside the code) see as the new truth; read `git diff` before you commit it.
golden:
	@tools/setup build
	UPDATE_EXPECT=1 SNAPSHOTS=overwrite $(CARGO) test --locked --lib

install: build
	install -D -s -m 755 target/release/bootling $(DESTDIR)$(PREFIX)/bin/bootling
	ln -sf bootling $(DESTDIR)$(PREFIX)/bin/make-tiny-image
	ln -sf bootling $(DESTDIR)$(PREFIX)/bin/byebyebios

bench: kernels
	@tools/setup build run test
	$(CARGO) bench --locked --bench plain

demo:
	@tools/demo
