"""What is told of a run in which no round ended: what was seen, and which settings to look at."""

from p2pfl.group.settings import GroupSettings
from p2pfl_gossip.masked_sum.cohort import threshold_of
from p2pfl_simulations.results.run import RunResult, time_name


def none_ended(run: RunResult) -> str:
    """Say in one line that no round ended, and why as far as the run's tables tell."""
    scenario = run.scenario
    said = [f"No round ended within {run.virtual_s:.3g} s of {time_name(run.world)}"]
    away = _offline(run)
    if away:
        causes = ", ".join(sorted(set(away.values())))
        said.append(f"{len(away)} of {scenario.peers} peers were offline at the end ({causes})")
    sums = run.masked_sums
    if sums is not None and not sums.summed:
        aborted = ", ".join(f"{times} times {why}" for why, times in sorted(sums.aborted.items()))
        said.append("no masked sum came about" + (f" ({aborted})" if aborted else ""))
    if isinstance(scenario.averaging, GroupSettings):
        founders = len(scenario.founders)
        said.append(f"a model takes {threshold_of(founders)} of {founders} members at once")
    return "; ".join(said) + ". Look at faults, averaging.deadline_s and time_limit_s."


def _offline(run: RunResult) -> dict[int, str]:
    """Tell who was offline at the end, and by which fault."""
    away: dict[int, str] = {}
    for event in run.events:
        if event.kind == "offline":
            away[event.peer] = event.detail or "offline"
        elif event.kind == "online":
            away.pop(event.peer, None)
    return away
