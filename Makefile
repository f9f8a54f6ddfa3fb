# The two commands of the README are `make demo` and `make test`; both set up what a bare machine lacks.
# CARGO_BUILD_JOBS may be set from outside; debug information is off in the dev profile (Cargo.toml).

KCHAOS := target/debug/kchaos

.PHONY: help setup setup-doors build demo test test-unit test-live test-nightly versions test-faults test-proved test-netem test-clocks test-safety scenarios scenarios-short test-systemd test-docker test-fuse test-late test-security test-kraft test-racks test-tutorials test-upgrade lint mutants mutants-live bench throughput fuzz release audit clean

help:
	@echo 'make demo       a real cluster on this machine, three leader kills, a verdict and a report'
	@echo 'make test       lint, unit tests, and the tests against real clusters'
	@echo 'make scenarios  the suites: systems as people described them, each brought up, broken and judged (suites/*.toml); below 40 minutes'
	@echo 'make scenarios-short  their short forms, for CI'
	@echo 'make test-unit  lint and what needs no cluster'
	@echo 'make test-live  only what needs a cluster'
	@echo 'make test-nightly  the same with what is tried every night only'
	@echo 'make versions   ten versions of Kafka, each with a leader killed, paused and cut off; writes the table of docs/elections.md: about 40 minutes'
	@echo 'make test-faults  every fault on every target, with nftables and with iptables: longer than make test'
	@echo 'make test-proved  what of fault and target has no record yet is proved and recorded (docs/faults.md)'
	@echo 'make test-netem  the faults of the link, on a kernel with netem, in an emulated machine'
	@echo 'make test-clocks  bump, skew and strobe of a whole host, by SSH to an emulated machine'
	@echo 'make test-safety  whatever becomes of kchaos, the hosts are as before: 35 minutes, clusters of bare and of systemd hosts'
	@echo 'make test-systemd, make test-docker  what needs a cluster of systemd units, or of containers; not in make test'
	@echo 'make test-fuse  disks that forget, fail and are slow (kchaos lab up --disks fuse): about 6 minutes; not in make test'
	@echo 'make test-security  TLS, SASL, ACLs, and every mistake with them, on a lab of its own; not in make test'
	@echo 'make test-late  what comes late in transactions, KAFKA-17754 and hanging ones, on labs of their own; not in make test'
	@echo 'make test-kraft  clusters without ZooKeeper, on labs of their own, Kafka 3.9 and 4.1: about half an hour; not in make test'
	@echo 'make test-racks  racks, and readers that followers serve, on a lab of their own: about 4 minutes; not in make test'
	@echo 'make test-upgrade  rolling upgrades under load, 2.8 to 3.9 and 3.9 to 4.1, on labs of their own: a quarter of an hour; not in make test'
	@echo 'make test-tutorials  docs/write-a-*.md are followed to the letter in a clone: a build of its own; not in make test'
	@echo 'make mutants    kchaos is made wrong in one thing at a time, and some test must notice each (docs/mutants.md): half an hour; not in make test'
	@echo 'make mutants-live  the same of proofs of effect and of mending, on a lab of its own; not in make test'
	@echo 'make bench      benchmarks, with their yardsticks'
	@echo 'make throughput  writes a second with recording, reading and checking on, beside ProducerPerformance in the same lab: about 7 minutes'
	@echo 'make fuzz       every parser and the judge, ten minutes each; needs cargo-fuzz'
	@echo 'make release    a static binary, a tarball, a Debian package, the context of an image, a bill of materials, checksums: in dist/; about 12 minutes'
	@echo 'make audit      what is linked in, by cargo-deny: licences, sources, bans, advisories where they can be had'
	@echo 'make setup      what a bare machine lacks: Debian packages, the jars of Kafka and ZooKeeper'

setup:
	@scripts/setup.sh

build: setup
	cargo build --workspace --all-targets --locked

demo: build
	@scripts/demo.sh $(KCHAOS)

test: test-unit test-live

scenarios: setup-doors build
	@scripts/scenarios.sh

scenarios-short: setup-doors build
	@KCHAOS_SHORT=1 scripts/scenarios.sh

test-unit: build lint
	cargo test --workspace --locked

test-live: build
	@scripts/test-live.sh

test-nightly: build
	@KCHAOS_LIVE=all scripts/test-live.sh

versions: build
	@scripts/versions.sh

# The whole product, fault by target; `make test` tries a part of it that changes from day to day.
test-faults: build
	@KCHAOS_FAULTS=all scripts/test-live.sh faults::

# What has no record in docs/proved.jsonl is proved, recorded, and written into the table of docs/faults.md. In slices: KCHAOS_FAULTS_MAX=20 make test-proved,
# or KCHAOS_FAULTS_SECONDS=300; KCHAOS_FAULTS_FIREWALL=iptables for the faults that are made of rules, by iptables.
# Behind systemd or in containers: KCHAOS_FAULTS_MAX=20 KCHAOS_PROVED=$PWD/docs/proved.jsonl make test-systemd
test-proved: build
	@KCHAOS_PROVED=$(CURDIR)/docs/proved.jsonl KCHAOS_FAULTS_MAX=$${KCHAOS_FAULTS_MAX:-1000} KCHAOS_LIVE_LAB='--clock faketime' \
		scripts/test-live.sh the_product_is_proved
	KCHAOS_WRITE_DOCS=1 cargo test --workspace --locked --quiet -- the_table_in_the_documentation the_page_of_the

test-netem:
	@scripts/test-netem.sh

test-clocks:
	@scripts/test-clocks.sh

test-safety: setup-doors build
	@scripts/test-safety.sh

setup-doors:
	@KCHAOS_DOORS=1 scripts/setup.sh

test-systemd: setup-doors build
	@scripts/test-doors.sh systemd

test-docker: setup-doors build
	@scripts/test-doors.sh docker

test-fuse: build
	@scripts/test-fuse.sh

test-security: build
	@scripts/test-security.sh

test-late: build
	@scripts/test-late.sh

test-upgrade: build
	@scripts/test-upgrade.sh

test-kraft: build
	@scripts/test-kraft.sh

test-racks: build
	@scripts/test-racks.sh

# KCHAOS_TUTORIALS_LAB=1: with what they say is to be run on a lab, which must be up.
test-tutorials: build
	@scripts/tutorials.sh

lint: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

# In slices: KCHAOS_MUTANTS_SECONDS=600 make mutants. What has a line in docs/mutants.jsonl is not tried again.
mutants: setup
	@scripts/mutants.sh
	KCHAOS_WRITE_DOCS=1 cargo test --workspace --locked --quiet the_table_of_the_mutants

mutants-live: setup
	@scripts/mutants-live.sh

bench: setup
	cargo bench -p kchaos-checkers --locked
	cargo bench -p kchaos-columns --locked

throughput: setup
	@scripts/throughput.sh

# FUZZ_SECONDS for each target.
fuzz: FUZZ_SECONDS ?= 600
fuzz:
	@scripts/fuzz.sh $(FUZZ_SECONDS)

release: setup
	@scripts/release.sh

audit: setup
	@scripts/audit.sh

clean:
	cargo clean
