"""The life of a consortium, with real peers on this machine: every step is a command of p2pfl.

python life.py FOLDER            # a new folder; it takes two to four minutes

Five hospitals found a group by one phrase and train. They admit a sixth, lose a disk, revoke a
stolen key, expel one against its will and take another in its place; one leaves by itself; they
change the learning rate, let the charter lapse and renew it, train on, have a model time-stamped
and verified, and end. Nobody runs a server.
"""

import argparse
import contextlib
import io
import json
import shlex
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import tomli_w
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from made_up_rows import rows
from typer.main import get_command

from p2pfl.cli.main import app

EXAMPLE = Path(__file__).parent
FOUNDERS = ("berlin", "lyon", "oslo", "porto", "turin")
PATIENCE_S = 120.0


class Life:
    """The members, their peers, and what their operators do.

    Args:
        folder: where all of them are; each has a folder of its own below.
        rounds: heights that the founding charter wants.
        shows: whether commands are printed.
        sealed: whose governance key is in a file under a passphrase; others have signers.
    """

    patience_s = PATIENCE_S

    def __init__(
        self, folder: Path, *, rounds: int, shows: bool = True, sealed: str = "berlin"
    ) -> None:
        self.command, self.sealed = get_command(app), sealed
        self.folder, self.rounds, self.shows = folder, rounds, shows
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.members = list(FOUNDERS)
        self.peers: dict[str, str] = {}  # The folder of each member's peer.
        self.ports = iter(free_ports(9))
        (folder / "passphrase").write_text("for this example only\n")
        (folder / "passphrase").chmod(0o600)

    # --- commands -----------------------------------------------------------------------------

    def p2pfl(self, line: str, *, fails: bool = False) -> str:
        """Run a command in this process, from the common folder; return what it printed."""
        if self.shows:
            print(f"  $ p2pfl {line}")
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.chdir(self.folder):
            try:
                code = self.command.main(shlex.split(line), "p2pfl", standalone_mode=False) or 0
            except Exception as error:  # A refusal: one line.
                code, told = 2, str(error)
                out.write(told)
        if bool(code) != fails:
            raise SystemExit(f"p2pfl {line} ended with {code}: {out.getvalue()}")
        return out.getvalue()

    def say(self, told: str) -> None:
        """Print what happens."""
        print(told, flush=True)

    # --- members ------------------------------------------------------------------------------

    def make_member(self, name: str, hospital: int, peer: str = "") -> None:
        """Make a peer, its rows, its governance key and its card."""
        peer = peer or name
        self.p2pfl(
            f"peer init {peer} --name {name} --listen /ip4/127.0.0.1/tcp/{next(self.ports)}"
            " --rows 320"
        )
        data = self.folder / peer / "data"
        data.mkdir()
        (data / "rows.csv").write_text("\n".join(rows(hospital)))
        with (self.folder / peer / "peer.toml").open("a") as settings:
            settings.write('data_dir = "data"\n')
        if not (self.folder / f"{name}.key").exists():
            self.make_key(name)
        self.p2pfl(f"charter card {peer} --key {name}.key")
        self.peers[name] = peer

    def make_key(self, name: str) -> None:
        """Make a governance key: berlin's in a sealed file, others' in a signer of their own."""
        if name == self.sealed:
            self.p2pfl(f"charter key {name}.key --passphrase-file passphrase")
            return
        secret = Ed25519PrivateKey.generate()
        (self.folder / f"{name}.secret").write_bytes(secret.private_bytes_raw())
        public = f"ed25519:{secret.public_key().public_bytes_raw().hex()}"
        signer = EXAMPLE / "signer.py"
        self.p2pfl(
            f"charter key {name}.key --public {public}"
            f" --command '{sys.executable} {signer} {self.folder / name}.secret'"
        )

    def key(self, name: str) -> str:
        """The options by which a member's governance key signs."""
        sealed = " --passphrase-file passphrase" if name == self.sealed else ""
        return f"--key {name}.key{sealed}"

    def hand_over(self, name: str) -> None:
        """Give a peer what it needs to run: charters, first state, and the task it approves."""
        charters = self.folder / self.peers[name] / "charters"
        for file in (*self.folder.glob("*.charter"), self.folder / "start.safetensors"):
            shutil.copy(file, charters / file.name)
        digest = self.task.split("digest")[1].split()[0]
        self.p2pfl(f"task approve readmissions.bundle {self.peers[name]} --digest {digest}")

    def start(self, *names: str) -> None:
        """Start peers."""
        for name in names:
            with (self.folder / f"{self.peers[name]}.out").open("a") as log:
                self.running[name] = subprocess.Popen(
                    [sys.executable, "-m", "p2pfl.cli.main", "peer", "run", self.peers[name]],
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stderr=log,
                    text=True,
                )

    def status(self, name: str) -> dict[str, Any]:
        """Ask a running peer how it stands; empty while it does not answer."""
        from p2pfl.daemon.control import ask
        from p2pfl.daemon.errors import ControlError

        try:
            with contextlib.chdir(self.folder):
                return ask(Path(self.peers[name]) / "control.sock", {"command": "status"})
        except ControlError:
            return {}

    def until(self, what: str, is_so: Callable[[], bool]) -> None:
        """Wait for something."""
        ends_s = time.monotonic() + self.patience_s
        while not is_so():
            if time.monotonic() > ends_s:
                told = {name: self.status(name).get("charter") for name in self.running}
                raise SystemExit(f"{what}: not within {self.patience_s:g} s; {json.dumps(told)}")
            time.sleep(0.1)

    def until_round(self, round_: int, *names: str) -> None:
        """Wait until peers have so many models."""
        for name in names or tuple(self.running):
            self.until(
                f"{name} has {round_} models",
                lambda name=name: self.status(name).get("round", 0) >= round_,
            )

    def epoch(self, name: str) -> int:
        """The epoch that a peer is in."""
        return int((self.status(name).get("ledger") or {}).get("epoch", -1))

    def until_epoch(self, epoch: int, *names: str) -> None:
        """Wait until a charter is in force at peers."""
        for name in names or tuple(self.running):
            self.until(f"{name} is in epoch {epoch}", lambda name=name: self.epoch(name) >= epoch)

    def ended(self, name: str) -> str:
        """Wait for the end of a peer that stops by itself; return its last line."""
        self.running.pop(name).wait(PATIENCE_S)
        lines = (self.folder / f"{self.peers[name]}.out").read_text().splitlines()
        return next(line for line in reversed(lines) if line.startswith("p2pfl: "))

    # --- charters -----------------------------------------------------------------------------

    def present(self, name: str) -> Path:
        """The file of the charter in force, in the folder of a member's peer."""
        digest = self.status(name)["charter"]["charter"]
        from p2pfl.charter.charter_file import read_file

        charters = self.folder / self.peers[name] / "charters"
        return next(it for it in charters.glob("*.charter") if read_file(it).digest.hex() == digest)

    def propose(self, by: str, title: str, change: Callable[[dict[str, Any]], None]) -> Path:
        """Write what is to hold, and propose it in the folder of a member."""
        present = self.present(by).relative_to(self.folder)
        document = tomllib.loads(self.p2pfl(f"charter show {present} --toml"))
        change(document)
        (self.folder / f"{title}.toml").write_text(tomli_w.dumps(document))
        told = self.p2pfl(f"charter propose {title}.toml {title}.charter --present {present}")
        for line in told.splitlines()[1:-2]:
            self.say(f"    {line.strip()}")
        return self.folder / f"{title}.charter"

    def amend(
        self,
        title: str,
        change: Callable[[dict[str, Any]], None],
        *,
        by: tuple[str, ...],
        new: tuple[str, ...] = (),
        running: bool = False,
    ) -> None:
        """Propose, let newcomers sign the file, and each operator sign in its own peer's folder."""
        epoch, first = self.epoch(by[0]), by[0]
        present = self.present(first).relative_to(self.folder)
        file = self.propose(first, title, change)
        for name in new:
            self.p2pfl(f"charter approve {file.name} --present {present} --peer {self.peers[name]}")
            if name not in by:
                self.p2pfl(f"charter approve {file.name} --present {present} {self.key(name)}")
        self._approve(file.name, present, first, running=running)
        shutil.copy(file, self.folder / self.peers[first] / "charters" / file.name)
        digest = json.loads(self.p2pfl(f"charter show {file.name} --json"))["digest"]
        for name in by[1:]:
            # It has travelled through the peers: each finds it in its own folder.
            place = Path(self.peers[name]) / "charters" / f"{digest[:16]}.charter"
            self.until(f"the proposal is with {name}", (self.folder / place).exists)
            self._approve(str(place), place.parent, name, running=running)
        self.until_epoch(epoch + 1, *[name for name in by if name in self.running])

    def _approve(self, file: str, present: Path, name: str, *, running: bool) -> None:
        by = f"--peer {self.peers[name]}" if running else self.key(name)
        self.p2pfl(f"charter approve {file} --present {present} {by}")

    def card(self, name: str) -> dict[str, Any]:
        """What a member's card says, for the charter that admits it."""
        document = tomllib.loads((self.folder / self.peers[name] / "member.toml").read_text())
        return {key: it for key, it in document.items() if key not in ("format", "commitment")}

    def join(self, name: str, *, invited_by: tuple[str, str]) -> None:
        """Bring a newcomer in: charters by file, and the invitation by words from two members."""
        told = [
            self.p2pfl(f"charter invite {self.peers[by]} {name} {self.peers[name]}-by-{by}.toml")
            for by in invited_by
        ]
        words = [it.split("phrase")[1].split("hand it")[0].split() for it in told]
        if words[0] != words[1]:
            raise SystemExit("two members invite to two histories")
        self.say(f"    both read the same words: {' '.join(words[0])}")
        charters = self.folder / self.peers[invited_by[0]] / "charters"
        for file in charters.glob("*.charter"):
            shutil.copy(file, self.folder / self.peers[name] / "charters" / file.name)
        self.p2pfl(
            f"charter join {self.peers[name]}-by-{invited_by[0]}.toml {self.peers[name]}"
            f" --phrase '{' '.join(words[1])}'"
        )
        self.hand_over(name)
        self.start(name)

    # --- the life -----------------------------------------------------------------------------

    def found(self) -> None:
        """Five found a group by one phrase."""
        self.say("five hospitals that have never met found a group")
        for number, name in enumerate(FOUNDERS, 1):
            self.make_member(name, number)
        task = self.folder / "task"
        (task / "mock").mkdir(parents=True)
        shutil.copy(EXAMPLE / "readmissions.py", task)
        (task / "mock" / "rows.csv").write_text("\n".join(rows(0, 40)))
        self.p2pfl("task pack task readmissions.bundle --task readmissions:Readmissions")
        self.p2pfl("task begin readmissions.bundle start.safetensors")
        self.task = self.p2pfl("task show readmissions.bundle")
        document = tomllib.loads((EXAMPLE / "group.toml").read_text())
        document["rounds"] = self.rounds
        document["averaging"] |= {"deadline_s": 1.0, "patience_s": 3.0}
        document["bounds"]["rounds_max"] = 100_000
        self.change_terms(document)
        (self.folder / "group.toml").write_text(tomli_w.dumps(document))
        cards = " ".join(f"--card {name}/member.toml" for name in FOUNDERS)
        self.p2pfl(f"charter draft group.toml group.charter {cards}")
        for name in FOUNDERS:
            told = self.p2pfl(f"charter reveal group.charter {name}")
        phrase = " ".join(told.split("phrase")[1].split("read the words")[0].split())
        self.say(f"    all read to each other: {phrase}")
        for name in FOUNDERS:
            sign = f"charter sign group.charter --phrase '{phrase}'"
            self.p2pfl(f"{sign} {self.key(name)}")
            self.p2pfl(f"{sign} --peer {name}")
        for name in FOUNDERS:
            self.hand_over(name)
        self.start(*FOUNDERS)
        self.until_round(2)
        self.say("    they train: two models are certified")

    def change_terms(self, document: dict[str, Any]) -> None:
        """Change what the founders agree on; for lives with other terms."""

    def admit_a_sixth(self) -> None:
        """York comes in."""
        self.say("they admit a sixth, york")
        self.make_member("york", 6)
        self.amend(
            "admit-york",
            lambda it: it["members"].append(self.card("york")),
            by=FOUNDERS,
            new=("york",),
        )
        self.join("york", invited_by=("berlin", "lyon"))
        self.until("york's rows are in a model", lambda: self._is_in("york"))
        self.say("    york's rows are in a model")

    def _is_in(self, name: str) -> bool:
        return self._last_in(name) > 0

    def _last_in(self, name: str) -> int:
        """The last model that a member's update is in, as berlin has it."""
        ledger = self.status("berlin").get("ledger") or {"members": []}
        return max((it["last_height"] for it in ledger["members"] if it["name"] == name), default=0)

    def lose_a_disk(self) -> None:
        """Oslo's journal is gone; key and papers are there."""
        self.say("oslo loses its disk: the journal is gone, key and papers have a copy")
        self.stop("oslo")
        shutil.rmtree(self.folder / "oslo" / "journal")
        self.start("oslo")
        self.until_epoch(self.epoch("berlin"), "oslo")
        done = self.status("berlin")["round"]
        self.until("oslo is in a model again", lambda: self._last_in("oslo") > done)
        self.say("    oslo has fetched history and model, and goes on")

    def revoke_a_key(self) -> None:
        """Porto's peer key was stolen."""
        self.say("porto's peer key is stolen: its own governance key revokes it, and names another")
        present = self.present("lyon").relative_to(self.folder)
        self.p2pfl(f"charter revoke {present} {self.key('porto')}")
        self.say(f"    porto's old peer: {self.ended('porto')}")
        old = self.peers["porto"]
        self.make_member("porto", 4, peer="porto-2")
        shutil.copy(self.folder / f"{old}.out", self.folder / f"{old}.last")

        def change(document: dict[str, Any]) -> None:
            others = [it for it in document["members"] if it["name"] != "porto"]
            (place,) = [i for i, it in enumerate(document["members"]) if it["name"] == "porto"]
            document["members"] = [*others[:place], self.card("porto"), *others[place:]]

        by = ("berlin", "lyon", "oslo", "turin", "porto")
        self.amend_with_absent("renew-porto", change, by=by, new=("porto",))
        self.join("porto", invited_by=("berlin", "oslo"))
        self.until_epoch(self.epoch("berlin"), "porto")
        self.say("    porto is back with another key, its place and history kept")

    def amend_with_absent(
        self,
        title: str,
        change: Callable[[dict[str, Any]], None],
        *,
        by: tuple[str, ...],
        new: tuple[str, ...],
    ) -> None:
        """As `amend`, where the last of `by` has no peer now, and signs the file itself."""
        present = self.present(by[0]).relative_to(self.folder)
        signs = by[-1]
        epoch = self.epoch(by[0])
        file = self.propose(by[0], title, change)
        for name in new:
            self.p2pfl(f"charter approve {file.name} --present {present} --peer {self.peers[name]}")
        for name in (signs, *by[:-1]):
            self._approve(file.name, present, name, running=False)
        shutil.copy(file, self.folder / self.peers[by[0]] / "charters" / file.name)
        self.until_epoch(epoch + 1, *by[:-1])

    def expel(self) -> None:
        """Turin goes against its will; ghent takes its place."""
        self.say("turin is expelled against its will; ghent takes its place")
        self.make_member("ghent", 7)

        def change(document: dict[str, Any]) -> None:
            document["members"] = [it for it in document["members"] if it["name"] != "turin"]
            document["members"].append(self.card("ghent"))

        by = ("berlin", "lyon", "oslo", "porto")
        self.amend("expel-turin", change, by=by, new=("ghent",))
        self.say(f"    turin's peer: {self.ended('turin')}")
        self.join("ghent", invited_by=("lyon", "porto"))
        self.until_epoch(self.epoch("berlin"), "ghent")

    def change_the_learning_rate(self) -> None:
        """Operators do it by themselves, within the charter's bounds."""
        self.say("operators change the learning rate, within the charter's bounds")
        self.amend(
            "slower",
            lambda it: it["training"].update(learning_rate=0.1),
            by=("berlin", "lyon", "oslo", "porto", "york"),
            running=True,
        )
        self.until_round(self.status("berlin")["round"])

    def leave(self) -> None:
        """York leaves by itself, and asks that its rounds are built on no more."""
        self.say("york leaves; it needs nobody's consent")
        present = self.present("york").relative_to(self.folder)
        self.p2pfl(f"charter leave {present} --withdraw {self.key('york')}")
        self.say(f"    york's peer: {self.ended('york')}")
        self.until("lyon has york's word", lambda: bool(self._departed("lyon")))
        self.say(f"    lyon's papers: {self._departed('lyon')}")

    def _departed(self, name: str) -> str:
        told = self.p2pfl(f"charter status {name}/charters").splitlines()
        found = [line for line in told if line.startswith("departed")]
        return found[0].removeprefix("departed").strip() if found else ""

    def lapse_and_renew(self) -> None:
        """A charter without york that is soon over; then one that goes on."""
        self.say("the next charter goes on without york, and lapses: work stops")
        by = ("berlin", "lyon", "oslo", "porto")

        def without_york(document: dict[str, Any]) -> None:
            document["members"] = [it for it in document["members"] if it["name"] != "york"]
            document["until"] = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=12)

        self.amend("short", without_york, by=by)
        self.until("the charter lapses", lambda: self._rests("berlin") == "lapsed")
        self.say(f"    berlin rests: {self.status('berlin')['charter']['why']}")
        self.amend(
            "renewed",
            lambda it: it.update(until=datetime.now(UTC) + timedelta(days=395)),
            by=by,
        )
        self.until("work goes on", lambda: self._rests("berlin") is None)
        self.say("    it is renewed, and work goes on")

    def _rests(self, name: str) -> str | None:
        charter = self.status(name).get("charter") or {"rest": "?"}
        return charter["rest"]

    def extend(self, more: int) -> None:
        """More rounds than the founders wanted, once these are done."""
        done = self.status("berlin")["round"]
        self.say(f"operators extend: {done} models are there, {more} more are to come")
        self.amend(
            "longer",
            lambda it: it.update(rounds=done + more),
            by=("berlin", "lyon", "oslo", "porto"),
            running=True,
        )
        self.until_round(done + more)

    def export(self) -> None:
        """A model for others, and its proof."""
        self.say("berlin exports the model with its card; lyon checks it, offline")
        told = self.p2pfl("charter verify lyon/charters")
        self.say(f"    {told.splitlines()[-1]}")
        self.p2pfl("ledger verify berlin")
        self.p2pfl("model export berlin model.safetensors")
        told = self.p2pfl("model verify model.safetensors --founding group.charter")
        for line in told.splitlines():
            self.say(f"    {line}")

    def verify_elsewhere(self) -> None:
        """The same with another checkout, which knows nothing of this group."""
        other = self.folder / "checkout"
        made = subprocess.run(
            ["git", "clone", "-q", str(EXAMPLE.parents[1]), str(other)],
            check=False,
            capture_output=True,
        )
        if made.returncode:
            self.say("    no other checkout can be made here: skipped")
            return
        path = [str(other / it) for it in ("", "crypto", "gossip", "simulations")]
        line = "model verify model.safetensors --founding group.charter"
        subprocess.run(
            [sys.executable, "-m", "p2pfl.cli.main", *line.split()],
            check=True,
            cwd=self.folder,
            env={"PYTHONPATH": ":".join(path)},
            stdout=subprocess.DEVNULL,
        )
        self.say("    another checkout says the same")

    def anchor(self) -> None:
        """When the record was there at the latest: a time stamp, of openssl's service here."""
        if shutil.which("openssl") is None:
            self.say("no openssl here: no time stamp")
            return
        self.say("berlin has its record time-stamped")
        made = self.p2pfl("ledger anchor berlin")
        query = self.folder / made.split("wrote ")[1].split(":")[0].split()[0].rstrip(",;")
        make_time_stamp(self.folder / "tsa", query, self.folder / "answer.tsr")
        self.p2pfl("ledger anchor berlin --answer answer.tsr")
        self.p2pfl("ledger anchors berlin --root tsa/root.pem")

    def end(self) -> None:
        """The last charter ends now; the record stays."""
        self.say("they end: the last charter is over at once")
        self.amend(
            "end",
            lambda it: it.update(
                until=datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=10)
            ),
            by=("berlin", "lyon", "oslo", "porto"),
        )
        self.until("the charter is over", lambda: self._rests("berlin") == "lapsed")
        for name in list(self.running):
            self.stop(name)
        told = self.p2pfl("ledger verify berlin")
        self.say(f"    {told.splitlines()[-1]}")

    def stop(self, name: str) -> None:
        """Stop a peer, as its operator does."""
        self.p2pfl(f"peer stop {self.peers[name]} --now")
        self.running.pop(name).wait(PATIENCE_S)

    def close(self) -> None:
        """Leave no process behind."""
        for process in self.running.values():
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens on."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


