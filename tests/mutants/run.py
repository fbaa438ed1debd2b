#!/usr/bin/env python3
"""Makes each defect of mutants.toml in a copy of the workspace, and says which tests find it.

    tests/mutants/run.py [NAME...]

Without names all of them. docs/mutants.md is written anew as soon as there is a result for each, of this run or of
earlier ones (target/mutants/results.json). Exits with 1 when one is found by no test.
RINGFENCE_MUTANTS_TARGET names a target folder to build in, such as one that has the dependencies already.
"""

import json
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
RESULTS = COPY.parent / "results.json"
SECONDS_MAX = 150
PASSED = re.compile(r"^test (\S+) \.\.\. ok$", re.MULTILINE)
FAILED = re.compile(r"^test (\S+) \.\.\. FAILED$", re.MULTILINE)
SEEDS = re.compile(r"(\d+) seeds failed: \[(\d+)")


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
    # The swarm runs one of the components.
    shutil.copytree(ROOT / "target" / "components", COPY / "target" / "components")


def test():
    """What the tests say. A defect that lets one of them run for ever is found as well."""
    environment = dict(os.environ, RUST_BACKTRACE="0", RINGFENCE_SHRINK="0")
    environment.setdefault("RINGFENCE_MUTANTS_TARGET", str(COPY.parent / "target"))
    environment["CARGO_TARGET_DIR"] = environment["RINGFENCE_MUTANTS_TARGET"]
    command = ["cargo", "test", "--release", "--locked", "-p", "ringfence", "--lib"]
    built = subprocess.run([*command, "--no-run"], cwd=COPY, env=environment, capture_output=True, text=True)
    if built.returncode != 0:
        return None, built.stderr
    with tempfile.TemporaryFile("w+") as out:
        tests = subprocess.Popen(
            # What fails is told at once, so that it is known of tests that do not come to their end.
            [*command, "--", "--test-threads=4", "--nocapture"], cwd=COPY, env=environment, stdout=out,
            stderr=subprocess.STDOUT, start_new_session=True,
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
        if not found:
            sys.exit(f"{mutant['name']}: no test failed within {SECONDS_MAX} s, and not all have run; nothing else may run meanwhile")
    seeds = [int(first) for _, first in SEEDS.findall(out)]
    return found, min(seeds) + 1 if seeds else None


def main():
    mutants = tomllib.loads((ROOT / "tests/mutants/mutants.toml").read_text())["mutant"]
    wanted = sys.argv[1:]
    chosen = [mutant for mutant in mutants if not wanted or mutant["name"] in wanted]
    copy()
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for mutant in chosen:
        began = time.monotonic()
        found, seeds = run(mutant)
        results[mutant["name"]] = {"tests": len(found), "seeds": seeds}
        RESULTS.write_text(json.dumps(results, indent=1))
        print(f"{mutant['name']}: {len(found)} tests, seeds {seeds}, {time.monotonic() - began:.0f} s", *found[:5], sep="\n  ", flush=True)
    if all(mutant["name"] in results for mutant in mutants):
        write(mutants, results)
    survivors = [mutant["name"] for mutant in chosen if results[mutant["name"]]["tests"] == 0]
    if survivors:
        sys.exit(f"found by no test: {', '.join(survivors)}")


def write(mutants, results):
    lines = [
        "# Defects that the tests find",
        "",
        "Written by `make mutants`, which makes each defect of `tests/mutants/mutants.toml` in a copy of the source, builds it, and runs",
        "the tests of the library for at most 150 seconds; a test that does not end by then has found it as well. Seeds is how many of the",
        "swarm's seeds have to run until the first of its tests fails; a dash stands for a defect that none of its first 400 shows, or for",
        "a run in which no test of the swarm came to its end.",
        "",
        "| defect | what it breaks | tests that fail | seeds |",
        "|---|---|---|---|",
    ]
    for mutant in mutants:
        result = results[mutant["name"]]
        count, seeds = result["tests"] or "**none**", result["seeds"] or "–"
        lines.append(f"| {mutant['name']} | {mutant['breaks']} | {count} | {seeds} |")
    (ROOT / "docs/mutants.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
