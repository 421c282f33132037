"""docs/operate.md says what is so."""

import re
from pathlib import Path

from p2pfl.daemon.config import PeerConfig, PeerFolder
from p2pfl.group.roster_file import RosterFile
from p2pfl_simulations.scenario import Scenario

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "operate.md").read_text(encoding="utf-8")


def keys_below(heading: str) -> list[str]:
    """Return the first cells of the table below a heading, up to the next heading."""
    below = PAGE.partition(f"{heading}\n")[2]
    return re.findall(
        r"^\| `(.+?)` \|", re.split(r"^##", below, flags=re.MULTILINE)[0], re.MULTILINE
    )


def test_every_key_of_peer_toml_is_listed() -> None:
    assert keys_below("### peer.toml") == list(PeerConfig.model_fields)


def test_every_file_of_a_folder_is_listed() -> None:
    folder = PeerFolder(Path())
    properties = [name for name, part in vars(PeerFolder).items() if isinstance(part, property)]
    files = {getattr(folder, name).name for name in properties} | {"roster.toml"}
    assert {name.rstrip("/") for name in keys_below("## Files of a peer")} == files


def test_every_key_of_a_roster_is_listed_here_or_with_the_scenarios() -> None:
    here = {key.strip("[]").split(".")[0] for key in keys_below("## The roster")}
    assert set(RosterFile.model_fields) - set(Scenario.model_fields) <= here


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (DOCS / target).exists(), target
