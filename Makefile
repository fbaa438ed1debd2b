# build: everything, release. demo: the main job with a report. test: everything that must hold.
# RINGFENCE_WASM_ROUTE (auto, rustup or debian) says where the compiler for components comes from.
.PHONY: build components demo test bench lint doc

CARGO ?= cargo
# Built apart from the host: together they would turn on features below wasmtime and compile it a second time.
GUESTS = -p ringfence-sdk -p ema-cross -p mean-reversion -p faulty -p ringfence-plugin-tools

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

bench: components
	$(CARGO) bench --locked -p ringfence

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --locked --no-deps -p ringfence
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --locked --no-deps -p ringfence-sdk
