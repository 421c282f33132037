"""What a seed of the sweep runs where it is a group's: faults, lies, changes, audits, backups.

A seed is small, so that many of them can be run: five members mostly, a few rounds, models of 64
entries, faults of some seconds. Nothing that a group does is left out for that; see `stands_in`.
"""

from random import Random
from typing import Any

from sweep_draw import DISKS, LATENCIES, Draw, draw_faults

from p2pfl_gossip.masked_sum.auditing import ENDS_AFTER
from p2pfl_gossip.masked_sum.cohort import COHORT_SIZE_MIN, liars_max_of, threshold_of
from p2pfl_simulations.costs import PROOF_POINTS, points_s
from p2pfl_simulations.group import Speeds
from p2pfl_simulations.scenario import Scenario, make_scenario

PEERS = (*((5,) * 24), 6, 6, 7, 7, 7, 7, 8, 10)
PRIVATE_PEERS = 5
"""Of a group with differential privacy: a plan takes seconds, so all such groups have one."""
PRIVATE_SPENDS = 400
"""Rounds, lost ones among them, that its plan pays for: spending all ends progress, as it must."""
RECORDS = 0.5
"""Share of these in which records are private, by lots; in the others whole members are."""
HONEST_ROUNDS = 20
REKEYED_FROM = 21_000
"""Seeds from which on members get other governance keys: what earlier ones are stays the same."""
NAMED_FROM = 30_000
"""Seeds from which on some groups find out who made a total false."""
NAMED = 0.5
"""Share of these."""
DISPUTES = 0.6
"""Of these with liars, the share in which liars lie in a dispute."""
LATE_FROM = 40_000
"""Seeds from which on peers join, other keys take members' places, and groups go back."""
GROWING = 0.7
"""Share of these in which some do."""
REFUSED_FROM = 110_000
"""Seeds from which on liars of audited groups refuse what takes t members, or their sums."""
REFUSED = 0.3
"""Share of these."""
TOLD_FROM = 130_000
"""Seeds from which on liars foretell, keep words back and deal falsely, and those of groups without
an audit refuse, too."""
TOLD = 0.4
"""Share of these."""
TURNED_FROM = 100_000
"""Seeds from which on lapsed charters are renewed, computers are lost for good, members that lie or
any others are expelled, and groups that lost too many are succeeded."""
SUCCEEDED = 0.15
"""Share of these that are."""
PROOFS_S = 5.0
"""Deadline with which the slowest member's proof in an audit is in time."""
AWAY = frozenset({"amend", "leave", "revoke", "lose"})
"""Changes by which members that they name are away: for good, or until they have signed."""
PRESENT = frozenset({"extend", "amend", "lapse", "rekey"})
"""Changes by which nobody comes or goes: beside them it is known how many are too few."""
SUCCESSORS_SEED = 2**40
"""Added to a seed: what a group's successor is drawn by."""
REAL_CURVE = 0.01
"""Share of the audited seeds in which points are multiplied as libsodium does it."""

STRATEGIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("corrupt-reveal", {}),
    ("double-signer", {}),
    ("double-signer", {"share": 0.2}),
    ("false-progress", {}),
    ("false-receipts", {"claims": "all"}),
    ("false-receipts", {"claims": "none"}),
    ("false-receipts", {}),
    ("false-sum", {}),
    ("forged-fields", {}),
    ("forged-fields", {"probability": 0.02}),
    ("forged-fields", {"signs": False}),
    ("garbage-body", {}),
    ("garbage-body", {"keeps_size": False}),
    ("lying-leader", {"lie": "short_list"}),
    ("lying-leader", {"lie": "short_list", "share": 1.0}),
    ("lying-leader", {"lie": "another_u2", "share": 0.2}),
    ("lying-leader", {"lie": "another_u2"}),
    ("lying-leader", {"lie": "two_ballots", "share": 0.2}),
    ("lying-leader", {"lie": "two_ballots"}),
    ("old-head", {}),
    ("old-head", {"share": 1.0}),
    ("replay", {}),
    ("silence", {}),
    ("silence", {"share": 0.2}),
    ("silence", {"share": 1.0}),
    ("slow", {}),
    ("two-versions", {}),
    ("two-versions", {"statements": ["GroupAdvert"]}),
    ("two-versions", {"statements": ["GroupList", "EntrySignature"]}),
    ("two-versions", {"statements": ["Ballot", "Vote"]}),
    ("two-versions", {"statements": ["Header", "Ack", "Manifest"], "share": 0.2}),
    ("withheld-shares", {}),
    ("withheld-shares", {"broken": True}),
)
"""What liars do, beside an audit too."""

