"""The life of a privacy budget, with real peers on this machine: every step is a command of p2pfl.

python budget.py FOLDER          # a new folder; it takes half a minute

Five hospitals open a budget each, found a group whose charter asks for privacy, and train. One
restores its budget from a backup, and its peer gives nothing more. The others spend what the
charter may cost, and end by themselves; what they had reserved and did not spend is free again.
"""

import json
import shutil
from typing import Any

from life import FOUNDERS, Life, given_folder

ROUNDS = 8
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
            "spares": 4,
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

    def spend_all(self) -> None:
        """The others go on to the charter's last round, and end by themselves."""
        others = [name for name in FOUNDERS if name != RESTORED]
        self.say("the others spend what the charter may cost, and end by themselves")
        for name in others:
            self.until(f"{name} is done", lambda name=name: self._is_free(name))
        self.show(*others)

    def _is_free(self, name: str) -> bool:
        """Whether what its charter has left is free again."""
        told = self.p2pfl(f"privacy status {name}/data/budget --anchor anchors/{name} --json")
        return bool(json.loads(told)["charters"][0]["state"] == "closed")


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
        life.until("what each can learn", lambda: bool(life.claims("berlin")))
        for it in life.claims("berlin"):
            life.say(f"    {told(it)}")
        life.restore_a_backup()
        life.spend_all()
        for name in FOUNDERS:
            life.stop(name)
    finally:
        life.close()


if __name__ == "__main__":
    main()
