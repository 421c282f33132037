"""Changes the code in one place after the other, and sees whether a test fails each time.

    ./scripts/bench mutants                            # every part, all mutants: many CPU-hours
    ./scripts/bench mutants crypto --sample 200        # 200 of one part, drawn by --seed
    ./scripts/bench mutants masked-sum --only 'voting*' --tests tests/masked_sum/test_outcomes.py
    ./scripts/bench mutants crypto --keep /tmp/crypto  # the next one tests what is left, anew

mutmut makes the mutants and runs, for each, the tests that reach the changed function. A mutant
that survives shows a line that no test needs. Those that change nothing anybody could see are
listed with the reason in benchmarks/mutants_equivalent.toml; any other survivor is printed with its
diff, and the exit code is 1. Texts of errors and `__repr__` are left alone: they are for people.

A copy of the tracked files is mutated, laid out with all packages side by side, since mutmut names
a module by its path.
"""

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from mutmut.mutation.diff_apply import get_diff_for_mutant
from options import natural, positive, positive_real

ROOT = Path(__file__).parents[1]
EQUIVALENT = Path(__file__).parent / "mutants_equivalent.toml"
PACKAGES = {
    "p2pfl": "p2pfl",
    "p2pfl_crypto": "crypto/p2pfl_crypto",
    "p2pfl_gossip": "gossip/p2pfl_gossip",
    "p2pfl_simulations": "simulations/p2pfl_simulations",
}
COPIED = ("tests", "benchmarks", "docs", "examples", "scripts", "README.md", "pyproject.toml")
SQL = re.compile(r'"(?:PRAGMA|SELECT|INSERT|DELETE|BEGIN|COMMIT)\b', re.IGNORECASE)
TEXTS = r"raise (?!RemoteProtocolError|RemoteFault)\w+\("  # A line that says what went wrong.


@dataclass(frozen=True)
class Part:
    """What is mutated together, and the tests that answer for it.

    Attributes:
        package: its import name.
        files: patterns of module paths within the package.
        tests: what pytest is given.
    """

    package: str
    files: tuple[str, ...]
    tests: tuple[str, ...]

    def patterns(self, only: str | None) -> Sequence[str]:
        """Return patterns of its files, from the package on; of those that `only` names."""
        folders = sorted({str(Path(name).parent) for name in self.files})
        return [f"{it}/{only.removesuffix('.py')}.py" for it in folders] if only else self.files

    def is_there(self, only: str | None = None) -> bool:
        """Tell whether each pattern names a file; of those of `only`, whether one of them does."""
        package = ROOT / PACKAGES[self.package]
        found = [any(package.glob(pattern)) for pattern in self.patterns(only)]
        return any(found) if only else all(found)


PARTS = {
    "crypto": Part(
        "p2pfl_crypto",
        ("*.py",),
        (
            "tests/unit/crypto",
            "tests/masked_sum/test_transcript.py",
            "tests/checks/test_limits_of_crypto.py",
        ),
    ),
    "masked-sum": Part(
        "p2pfl_gossip",
        ("masked_sum/*.py",),
        (
            # Without those that run many sessions under faults, which take half a minute.
            *(
                f"tests/masked_sum/test_{name}.py"
                for name in (
                    *("attacks", "certificates", "covers", "deadlines", "first_hand"),
                    *("group_faults", "group_sessions", "jobs", "outcomes"),
                    *("secrecy", "session_journal", "transcript"),
                )
            ),
            *(
                f"tests/checks/test_{name}.py"
                for name in (
                    *("early_forgeries", "evidence", "fetches", "limits_of_sums"),
                    "session_forgeries",
                )
            ),
        ),
    ),
    "peer": Part(
        "p2pfl_gossip",
        (
            "peer*.py",
            "rounds.py",
            "evaluations.py",
            "*rejoining.py",
            "opening.py",
            "*catch_up.py",
            "other_rounds.py",
            "inbound.py",
        ),
        (
            *(
                f"tests/unit/gossip/test_{name}.py"
                for name in (
                    *("catch_up", "certified_catch_up", "certified_rejoining"),
                    *("cohort_averaging", "comparison", "inbound"),
                    *("masked_peer", "opening", "peer"),
                )
            ),
            "tests/property/gossip/test_peer_properties.py",
            "tests/checks/test_peer_forgeries.py",
            "tests/checks/test_limits_of_gossip.py",
            "tests/checks/test_unexpected_messages.py",
        ),
    ),
    "desk": Part(
        "p2pfl_gossip",
        ("desk.py", "action_queue.py"),
        ("tests/unit/gossip/test_desk.py", "tests/property/gossip/test_action_queue.py"),
    ),
    "store": Part(
        "p2pfl",
        ("store/*.py",),
        # Without test_crashes.py, whose processes take a minute for each mutant that survives.
        tuple(
            f"tests/unit/store/test_{name}.py"
            for name in (
                *("acts", "files", "flipped_bits", "journal", "kept_vectors", "keys"),
                "record_digests",
            )
        ),
    ),
    "noise": Part(
        "p2pfl",
        ("libp2p/noise*.py",),
        ("tests/unit/libp2p/test_noise.py",),
    ),
    "privacy": Part(
        "p2pfl",
        ("privacy/*.py", "privacy/budget/*.py"),
        ("tests/unit/privacy", "tests/unit/group/test_privacy_settings.py"),
    ),
    "driver": Part(
        "p2pfl",
        ("daemon/driver.py", "daemon/hands.py"),
        tuple(f"tests/unit/daemon/test_{name}.py" for name in ("driver", "hands", "late_answers")),
    ),
}