UPDATES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("alie", {}),
    ("drift", {}),
    ("gaussian", {}),
    ("ipm", {}),
    ("mimic", {}),
    ("norm-just-below", {}),
    ("one-word", {}),
    ("random-words", {}),
    ("scale", {}),
    ("sign-flip", {}),
    ("split", {}),
    ("wrap-pairs", {}),
)
"""False inputs of a sum: as long as they like, or of a length that is allowed."""

STRETCHED = frozenset(name for name, _ in UPDATES if not name.endswith(("word", "words", "pairs")))
"""Those of them that may be given a length."""

AUDITED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("copied-commitment", {}),
    ("false-coin-share", {}),
    ("false-sketch", {}),
    ("late-proof", {}),
    ("offset-between-colluders", {}),
    ("other-coin", {}),
    ("replayed-proof", {}),
    ("silent-in-audits", {}),
    ("squares-mod-order", {}),
    ("two-seen", {}),
    ("wrong-blinding", {}),
)
"""What they do in an audit alone."""

DISPUTED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("false-dispute", {"lie": "accuse"}),
    ("false-dispute", {"lie": "late"}),
    ("false-dispute", {"lie": "late", "after_s": 8.0}),
    ("false-dispute", {"lie": "late-proof"}),
    ("false-dispute", {"lie": "late-proof", "after_s": 8.0}),
    ("false-dispute", {"lie": "pair"}),
    ("false-dispute", {"lie": "silent"}),
    ("false-dispute", {"lie": "two"}),
    ("false-dispute", {"lie": "words"}),
    ("false-sketch", {}),
    ("offset-between-colluders", {}),
    ("wrong-blinding", {}),
)
"""What they do where a false total leads to a dispute."""

REFUSING: tuple[tuple[str, dict[str, Any]], ...] = (
    ("one-short", {"by": "header"}),
    ("one-short", {"by": "manifest"}),
    ("one-short", {"by": "receipt"}),
    ("one-short", {"by": "share"}),
    ("withheld-sums", {}),
    ("withheld-sums", {"share": 0.5}),
    ("withheld-sums", {"signs": True}),
    ("withheld-sums", {"signs": True, "words": True}),
)
"""What they do where a quorum is one short without them, or as owners of chunks."""

TELLING: tuple[tuple[str, dict[str, Any]], ...] = (
    ("foretold-turns", {"word": "ballot"}),
    ("foretold-turns", {"word": "ballot", "short": True}),
    ("foretold-turns", {"word": "proposal"}),
    ("foretold-turns", {"word": "proposal", "short": True}),
    ("kept-words", {}),
    ("kept-words", {"signs": False}),
    ("other-seed", {}),
)
"""What they say too early, to some alone, or falsely to all."""

TOLD_COINS: tuple[str, dict[str, Any]] = ("told-coins", {})
"""Beside an audit."""

SILENT_IN_DISPUTES = ("late", "late-proof", "silent")
"""Of these lies, those for which a member may be left out only."""

ENDED = frozenset(
    {
        "copied-commitment",
        "false-coin-share",
        "foretold-turns",
        "kept-words",
        "late-proof",
        "other-coin",
        "other-seed",
        "replayed-proof",
        "squares-mod-order",
        "two-seen",
    }
)
"""Those beside which an audited group must go on; the others may make each round void, unnamed."""


