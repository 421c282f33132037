"""The life of a privacy budget, with real peers on this machine: every step is a command of p2pfl.

python budget.py FOLDER          # a new folder; it takes three minutes of a processor

Five hospitals open a budget each, found a group whose charter asks for privacy, and train. The
power fails in the middle of rounds, more often than the charter has spares: what was spent stays
spent. One restores its budget from a backup, and its peer gives nothing more. The others spend all
that the charter may cost, before the last model that they wanted, and end by themselves. What they
then agree on has to fit what their budgets have left.
"""

import shutil
import time
from typing import Any

from life import FOUNDERS, Life, given_folder

ROUNDS, SPARES = 16, 1
RESTORED = "oslo"


class PrivateLife(Life):
    """Hospitals whose data have budgets; accountants take a while to load on a busy machine."""

    patience_s = 600.0

    def make_member(self, name: str, hospital: int, peer: str = "") -> None:
        """Make a peer, and open the budget of its rows; its anchor lies where no backup goes."""
        super().make_member(name, hospital, peer)
        (self.folder / "anchors").mkdir(exist_ok=True)
        self.p2pfl(
            f"privacy open {name}/data/budget --anchor anchors/{name} --dataset {name}"
            " --epsilon 6 --delta 1e-5"
        )
        settings = self.folder / name / "peer.toml"
        budget = f'budget = "data/budget"\nbudget_anchor = "../anchors/{name}"\n'
        settings.write_text(budget + settings.read_text())  # Before any table of it.
        if name == RESTORED:
            shutil.copy(self.folder / name / "data" / "budget", self.folder / "backup")

    def change_terms(self, document: dict[str, Any]) -> None:
        """Ask for privacy: who has more rows has more of them in each lot, so all weigh alike."""
        document["averaging"]["weights"] = "equal"
        document["privacy"] = {
            "epsilon": 4.0,
            "rows": 1200,
            "rate": "1/4",
            "learning_rate": 1.0,
            "spares": SPARES,
            "drops": 0.02,
        }

    def show(self, *names: str) -> None:
        """Say what each status has of privacy."""
        for name in names:
            charter = self.status(name)["charter"]
            self.say(f"    {name}: {charter['why'] or charter['privacy']}")

    def claims(self, name: str) -> list[dict[str, Any]]:
        """Return what each adversary can learn; its peer works that out soon after it starts."""
        return list(self.status(name).get("charter", {}).get("claims", ()))

    def restore_a_backup(self) -> None:
        """Put a copy of a budget back that is older than what was spent, and start the peer again.

        However far the group has come: rounds may take a quarter of a second here.
        """
        self.say(f"{RESTORED} restores its budget from a backup")
        self.stop(RESTORED)
        shutil.copy(self.folder / "backup", self.folder / RESTORED / "data" / "budget")
        self.start(RESTORED)
        self.until("its peer rests", lambda: self._rests(RESTORED) not in (None, "?"))
        self.show(RESTORED)
        asked = f"privacy status {RESTORED}/data/budget --anchor anchors/{RESTORED}"
        self.say(f"    {self.p2pfl(asked, fails=True).splitlines()[1]}")

    def fail_power(self) -> None:
        """Kill all peers while they give, until more came to nothing than the charter spares."""
        self.say(f"the power fails in the middle of rounds; spares of the charter: {SPARES}")
        while self.lost() <= SPARES:
            done = self.models()
            self.until("another model", lambda done=done: self.models() > done)
            given = self.spent("berlin")
            while self.spent("berlin") == given:  # No command tells of it as fast as the file.
                time.sleep(0.001)
            for process in self.running.values():
                process.kill()
            for name in FOUNDERS:
                self.running.pop(name).wait()
            self.start(*FOUNDERS)
            self.until("berlin is back", lambda: self.models() > 0)
            self.say(f"    berlin has given {self.spent('berlin')}, for {self.models()} models")

    def models(self) -> int:
        """How many models berlin has."""
        return int(self.status("berlin").get("round", 0))

    def spent(self, name: str) -> int:
        """How many updates a budget says were given."""
        return (self.folder / name / "data" / "budget").read_text().count('"record":"spent"')

    def lost(self) -> int:
        """What more members gave in vain than a sum can do without, which is one."""
        return sorted(self.spent(name) for name in FOUNDERS)[-2] - self.models()

    def spend_all(self) -> None:
        """The others go on as long as they may, and end by themselves."""
        others = [name for name in FOUNDERS if name != RESTORED]
        self.say("the others spend all that the charter may cost, and end by themselves")
        for name in others:
            self.until(f"{name} has ended", lambda name=name: self._has_ended(name))
        self.show(*others)
        given, sent = {it: self.spent(it) for it in others}, self._sent(others)
        time.sleep(5.0)
        if given != {it: self.spent(it) for it in others} or self._sent(others) > sent:
            raise SystemExit("something left after all was spent")
        self.say("    and nothing has left since")

    def _has_ended(self, name: str) -> bool:
        status = self.status(name)
        return status.get("state") == "finished" and bool(status["charter"]["why"])

    def _sent(self, names: list[str]) -> int:
        """Bodies that left: chunks of updates, and models."""
        return sum(int(self.status(it)["traffic"]["bodies_sent"]) for it in names)

    def extend_twice(self) -> None:
        """Ask for more than budgets have left; then for what fits."""
        present = self.present("berlin").relative_to(self.folder)

        def more(document: dict[str, Any], epsilon: float) -> None:
            document["rounds"] = ROUNDS + 4
            document["privacy"]["epsilon"] = epsilon

        self.say("all approve four more rounds, at the same epsilon")
        file = self.propose("berlin", "too-much", lambda it: more(it, 4.0))
        for name in FOUNDERS:
            self._approve(file.name, present, name, running=False)
        shutil.copy(file, self.folder / "berlin" / "charters" / file.name)
        self.until("it is held back", lambda: bool(self._held("berlin")))
        self.say(f"    held back at berlin: {self._held('berlin')}")
        self.say("all approve them with more noise, and that fits")
        self.amend("less", lambda it: more(it, 1.0), by=FOUNDERS)
        self.until("there is another model", lambda: self.models() >= ROUNDS)
        self.show("berlin")

    def _held(self, name: str) -> str:
        proposals = self.status(name).get("charter", {}).get("proposals", ())
        return next((it["held"] for it in proposals if it["held"]), "")


def told(claim: dict[str, Any]) -> str:
    """Say what one adversary can learn; who has the rows learns all."""
    if claim["epsilon"] is None:
        return f"{claim['adversary']}: nothing is hidden"
    found = 100 * claim["found"]
    return (
        f"{claim['adversary']}: epsilon {claim['epsilon']:.2g}; of 100 rows that are there it finds"
        f" {found:.1f} at most, if it may accuse 1 in 100 of the others"
    )


def main() -> None:
    """Play all of it."""
    folder, shows = given_folder(__doc__.splitlines()[0])
    life = PrivateLife(folder, rounds=ROUNDS, shows=shows)
    try:
        life.found()
        life.show(*FOUNDERS)
        life.fail_power()
        life.until("what each can learn", lambda: bool(life.claims("berlin")))
        for it in life.claims("berlin"):
            life.say(f"    {told(it)}")
        life.restore_a_backup()
        life.spend_all()
        life.extend_twice()
        for name in FOUNDERS:
            life.stop(name)
    finally:
        life.close()


if __name__ == "__main__":
    main()