PLUGINS = ["--long", "-p", "no:cacheprovider", "-p", "benchmarks.mutants_profile"]
PERIOD_S = 10.0  # Of the looks at how far the tests are.
# Exit codes, as mutmut has them.
KILLED = {1, 3}
TIMED_OUT = {-signal.SIGPROF, -signal.SIGALRM}
SURVIVED, UNTESTED = {0}, {5, 33}


@dataclass(frozen=True)
class Survivor:
    """A mutant that no test noticed: where, and what was changed."""

    function: str
    before: str
    after: str

    def is_known(self, known: Sequence[dict[str, str]]) -> bool:
        """Tell whether somebody has said why it changes nothing, or it is SQL in another case."""
        if SQL.search(self.before) and self.before.casefold() == self.after.casefold():
            return True
        return any(
            (it["function"], it["before"], it["after"]) == (self.function, self.before, self.after)
            for it in known
        )


class Workshop:
    """A copy of the project in which one part is mutated."""

    def __init__(self, folder: Path, part: Part, only: str | None) -> None:
        self._folder, self._part = folder, part
        self._lay_out()
        self._configure([str(Path(part.package) / name) for name in part.patterns(only)])
        (folder / "mutants").mkdir(
            exist_ok=True
        )  # Python remembers what was no folder when it started.

    def _lay_out(self) -> None:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.split("\0")
        places = {f"{path}/": name for name, path in PACKAGES.items()}
        for name in filter(None, listed):
            target = name
            for path, package in places.items():
                if name.startswith(path):
                    target = f"{package}/{name[len(path) :]}"
            if target.split("/")[0] in (*PACKAGES, *COPIED) and (ROOT / name).is_file():
                place = self._folder / target
                place.parent.mkdir(parents=True, exist_ok=True)
                text = (ROOT / name).read_bytes()
                if not (place.is_file() and place.read_bytes() == text):
                    place.write_bytes(text)  # mutmut makes the mutants of newer files again.

    def _configure(self, patterns: list[str]) -> None:
        others = [name for name in PACKAGES if name != self._part.package]
        rows = {
            "source_paths": [self._part.package],
            "only_mutate": patterns,
            "also_copy": [*others, *(it for it in COPIED if it != "tests")],
            "do_not_mutate_patterns": [TEXTS],
            "pytest_add_cli_args": PLUGINS,
            "pytest_add_cli_args_test_selection": list(self._part.tests),
        }
        lines = ["[mutmut]", "use_git_change_detection=false", "track_dependencies=false"]
        for key, values in rows.items():
            lines += [f"{key}=", *(f"    {value}" for value in values)]
        file, text = self._folder / "setup.cfg", "\n".join(lines) + "\n"
        if not (file.is_file() and file.read_text() == text):
            file.write_text(text)
            # Have it learn anew which test reaches what; else it would forget what was killed.
            (self._folder / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)

    def make(self, children: int) -> None:
        """Make the mutants that are not there, and learn which test reaches what; test none."""
        self._take_verdicts()  # Of a run that was ended, as is what comes next.
        for file in (self._folder / "mutants" / self._part.package).rglob("*.py"):
            if not file.with_suffix(".py.meta").is_file():
                file.unlink()  # Half written, perhaps, or a plain copy, which is made again.
        # mutmut ends with an error where no mutant has the name; by then it has done all this.
        self._mutmut(["p2pfl.none"], children)

    def test(self, names: Sequence[str], children: int, seconds: float | None) -> None:
        """Test the mutants of these names, each for so many seconds of the processor at most."""
        order = self._folder / "order.json"
        order.write_text(
            json.dumps(
                {
                    "names": names,
                    "children": children,
                    "seconds": seconds,
                    "verdicts": str(self._verdicts),
                    "took": str(self._folder / "took.json"),
                }
            )
        )
        command = [sys.executable, "-m", "pytest", "-q", "--tb=native", "--rootdir=."]
        command += [*PLUGINS, *self._part.tests]
        code = self._run(command, names, cwd="mutants", P2PFL_MUTANTS=str(order))
        self._take_verdicts()
        if code:
            raise SystemExit("pytest failed:\n" + self._log())

    @property
    def _verdicts(self) -> Path:
        return self._folder / "verdicts"

    def _verdict_lines(self) -> list[str]:
        return self._verdicts.read_text().splitlines() if self._verdicts.is_file() else []

    def _take_verdicts(self) -> None:
        """Move verdicts to where mutmut has its own, so that they last as long as the function."""
        lines = self._verdict_lines()
        told = {name: int(code) for code, _, name in (line.partition(" ") for line in lines)}
        for file in (self._folder / "mutants").rglob("*.py.meta"):
            known = json.loads(file.read_text())
            codes = known["exit_code_by_key"]
            codes |= {name: code for name, code in told.items() if name in codes}
            file.write_text(json.dumps(known, indent=4))
        self._verdicts.unlink(missing_ok=True)

    def _mutmut(self, names: Sequence[str], children: int) -> None:
        self._run(
            [sys.executable, "-m", "mutmut", "run", "--max-children", str(children), *names], names
        )
        stats = self._folder / "mutants" / "mutmut-stats.json"
        if not (self.results() and stats.is_file()):
            raise SystemExit("mutmut failed:\n" + self._log())

    def _run(self, command: list[str], names: Sequence[str], cwd: str = "", **more: str) -> int:
        with (self._folder / "log").open("w+") as log:
            process = subprocess.Popen(
                command,
                cwd=self._folder / cwd,
                env={**os.environ, "PYTHONPATH": str(self._folder / "mutants"), **more},
                stdout=log,
                stderr=log,
            )
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(PERIOD_S)
                self._tell_progress(names)
        return process.returncode

    def _log(self) -> str:
        text = (self._folder / "log").read_text()
        return "\n".join([line for line in re.split(r"[\r\n]", text) if line][-40:])

    def _tell_progress(self, names: Sequence[str]) -> None:
        if not sys.stderr.isatty():
            return
        print(
            f"\r\x1b[K{len(self._verdict_lines())} of {len(names)}",
            end="",
            file=sys.stderr,
            flush=True,
        )

    def results(self) -> dict[str, int | None]:
        """Return the exit code of each mutant's tests; None where they were not run."""
        codes: dict[str, int | None] = {}
        for file in sorted((self._folder / "mutants").rglob("*.py.meta")):
            codes |= json.loads(file.read_text())["exit_code_by_key"]
        return {name: code for name, code in codes.items() if "__repr__" not in name}

    def survivor(self, name: str) -> Survivor:
        """Look at what a mutant changed."""
        made = self._folder / "mutants"
        (path,) = (
            file.relative_to(made).with_suffix("")
            for file in made.rglob("*.py.meta")
            if name in json.loads(file.read_text())["exit_code_by_key"]
        )
        with contextlib.chdir(self._folder):
            shown = get_diff_for_mutant(name, path=path).splitlines()
        lines = [line for line in shown if not line.startswith(("---", "+++", "@@", "#"))]
        before = [line[1:].strip() for line in lines if line.startswith("-")]
        after = [line[1:].strip() for line in lines if line.startswith("+")]
        return Survivor(_function(name), " ".join(before), " ".join(after))