def draw_group(seed: int) -> Draw:
    """Draw a scenario of a group."""
    rng = Random(f"{seed}/group sweep")
    is_faulty = rng.random() < 0.92
    peers = rng.choice(PEERS)
    lies = is_faulty and rng.random() < 0.55
    is_audited = rng.random() < 0.4
    names = Random(f"{seed}/names")  # Its own stream: earlier seeds are what they were.
    is_named = seed >= NAMED_FROM and names.random() < NAMED
    if is_named:
        is_audited, lies = True, is_faulty and (lies or names.random() < NAMED)
    is_private = not is_audited and rng.random() < 0.15
    if is_private:
        peers = PRIVATE_PEERS
    masking = "real" if lies else rng.choice(["real", "modelled", "modelled"])
    deadline_s = rng.choice([0.5, 2.0, 5.0]) if is_faulty else 1e4
    document: dict[str, Any] = {
        "name": f"ledger-sweep-{seed}",
        "seed": seed,
        "peers": peers,
        "rounds": rng.choice([1, 1, 1, 2, 2, 6 if rng.random() < 0.1 else 3]),
        "learning": {"task": "integers", "training": {"steps": rng.randint(1, 2), "batch_size": 4}},
        "averaging": {
            "algorithm": "group",
            "masking": masking,
            "audit": "name" if is_named else "void" if is_audited else "off",
            "clip": 65536.0,
            "deadline_s": deadline_s,
            "patience_s": rng.choice([0.0, 1.0, 10.0]),
            "weights": rng.choice(["equal", "equal", "samples"]),
            # Spending all is looked at by tests of its own: it ends progress, as it must.
            "retries": 1000,
        },
        "network": {
            "latency": rng.choice(LATENCIES),
            "bandwidth_bytes_per_s": 10 ** rng.uniform(4.3, 7),
        },
        "compute": {"step_s": rng.choice([0.01, 0.3]), "speed_spread": rng.choice([1.0, 1.0, 4.0])},
        "evaluation": {"every": 6, "peers": 1, "baselines": []},
    }
    if is_private:
        document["averaging"]["weights"] = "equal"
        document["privacy"] = {
            "epsilon": 20.0,
            "unit": "member",
            "least": threshold_of(peers),
            "spares": PRIVATE_SPENDS - document["rounds"],
            "drops": 0.1,
        }
        records = Random(f"{seed}/records")  # Its own stream: other seeds stay as they were.
        if records.random() < RECORDS:
            document["learning"] = {"task": "breast-cancer"}  # In torch, and small.
            document["privacy"] |= {
                "unit": "record",
                "rate": "1/4",
                "momentum": records.choice([0.0, 0.5]),
            }
    stands_in = is_audited and masking == "real" and rng.random() >= REAL_CURVE
    if not is_faulty:
        return Draw(make_scenario(document), False, 0.0, 0.0, stands_in=stands_in)
    heal_s = rng.uniform(0.5, 5)
    document["network"]["loss"] = rng.choice([0.0, 0.0, 0.0, 0.02, 0.1, 0.3])
    disk = document["disk"] = rng.choice(DISKS)
    # No answer comes within less than the disks of those that give it take.
    least_s = {"slow": 5.0, "drawn": 2.0}.get(disk["kind"], 0.0)
    document["averaging"]["deadline_s"] = max(deadline_s, least_s)
    document["compute"]["jitter"] = rng.choice([0.0, 0.0, 0.5, 3.0])
    faults = document["faults"] = draw_faults(rng, heal_s)
    failing = 0.2 if rng.random() < 0.1 else 0.0
    restarts = any(kind in faults for kind in ("churn", "crash", "crash_at_action"))
    if restarts and not lies and rng.random() < 0.5:
        # Not beside liars: a backup together with m of them the ledger does not bear.
        faults["backups"] = {"every_s": rng.uniform(0.2, 3), "probability": rng.uniform(0.1, 0.7)}
    if lies:
        faults["liars"] = _liars(rng, peers, is_audited=is_audited)
    if not is_private and rng.random() < 0.6:
        liars = faults.get("liars", [])
        lying = [peer for entry in liars for peer in entry["peers"]]
        honest = [peer for peer in range(peers) if peer not in lying]
        document["changes"] = _rekey(seed, _changes(rng, peers, heal_s, liars), heal_s, honest)
    _lie_otherwise(seed, faults.get("liars", []), names if is_named else None, is_audited)
    successor = None
    if is_private:
        _change_privately(seed, document, heal_s)
    else:
        successor = _come_and_go(seed, document, heal_s)
    may_stall = is_audited and any(
        not _must_end_beside(entry, audit=document["averaging"]["audit"])
        for entry in faults.get("liars", [])
    )
    must_end = not (may_stall or successor)
    return Draw(
        _timely(document) if must_end else make_scenario(document),
        True,
        heal_s,
        failing,
        must_end=must_end,
        stands_in=stands_in,
        successor=successor,
    )


