"""The strategies by name, and own ones, imported by name."""

from p2pfl.plugins import PluginKind, find_class
from p2pfl_simulations.liars.liar import Liar

_SHIPPED = {  # name: class; the module is named as the strategy is.
    "alie": "Alie",
    "backdoor": "Backdoor",
    "copied-commitment": "CopiedCommitment",
    "corrupt-reveal": "CorruptReveal",
    "dissensus": "Dissensus",
    "double-signer": "DoubleSigner",
    "drift": "Drift",
    "false-coin-share": "FalseCoinShare",
    "false-dispute": "FalseDispute",
    "false-progress": "FalseProgress",
    "false-receipts": "FalseReceipts",
    "false-sketch": "FalseSketch",
    "false-status": "FalseStatus",
    "false-sum": "FalseSum",
    "far-ahead": "FarAhead",
    "flipped-weight": "FlippedWeight",
    "flood": "Flood",
    "foretold-turns": "ForetoldTurns",
    "forged-fields": "ForgedFields",
    "garbage-body": "GarbageBody",
    "gaussian": "Gaussian",
    "ipm": "Ipm",
    "kept-words": "KeptWords",
    "label-flip": "LabelFlip",
    "late-proof": "LateProof",
    "lying-leader": "LyingLeader",
    "mimic": "Mimic",
    "norm-just-below": "NormJustBelow",
    "offset-between-colluders": "OffsetBetweenColluders",
    "old-head": "OldHead",
    "one-short": "OneShort",
    "one-word": "OneWord",
    "other-coin": "OtherCoin",
    "other-seed": "OtherSeed",
    "random-words": "RandomWords",
    "replay": "Replay",
    "replayed-proof": "ReplayedProof",
    "scale": "ScaledUpdate",
    "sign-flip": "SignFlip",
    "silence": "Silence",
    "silent-in-audits": "SilentInAudits",
    "slow": "Slow",
    "split": "SplitPush",
    "squares-mod-order": "SquaresModOrder",
    "told-coins": "ToldCoins",
    "two-seen": "TwoDigests",
    "two-versions": "TwoVersions",
    "withheld-shares": "WithheldShares",
    "withheld-sums": "WithheldSums",
    "wrap-pairs": "WrapPairs",
    "wrong-blinding": "WrongBlinding",
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


def shipped_name(name: str) -> str:
    """Return a name as the list has it: hyphens for underscores, of a strategy that ships."""
    hyphened = name.replace("_", "-")
    return hyphened if hyphened in _SHIPPED else name