def make_time_stamp(folder: Path, query: Path, answer: Path) -> None:
    """Answer a request as a time-stamp service does; its certificate is made for this alone."""
    folder.mkdir()

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, cwd=folder, capture_output=True)

    new = ("-nodes", "-newkey", "rsa:2048", "-subj")
    openssl("req", "-x509", *new, "/CN=root", "-keyout", "root.key", "-out", "root.pem")
    openssl("req", *new, "/CN=tsa", "-keyout", "tsa.key", "-out", "tsa.csr")
    (folder / "use").write_text(
        "extendedKeyUsage = critical,timeStamping\nkeyUsage = critical,digitalSignature\n"
    )
    openssl("x509", "-req", "-in", "tsa.csr", "-CA", "root.pem", "-CAkey", "root.key",
            "-CAcreateserial", "-out", "tsa.pem", "-extfile", "use")  # fmt: skip
    (folder / "serial").write_text("01\n")
    (folder / "service").write_text(
        "[tsa]\ndefault_tsa = one\n[one]\nserial = serial\nsigner_cert = tsa.pem\n"
        "signer_key = tsa.key\nsigner_digest = sha256\ndefault_policy = 1.2.3.4.1\n"
        "digests = sha256, sha512\naccuracy = secs:1\ness_cert_id_alg = sha256\n"
    )
    openssl("ts", "-reply", "-config", "service", "-queryfile", str(query.resolve()),
            "-out", str(answer.resolve()))  # fmt: skip


def given_folder(about: str) -> tuple[Path, bool]:
    """Return the new folder that the command line names, made; and whether to print commands."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("folder", type=Path, help="a new folder, with a short path")
    parser.add_argument("--quiet", action="store_true", help="do not print commands")
    given = parser.parse_args()
    given.folder.mkdir(parents=True)
    return given.folder.resolve(), not given.quiet


def main() -> None:
    """Play all of it."""
    folder, shows = given_folder(__doc__.splitlines()[0])
    life = Life(folder, rounds=1000, shows=shows)
    try:
        life.found()
        life.admit_a_sixth()
        life.lose_a_disk()
        life.revoke_a_key()
        life.expel()
        life.change_the_learning_rate()
        life.leave()
        life.lapse_and_renew()
        life.extend(5)
        life.export()
        life.verify_elsewhere()
        life.anchor()
        life.end()
    finally:
        life.close()


if __name__ == "__main__":
    main()
