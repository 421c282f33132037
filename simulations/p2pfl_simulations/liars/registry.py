"""The strategies by name, and own ones, imported by name."""

from p2pfl.plugins import PluginKind, find_class
from p2pfl_simulations.liars.liar import Liar

_SHIPPED = {  # name: class; the module is named as the strategy is.
    "corrupt-reveal": "CorruptReveal",
    "double-signer": "DoubleSigner",
    "false-progress": "FalseProgress",
    "false-receipts": "FalseReceipts",
    "false-status": "FalseStatus",
    "false-sum": "FalseSum",
    "far-ahead": "FarAhead",
    "flipped-weight": "FlippedWeight",
    "flood": "Flood",
    "forged-fields": "ForgedFields",
    "garbage-body": "GarbageBody",
    "lying-leader": "LyingLeader",
    "old-head": "OldHead",
    "poisoned-vector": "PoisonedVector",
    "replay": "Replay",
    "silence": "Silence",
    "slow": "Slow",
    "two-versions": "TwoVersions",
    "withheld-shares": "WithheldShares",
}


LIARS = PluginKind(
    "liar",
    "p2pfl.liars",
    (Liar,),
    "faults.liars.strategy",
    {
        name: f"p2pfl_simulations.liars.strategies.{name.replace('-', '_')}:{found}"
        for name, found in _SHIPPED.items()
    },
)


def shipped_liars() -> dict[str, type[Liar]]:
    """Return the strategies that ship, by name."""
    return {name: find_class(LIARS, name, None) for name in _SHIPPED}
