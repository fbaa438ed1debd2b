# build: everything, release. demo: the main job with a report. test: everything that must hold.
# soak: kills the real host SOAK_KILLS times over all boundaries, drawn from SOAK_SEED; a table, then one line of JSON.
# RINGFENCE_WASM_ROUTE (auto, rustup or debian) says where the compiler for components comes from, and RINGFENCE_GUESTS
# ("rust c python js") which languages they are built from.
.PHONY: build components demo test hostile soak mutants bench lint doc

CARGO ?= cargo
# Built apart from the host: together they would turn on features below wasmtime and compile it a second time.
GUESTS = -p ringfence-sdk -p ema-cross -p mean-reversion -p breakout -p faulty -p ringfence-plugin-tools

build: components
	$(CARGO) build --release --locked -p ringfence

components:
	plugins/build.sh

demo: build
	target/release/ringfence demo

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked -p ringfence --all-targets -- -D warnings
	$(CARGO) clippy --release --locked $(GUESTS) --all-targets -- -D warnings

test: components lint
	plugins/toolchain/test.sh
	$(CARGO) test --release --locked $(GUESTS)
	$(CARGO) test --release --locked -p ringfence

# Every component that means harm, on all cores and again on one; docs/hostile.md lists them.
hostile:
	$(CARGO) test --release --locked -p ringfence --test hostile

SOAK_KILLS ?= 300
SOAK_SEED ?= 1

soak: components
	SOAK_KILLS=$(SOAK_KILLS) SOAK_SEED=$(SOAK_SEED) $(CARGO) test --release --locked -p ringfence --test end_to_end soak::kills -- --nocapture
	@cat target/soak/result.json

# Defects made on purpose, each in a copy of the source: docs/mutants.md says which tests find them. About two minutes each.
mutants: components
	tests/mutants/run.py

bench: components
	$(CARGO) bench --locked -p ringfence

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --locked --no-deps -p ringfence
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --locked --no-deps -p ringfence-sdk
