"""Who lied in a run, what bounded it, and what came of it, in words."""

from collections import Counter

from p2pfl.cli.quantities import percent, plural
from p2pfl_simulations.results.claims import robust_name, robust_of
from p2pfl_simulations.results.run import RunResult
from p2pfl_simulations.scenario import Scenario, masking_of

PEERS_NAMED = 12

BESIDE = (
    "To see both side by side, run it without faults.liars, and give p2pfl report the two folders."
)


def liars_name(scenario: Scenario) -> str:
    """Name the liars of a scenario in a few words, such as "3 liars (ipm)"; empty without any."""
    told = []
    for it in scenario.faults.liars:
        count = round((it.share or 0.0) * scenario.peers) if it.peers is None else len(it.peers)
        told.append(f"{plural(count, 'liar')} ({it.strategy})")
    return ", ".join(told)


def liars_sentence(run: RunResult) -> str:
    """Say who lied, what bounded them, and what was voided or named; empty where nobody lied."""
    lied = [event for event in run.events if event.kind == "liar"]
    if not lied:
        return ""
    by_strategy: dict[str, list[int]] = {}
    for event in lied:
        by_strategy.setdefault(event.detail, []).append(event.peer)
    who = "; ".join(f"{name}: {_peers(peers)}" for name, peers in sorted(by_strategy.items()))
    rounds = {it.strategy: it.from_round for it in run.scenario.faults.liars if it.from_round}
    since = "".join(f", {name} from round {at + 1} on" for name, at in sorted(rounds.items()))
    told = [
        f"{len(lied)} of {plural(run.scenario.peers, 'peer')} lied ({who}{since}).",
        _bounded(run.scenario),
        _consequences(run),
        *(
            f"Of test rows with the liars' mark, {percent(float(event.detail))} got their label."
            for event in run.events
            if event.kind == "backdoor"
        ),
        BESIDE,
    ]
    return " ".join(it for it in told if it)


def _peers(peers: list[int]) -> str:
    named = ", ".join(map(str, peers[:PEERS_NAMED])) + (" ..." if len(peers) > PEERS_NAMED else "")
    return f"{'peer' if len(peers) == 1 else 'peers'} {named}"


def _bounded(scenario: Scenario) -> str:
    robust = robust_of(scenario)
    if robust is not None:
        return f"Bounded by {robust_name(robust)}, for which partners saw models in the clear."
    if scenario.is_audited:
        return "What they moved a sum by was bounded in length, by the audit; not what it did."
    if masking_of(scenario) != "none":
        return "Nothing bounded what they put in: masks hide each input."
    return "Nothing bounded what they put in."


def _consequences(run: RunResult) -> str:
    sums = run.masked_sums
    if sums is None:
        return (
            "Nobody was named: a rule bounds, and tells nobody apart."
            if robust_of(run.scenario)
            else ""
        )
    aborted = sum(sums.aborted.values())
    blamed = Counter(event.detail for event in run.events if event.kind == "member_blamed")
    named = ", ".join(f"{fault} ({times})" for fault, times in sorted(blamed.items()))
    void = f"{plural(aborted, 'sum')} of {sums.formed} came to nothing"
    return f"{void}; {f'blamed, by fault: {named}' if named else 'nobody was blamed'}."
