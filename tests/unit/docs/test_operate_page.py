"""docs/operate.md says what is so."""

import re
from pathlib import Path

from p2pfl.daemon.config import PeerConfig, PeerFolder

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
    files = {getattr(folder, name).name for name in properties} | {"member.toml"}
    assert {name.rstrip("/") for name in keys_below("## Files of a peer")} == files


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (DOCS / target).exists(), target
