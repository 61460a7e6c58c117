# The one door. What needs more than a line is Rust in e2e/.

E2E := cargo run --quiet --package foz-e2e --
.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: up
up: ready ## Start Kubernetes on this machine with Foz on it, and show it working
	@$(E2E) up

.PHONY: down
down: ready ## Remove all that make up started
	@$(E2E) down

.PHONY: kubeconfig
kubeconfig: ready ## Print the path of the kubeconfig: export KUBECONFIG=$(make -s kubeconfig)
	@$(E2E) kubeconfig

.PHONY: test
test: ready ## Run every test that takes minutes
	@$(E2E) test

.PHONY: stories
stories: ready ## Tell the stories whose names contain STORY="...", on a cluster that stays
	@$(E2E) stories "$(STORY)"

.PHONY: soak
soak: ready ## Run the tests that take hours
	@$(E2E) soak

.PHONY: compat
compat: ready ## Run Apache Kafka's own tests of its clients against Foz
	@cargo run --quiet --package foz-compat -- messages --check
	@cargo run --quiet --package foz-compat

.PHONY: bench
bench: ready ## Run Foz and Apache Kafka side by side and print the ratios
	@cargo run --quiet --package foz-bench

.PHONY: images
images: ready ## Build the images, and give them to the running cluster
	@$(E2E) images

.PHONY: ready
ready:
	@[ "$$(id -u)" = 0 ] || { echo "make: not root; run it with sudo" >&2; exit 1; }
	@command -v cargo >/dev/null || { echo "make: no cargo; install Rust from https://rustup.rs" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "make: no C compiler to link with; install the package gcc" >&2; exit 1; }
	@command -v go >/dev/null || { echo "make: no Go; install it from https://go.dev/dl" >&2; exit 1; }