def _function(mutant: str) -> str:
    """Return `module.Class.method` of a mutant's name."""
    module, _, mangled = mutant.rpartition(".")
    return f"{module}.{re.sub(r'__mutmut_[0-9]+$', '', mangled).removeprefix('x_')}".replace(
        "xǁ", ""
    ).replace("ǁ", ".")


def _drawn(workshop: Workshop, sample: int | None, seed: int) -> list[str]:
    """Draw mutants of a part by the seed, or take all."""
    names = sorted(workshop.results())
    if sample is None:
        return names
    # In the order of the draw: of a run that is ended early, the first ones are a sample as well.
    return Random(f"{seed}/mutants").sample(names, min(sample, len(names)))


@contextlib.contextmanager
def _folder_of(part: str, keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="p2pfl-mutants-") as folder:
            yield Path(folder)
    else:
        (keep / part).mkdir(parents=True, exist_ok=True)
        yield keep / part


def run_part(
    name: str,
    *,
    only: str | None,
    tests: Sequence[str] | None,
    sample: int | None,
    seed: int,
    children: int,
    seconds: float | None,
    keep: Path | None,
) -> tuple[Counter[str], list[Survivor]]:
    """Mutate a part; return how its mutants ended, and the survivors that nobody has explained."""
    known = tomllib.loads(EQUIVALENT.read_text())["equivalent"]
    with _folder_of(f"{name}.{only}" if only else name, keep) as folder:
        part = PARTS[name]
        part = replace(part, tests=tuple(tests or part.tests))
        workshop = Workshop(folder, part, only)
        workshop.make(children)
        drawn, before = _drawn(workshop, sample, seed), workshop.results()
        again = [it for it in drawn if before[it] not in KILLED]
        if again:
            workshop.test(again, children, seconds)
        counts: Counter[str] = Counter()
        survivors: list[Survivor] = []
        codes = workshop.results()
        for mutant in drawn:
            code = codes[mutant]
            if code in SURVIVED | UNTESTED:
                survivor = workshop.survivor(mutant)
                if survivor.is_known(known):
                    counts["equivalent"] += 1
                else:
                    counts["survived" if code in SURVIVED else "not reached"] += 1
                    survivors.append(survivor)
            elif code in TIMED_OUT:
                counts["ended by time"] += 1  # Mostly a loop without end; on a busy machine, look.
            else:
                counts["killed" if code in KILLED else "suspicious"] += 1
        return counts, survivors


