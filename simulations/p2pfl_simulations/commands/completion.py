"""What the shell offers at the tab key."""

from importlib import resources


def complete_scenarios(incomplete: str) -> list[str]:
    """Offer the shipped scenarios; files are the shell's own business."""
    folder = resources.files("p2pfl_simulations") / "scenarios"
    names = sorted(
        file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml")
    )
    return [name for name in names if name.startswith(incomplete)]