def draw_honest(seed: int) -> Draw:
    """Draw an audited group in which nothing goes wrong, and no round may be void.

    Updates are as long as they may be in most: what an honest member's sketch must pass with.
    """
    rng = Random(f"{seed}/honest sweep")
    document: dict[str, Any] = {
        "name": f"honest-sweep-{seed}",
        "seed": seed,
        "peers": rng.choice([5, 5, 5, 6, 8]),
        "rounds": HONEST_ROUNDS,
        "learning": {"task": "integers", "training": {"steps": 1, "batch_size": 4}},
        "averaging": {
            "algorithm": "group",
            "audit": "name" if seed >= NAMED_FROM else "void",
            "clip": rng.choice([10.0, 1000.0, 65536.0, 1e6]),
            "deadline_s": 1e4,
            "weights": rng.choice(["equal", "samples"]),
        },
        "network": {"latency": rng.choice(LATENCIES)},
        "evaluation": {"every": 10**6, "peers": 1, "baselines": []},
    }
    return Draw(make_scenario(document), False, 0.0, 0.0, stands_in=rng.random() >= REAL_CURVE)


def _changes(
    rng: Random, peers: int, heal_s: float, liars: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Draw what operators do: as many leave or sign late as the group bears beside its liars."""
    lying = [peer for entry in liars for peer in entry["peers"]]
    spare = peers - threshold_of(peers) - len(lying)
    honest = [peer for peer in range(peers) if peer not in lying]
    changes: list[dict[str, Any]] = []
    for _ in range(rng.randint(1, 3)):
        kind = rng.choice(["extend", "extend", "amend", "amend", "leave", "revoke", "lapse"])
        change: dict[str, Any] = {"kind": kind, "at_s": rng.uniform(0, 1.2 * heal_s)}
        if kind == "extend":
            change["rounds"] = rng.randint(1, 2)
        elif kind == "lapse":
            # Over before the network heals: then models are to come within a few rounds.
            change["at_s"] = rng.uniform(0, heal_s / 2)
            change["duration_s"] = rng.uniform(0, heal_s / 2)
            change["peers"] = rng.choice([[], rng.sample(honest, 2)])
        elif kind == "amend":
            change["duration_s"] = rng.uniform(0, heal_s)
            change["peers"] = rng.sample(honest, min(spare, rng.randint(0, 2))) if spare else []
            spare -= len(change["peers"])
        else:
            if spare < 1:
                continue
            change["peers"] = [rng.choice(honest)]
            spare -= 1
        changes.append(change)
    if peers > 5 and not lying and spare and rng.random() < 0.3:
        # One fewer, and as many as before may be away.
        changes.append({"kind": "expel", "at_s": rng.uniform(0, heal_s), "peers": [peers - 1]})
    return changes


def _lie_otherwise(
    seed: int, liars: list[dict[str, Any]], names: Random | None, is_audited: bool
) -> None:
    """Draw lies of disputes, where there are such, and of liars that act together."""
    if names is not None and names.random() < DISPUTES:
        for entry in liars:
            _lie_alike([entry], names.choice(DISPUTED))
    refused = Random(f"{seed}/refused")
    if seed >= REFUSED_FROM and is_audited and refused.random() < REFUSED:
        _lie_alike(liars, refused.choice(REFUSING))
    told = Random(f"{seed}/told")
    if seed >= TOLD_FROM and told.random() < TOLD:
        others = (TOLD_COINS,) if is_audited else REFUSING
        _lie_alike(liars, told.choice((*TELLING, *others)))


def _lie_alike(liars: list[dict[str, Any]], lie: tuple[str, dict[str, Any]]) -> None:
    for entry in liars:
        entry["strategy"], entry["arguments"] = lie
        entry.pop("norm", None)


def _must_end_beside(entry: dict[str, Any], *, audit: str) -> bool:
    """Tell whether an audited group must go on beside such liars."""
    if audit == "name" and (entry["strategy"], entry["arguments"]) in DISPUTED:
        return entry["arguments"].get("lie") not in SILENT_IN_DISPUTES
    if entry["strategy"] == "one-short":
        return entry["arguments"]["by"] in ("manifest", "receipt")
    return entry["strategy"] in ENDED


def _timely(document: dict[str, Any]) -> Scenario:
    """Make a scenario in which as many as a sum needs have their proofs in an audit in time.

    The slowest may be so slow that the mean proof of theirs comes once a sum is given up: then the
    deadline is longer. Neither liars are counted nor who is away.
    """
    scenario = make_scenario(document)
    averaging = scenario.averaging
    if not scenario.is_audited:
        return scenario
    away = {peer for entry in scenario.faults.liars for peer in entry.peers or ()}
    for change in scenario.changes:
        if change.kind in AWAY or (change.kind == "replace" and not change.stolen):
            away.update(change.peers)
    compute, speeds = scenario.compute, Speeds(scenario, lambda _peer, _job: 1)
    mean_s = points_s(PROOF_POINTS, compute.masking) * (1 + compute.jitter / 2)
    longest_s = ENDS_AFTER * averaging.deadline_s
    founders = range(len(scenario.founders))
    timely = [
        peer
        for peer in founders
        if peer not in away and mean_s * speeds.step_s(peer) / compute.step_s <= longest_s
    ]
    if len(timely) >= threshold_of(len(founders)):
        return scenario
    document["averaging"]["deadline_s"] = PROOFS_S
    return make_scenario(document)


def _rekey(
    seed: int, changes: list[dict[str, Any]], heal_s: float, honest: list[int]
) -> list[dict[str, Any]]:
    """Draw that some get other governance keys beside all else; not in what earlier seeds are."""
    rng = Random(f"{seed}/rekey")
    if seed < REKEYED_FROM or rng.random() >= 0.4:
        return changes
    peers = rng.sample(honest, rng.randint(1, 2))
    return [*changes, {"kind": "rekey", "at_s": rng.uniform(0, 1.2 * heal_s), "peers": peers}]


def _come_and_go(seed: int, document: dict[str, Any], heal_s: float) -> Draw | None:
    """Draw who comes and goes; return what a group is succeeded by that lost too many."""
    successor = _succeed(seed, document, heal_s)
    if successor is None:
        _turn(seed, document, heal_s)
        _grow(seed, document, heal_s)
    return successor


def _grow(seed: int, document: dict[str, Any], heal_s: float) -> None:
    """Draw that peers come that were not there, beside all else; not in what earlier seeds are."""
    rng = Random(f"{seed}/late")
    if seed < LATE_FROM or rng.random() >= GROWING:
        return
    founders, changes = document["peers"], list(document.get("changes", []))
    busy = {peer for entry in document["faults"].get("liars", []) for peer in entry["peers"]}
    away = set(busy)
    for change in changes:
        busy.update(change.get("peers", ()))
        if change["kind"] in AWAY:
            away.update(change["peers"])
    free = [peer for peer in range(founders) if peer not in busy]
    spare = founders - threshold_of(founders) - len(away)
    if seed >= TURNED_FROM:
        spare = max(0, spare - any(change["kind"] == "expel" for change in changes))
    for kind in rng.sample(["admit", "admit", "replace", "replace", "back"], rng.randint(1, 3)):
        change = {"kind": kind, "at_s": rng.uniform(0, 1.2 * heal_s)}
        stolen, late_s = rng.random() < 0.5, rng.choice([0.0, rng.uniform(0, heal_s)])
        count, place, epoch = rng.randint(1, 2), rng.random(), rng.randint(0, 2)
        if kind == "back":
            changes.append(change | {"epoch": epoch})
            continue
        if kind == "admit":
            coming = list(range(document["peers"], document["peers"] + count))
        elif free and (stolen or spare):
            spare -= not stolen  # Until another is in its place, the member is away.
            coming = [free.pop(int(place * len(free))), document["peers"]]
            change["stolen"] = stolen
            if not stolen and document["averaging"]["audit"] != "off":
                # Nobody is to spare then: the slowest counts, and its proofs must be in time.
                averaging = document["averaging"]
                averaging["deadline_s"] = max(averaging["deadline_s"], PROOFS_S)
        else:
            continue
        document["peers"] = coming[-1] + 1
        changes.append(change | {"peers": coming, "duration_s": late_s})
    if changes:
        document["changes"] = _bearable(founders, changes, away)


def _bearable(founders: int, changes: list[dict[str, Any]], away: set[int]) -> list[dict[str, Any]]:
    """Have keys be stolen in the place of computers that are one too many to lose, the last first.

    Without whom it expels, a group bears fewer. A peer whose key is stolen goes on until another is
    in its place.

    Args:
        founders: members at first.
        changes: that were drawn.
        away: members that lie, or are away by other changes than replacements.
    """
    expelled = {peer for it in changes if it["kind"] == "expel" for peer in it["peers"]}
    members = founders - len(expelled)
    spare = members - threshold_of(members) - len(away - expelled)
    found = []
    for change in changes:
        if change["kind"] == "replace" and not change["stolen"]:
            found.append(change | {"stolen": spare < 1})
            spare -= 1
        else:
            found.append(change)
    return found


def _change_privately(seed: int, document: dict[str, Any], heal_s: float) -> None:
    """Draw changes of a private group that keep its number of members; not in earlier seeds."""
    rng = Random(f"{seed}/private changes")
    if seed < TURNED_FROM or rng.random() < 0.4:
        return
    lying = {peer for entry in document["faults"].get("liars", []) for peer in entry["peers"]}
    honest = [peer for peer in range(document["peers"]) if peer not in lying]
    changes: list[dict[str, Any]] = []
    for kind in rng.sample(["amend", "extend", "rekey", "renew", "replace"], rng.randint(1, 3)):
        change: dict[str, Any] = {"kind": kind, "at_s": rng.uniform(0, heal_s)}
        member = rng.choice(honest)
        if kind == "extend":
            change["rounds"] = rng.randint(1, 2)
        elif kind == "rekey":
            change["peers"] = [member]
        elif kind == "renew":
            change["duration_s"] = rng.uniform(0, heal_s / 2)
        elif kind == "replace":
            change |= {"peers": [member, document["peers"]], "stolen": True}
        changes.append(change)
    document["peers"] += sum(change["kind"] == "replace" for change in changes)
    document["changes"] = changes


def _succeed(seed: int, document: dict[str, Any], heal_s: float) -> Draw | None:
    """Draw that too many computers are lost, and what members found then; not in earlier seeds."""
    rng = Random(f"{seed}/succession")
    if seed < TURNED_FROM or rng.random() >= SUCCEEDED:
        return None
    peers, learning = document["peers"], document["learning"]
    lying = {peer for entry in document["faults"].get("liars", []) for peer in entry["peers"]}
    honest = [peer for peer in range(peers) if peer not in lying]
    lost = rng.sample(honest, peers - threshold_of(peers) + 1)
    kept = [change for change in document.get("changes", []) if change["kind"] in PRESENT]
    lose = {"kind": "lose", "at_s": rng.uniform(0.2, 1.2) * heal_s, "peers": lost}
    document["changes"] = [*kept, lose]
    is_faulty, successor_heal_s = rng.random() < 0.5, rng.uniform(0.5, 5)
    successor = {
        "name": f"{document['name']}-successor",
        # Another group has other peers' keys and another nonce.
        "seed": seed + SUCCESSORS_SEED,
        "peers": rng.choice([5, 5, 6, 7]),
        "rounds": rng.randint(1, 2),
        "learning": learning,
        "averaging": document["averaging"],
        "network": document["network"] | ({} if is_faulty else {"loss": 0.0}),
        "compute": document["compute"],
        "disk": document["disk"],
        "evaluation": document["evaluation"],
    }
    if is_faulty:
        successor["faults"] = draw_faults(rng, successor_heal_s)
    return Draw(make_scenario(successor), is_faulty, successor_heal_s if is_faulty else 0.0, 0.0)


def _turn(seed: int, document: dict[str, Any], heal_s: float) -> None:
    """Draw a renewal, who is lost for good, leaves or is expelled; not in earlier seeds.

    As many go as the group bears beside its liars and those that are away by what was drawn.
    """
    rng = Random(f"{seed}/turn")
    if seed < TURNED_FROM:
        return
    peers, changes = document["peers"], list(document.get("changes", []))
    lying = [peer for entry in document["faults"].get("liars", []) for peer in entry["peers"]]
    named = {peer for change in changes for peer in change.get("peers", ())}
    away = {
        peer
        for change in changes
        if change["kind"] in ("amend", "leave", "revoke")
        for peer in change["peers"]
    }
    expels = any(change["kind"] == "expel" for change in changes)
    spare = peers - threshold_of(peers) - len(lying) - len(away) - expels
    free = [peer for peer in range(peers) if peer not in named and peer not in lying]
    if rng.random() < 0.4:
        renew = {"kind": "renew", "at_s": rng.uniform(0, heal_s / 2)}
        changes.append(renew | {"duration_s": rng.uniform(0, heal_s / 2)})
    if spare > 0 and free and rng.random() < 0.5:
        gone = [free.pop(rng.randrange(len(free)))]
        kind, at_s = rng.choice(["leave", "lose"]), rng.uniform(0, heal_s)
        changes.append({"kind": kind, "at_s": at_s, "peers": gone})
        spare -= 1
    if peers > COHORT_SIZE_MIN and not expels and rng.random() < 0.5:
        # Who lies is one fewer to bear; for an honest one somebody must be to spare.
        gone = lying if rng.random() < 0.5 else free[: len(free) * (spare > 0)]
        if gone:
            change = {"kind": "expel", "at_s": rng.uniform(0, heal_s), "peers": [rng.choice(gone)]}
            changes.append(change)
    if changes:
        document["changes"] = changes


def _liars(rng: Random, peers: int, *, is_audited: bool) -> list[dict[str, Any]]:
    """Draw up to m of the group, each by itself or all together."""
    chosen = rng.sample(range(peers), rng.randint(1, liars_max_of(peers)))
    groups = [[peer] for peer in chosen] if rng.random() < 0.3 else [chosen]
    entries = []
    for group in groups:
        kinds = (STRATEGIES, UPDATES, AUDITED, AUDITED) if is_audited else (STRATEGIES, UPDATES)
        strategy, arguments = rng.choice(rng.choice(kinds))
        entry: dict[str, Any] = {"strategy": strategy, "arguments": arguments, "peers": group}
        if strategy in STRETCHED and rng.random() < 0.5:
            entry["norm"] = rng.choice([1.0, 60000.0])
        entries.append(entry)
    return entries