def main() -> int:
    """Run the parts that are asked for; 1 if a mutant survived that nobody has explained."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", default=[])
    parser.add_argument("--only", help="a pattern of files within the part, such as 'voting*'")
    parser.add_argument(
        "--tests", nargs="+", help="that answer for what --only names; all of the part otherwise"
    )
    parser.add_argument(
        "--sample", type=positive, help="mutants to draw from each part; all otherwise"
    )
    parser.add_argument("--seed", type=natural, default=0)
    parser.add_argument(
        "--keep", type=Path, help="a folder that keeps the mutants; what was killed there stays so"
    )
    parser.add_argument(
        "--seconds",
        type=positive_real,
        help="of the processor for the tests of one mutant; all otherwise",
    )
    parser.add_argument("--children", type=positive, default=os.cpu_count() or 1)
    options = parser.parse_args()
    for name in options.parts or PARTS:
        if not PARTS[name].is_there(options.only):
            parser.error(f"{name} has no file {options.only!r}")
    for test in options.tests or ():
        if not (ROOT / test.split("::")[0]).exists():
            parser.error(f"there is no {test}")
    left = 0
    for name in options.parts or PARTS:
        began_s = time.monotonic()
        counts, survivors = run_part(
            name,
            only=options.only,
            tests=options.tests,
            sample=options.sample,
            seed=options.seed,
            children=options.children,
            seconds=options.seconds,
            keep=options.keep,
        )
        told = ", ".join(f"{count} {how}" for how, count in sorted(counts.items()))
        print(f"{name}: {sum(counts.values())} mutants: {told}; {time.monotonic() - began_s:.0f} s")
        for survivor in survivors:
            print(f"  {survivor.function}\n    - {survivor.before}\n    + {survivor.after}")
        left += len(survivors)
        sys.stdout.flush()
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
