#!/usr/bin/env python3
"""Makes each defect of mutants.toml in a copy of the workspace, and says which tests find it.

    tests/mutants/run.py [NAME...]

Without names all of them, and docs/mutants.md is written anew. Exits with 1 when one is found by no test.
RINGFENCE_MUTANTS_TARGET names a target folder to build in, such as one that has the dependencies already.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
COPY = ROOT / "target" / "mutants" / "workspace"
SECONDS_MAX = 150
PASSED = re.compile(r"^test (\S+) \.\.\. ok$", re.MULTILINE)
FAILED = re.compile(r"^test (\S+) \.\.\. FAILED$", re.MULTILINE)
SEEDS = re.compile(r"(\d+) seeds failed: \[(\d+)")
SWARM = "agent::core::tests::swarm::"


def copy():
    """A copy of what git knows or would know, so that the mutants never touch the tree."""
    shutil.rmtree(COPY, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, target = ROOT / name, COPY / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def test():
    """What the tests say. A defect that lets one of them run for ever is found as well."""
    environment = dict(os.environ, RUST_BACKTRACE="0")
    environment.setdefault("RINGFENCE_MUTANTS_TARGET", str(COPY.parent / "target"))
    environment["CARGO_TARGET_DIR"] = environment["RINGFENCE_MUTANTS_TARGET"]
    command = ["cargo", "test", "--release", "--locked", "-p", "ringfence", "--lib"]
    built = subprocess.run([*command, "--no-run"], cwd=COPY, env=environment, capture_output=True, text=True)
    if built.returncode != 0:
        return None, built.stderr
    with tempfile.TemporaryFile("w+") as out:
        tests = subprocess.Popen(
            [*command, "--", "--test-threads=4"], cwd=COPY, env=environment, stdout=out, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            tests.wait(SECONDS_MAX)
            ends = True
        except subprocess.TimeoutExpired:
            os.killpg(tests.pid, signal.SIGKILL)
            tests.wait()
            ends = False
        out.seek(0)
        return ends, out.read()


def strip(text):
    """A text of several lines begins after the first line end, which is there to be read."""
    return text.removeprefix("\n")


def run(mutant):
    path = COPY / mutant["file"]
    whole = path.read_text()
    original, mutated = strip(mutant["from"]), strip(mutant["to"])
    if whole.count(original) != 1:
        sys.exit(f"{mutant['name']}: \"{original}\" stands {whole.count(original)} times in {mutant['file']}, expected once")
    path.write_text(whole.replace(original, mutated))
    try:
        ends, out = test()
    finally:
        path.write_text(whole)
    if ends is None:
        sys.exit(f"{mutant['name']} does not compile:\n{out[-3000:]}")
    found = sorted(FAILED.findall(out))
    if not ends:
        running = set(re.findall(r"^test (\S+) has been running", out, re.MULTILINE)) - set(PASSED.findall(out))
        found += sorted(name for name in running if name not in found)
    seeds = [int(first) for _, first in SEEDS.findall(out)]
    return found, min(seeds) + 1 if seeds else None


def shown(found):
    """The names of a few of them, the most telling first: those of one concept before the swarm."""
    named = [name for name in found if not name.startswith(SWARM)] or found
    return "<br>".join(f"`{name}`" for name in named[:3])


def main():
    mutants = tomllib.loads((ROOT / "tests/mutants/mutants.toml").read_text())["mutant"]
    wanted = sys.argv[1:]
    chosen = [mutant for mutant in mutants if not wanted or mutant["name"] in wanted]
    copy()
    rows, survivors = [], []
    for mutant in chosen:
        began = time.monotonic()
        found, seeds = run(mutant)
        if not found:
            survivors.append(mutant["name"])
        print(f"{mutant['name']}: {len(found)} tests, seeds {seeds}, {time.monotonic() - began:.0f} s", flush=True)
        rows.append((mutant, found, seeds))
    if not wanted:
        write(rows)
    if survivors:
        sys.exit(f"found by no test: {', '.join(survivors)}")


def write(rows):
    lines = [
        "# Defects that the tests find",
        "",
        "Written by `make mutants`, which makes each defect of `tests/mutants/mutants.toml` in a copy of the source, builds it, and runs",
        "the tests of the library. Seeds is how many of the swarm's seeds have to run until the first of its tests fails; a dash stands",
        "for a defect outside of what the swarm simulates, such as the files below the journal.",
        "",
        "| defect | what it breaks | tests that fail | seeds | some of them |",
        "|---|---|---|---|---|",
    ]
    for mutant, found, seeds in rows:
        count = len(found) if found else "**none**"
        lines.append(f"| {mutant['name']} | {mutant['breaks']} | {count} | {seeds or '–'} | {shown(found)} |")
    (ROOT / "docs/mutants.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
