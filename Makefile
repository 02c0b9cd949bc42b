# Each target installs what it needs; in a fresh clone, `make demo` or `make test` is sufficient.
CARGO   ?= cargo
PREFIX  ?= /usr/local
DESTDIR ?=
# Option of install(1) that strips the program; empty to keep its symbols.
STRIP   ?= -s
# zsh's directory for completion scripts of other packages. Debian's packages use vendor-completions.
ZSH_COMPLETIONS ?= $(PREFIX)/share/zsh/site-functions
# Debian kernels for the tests, by meta-package: one with uncompressed modules, two with compressed modules.
KERNELS := linux-image-amd64 linux-image-6.12-amd64 linux-image-6.12-cloud-amd64

.PHONY: build test vm vm-warm soak slurm lint stubs golden install deb bench demo kernels foreign

build:
	@tools/setup build
	$(CARGO) build --release --locked

# All tests: units, golden texts, oracles, the command line, and guests. In CI, the reason for a failure is printed where the
# test fails rather than after all tests, since a log may be truncated.
test: foreign
	@tools/setup build run test headers
	$(CARGO) test --locked --no-fail-fast $(if $(REQUIRE_VM),-- --nocapture)

# Only the tests that boot guests (vm-warm: restore guests; soak: 1,000 warm runs, 200 killed ones, 1,000 damages of the
# cache). With REQUIRE_VM=1, a guest
# that cannot be booted is a failure.
vm-warm: WITH := BOOTLING_WARM=yes
soak: WITH := BOOTLING_SOAK_RUNS=1000 BOOTLING_SOAK_KILLS=200 BOOTLING_SOAK_DAMAGES=1000
soak: ONLY := --release soak:: -- --nocapture --test-threads 1
vm vm-warm soak: foreign
	@tools/setup build run headers
	$(WITH) $(CARGO) test --locked --test boot $(ONLY)

# Compares a matrix in four shards, on a private Slurm cluster, with the same matrix in one run.
slurm: build kernels
	@tools/setup run slurm && tools/try-slurm

kernels:
	@tools/setup kernels
	@for meta in $(KERNELS); do tools/fetch-kernel $$meta build/kernels || exit 1; done

# An arm64 kernel and root for the tests, fetched by bootling itself.
foreign: kernels
	@tools/setup build
	@for what in kernel root; do BOOTLING_CACHE_DIR=$(CURDIR)/build/fetched $(CARGO) run --quiet --locked -- \
		fetch $$what --arch arm64 >/dev/null || exit 1; done

lint:
	@tools/setup build lint
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) test --locked --quiet --test house --test layering
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --quiet
	@tools/lint

# Builds the guest's pid 1 for all architectures, and assembles the boot sector's code, into assets/, from where they are
# embedded. build.rs also builds pid 1 for this host's architecture.
stubs:
	@tools/setup build stubs
	@tools/assemble-bootsector assets
	@tools/build-pid1 assets
	$(CARGO) test --locked --test stubs -- --nocapture

# Updates the golden texts beside the code from the current output. Read `git diff` before committing.
golden:
	@tools/setup build
	UPDATE_EXPECT=1 SNAPSHOTS=overwrite $(CARGO) test --locked --lib

# The program, the links to it, and the manual pages and completion scripts that it prints.
install: SHARE := $(DESTDIR)$(PREFIX)/share
install: build
	install -D $(STRIP) -m 755 target/release/bootling $(DESTDIR)$(PREFIX)/bin/bootling
	ln -sf bootling $(DESTDIR)$(PREFIX)/bin/make-tiny-image
	ln -sf bootling $(DESTDIR)$(PREFIX)/bin/byebyebios
	target/release/bootling man $(SHARE)/man/man1
	install -d $(SHARE)/bash-completion/completions $(DESTDIR)$(ZSH_COMPLETIONS) $(SHARE)/fish/vendor_completions.d
	target/release/bootling completions bash >$(SHARE)/bash-completion/completions/bootling
	target/release/bootling completions zsh >$(DESTDIR)$(ZSH_COMPLETIONS)/_bootling
	target/release/bootling completions fish >$(SHARE)/fish/vendor_completions.d/bootling.fish

# Builds a Debian package in build/deb, and checks it with lintian. Root privileges are not required.
# `dpkg-buildpackage` works as well; it also requires Debian's own cargo and rustc.
deb:
	@tools/setup build deb
	@mkdir -p build/deb
	debian/rules clean binary PACKAGES=build/deb
	lintian --fail-on error,warning build/deb/bootling_*.deb

bench: kernels
	@tools/setup build run test
	$(CARGO) bench --locked --bench plain

demo:
	@tools/demo
