"""What a run's figures say: whom did it serve, and was it worth it?"""

from p2pfl.cli.figures import told_figure, told_gain, told_interval
from p2pfl.cli.quantities import plural
from p2pfl.learner.metrics import PrimaryMetric
from p2pfl_simulations.results.run import GAINS, LOSES, GainRow, MeanGain
from p2pfl_simulations.results.summary import Summary


def mood_of(summary: Summary) -> str:
    """Return ``"good"``, ``"bad"`` or ``"even"`` as the mean gain's interval says; else ``""``."""
    mean = summary.mean_gain
    if mean is None or mean.low is None or mean.high is None:
        return ""
    return "good" if mean.low > 0 else "bad" if mean.high < 0 else "even"


def headline(summary: Summary) -> str:
    """Say in one sentence whom the run served, and what was reached."""
    peers, primary = plural(summary.peers, "peer"), summary.primary
    if not summary.has_model:
        rounds = plural(summary.rounds_ended, "round")
        return f"No common model: in {rounds} of {peers} no two models were averaged."
    known = summary.gained + summary.lost_by_joining + summary.even
    if known:
        counts = (
            (summary.gained, "gains", "gain"),
            (summary.lost_by_joining, "loses", "lose"),
            (summary.even, "shows no clear difference", "show no clear difference"),
            (summary.unknown, "cannot be measured", "cannot be measured"),
        )
        told = [f"{it} {one if it == 1 else several}" for it, one, several in counts[:2]]
        told += [f"{it} {one if it == 1 else several}" for it, one, several in counts[2:] if it]
        told[0] += " by joining"
        listed = f"{', '.join(told[:-1])} and {told[-1]}"
        return f"Of {peers} {listed}, each on test rows of its own."
    reached, rows = summary.own_mean, "each on test rows of its own"
    if reached is None:
        reached, rows = summary.common_mean, "on one common test set"
    if reached is None:
        return f"{peers}, {plural(summary.rounds_ended, 'round')}: no {primary.title} was measured."
    return f"{peers} reach {told_figure(primary, reached)} ({primary.title}), {rows}."


def verdict(summary: Summary) -> str:
    """Say whether it was worth it, to whom least, and what pooling would add."""
    primary, mean = summary.primary, summary.mean_gain
    if not summary.has_model:
        return "Each peer has what it trained by itself, so there is nothing to gain by joining."
    if summary.own_mean is None and summary.common_mean is None:
        return "Nothing can be said about the worth of this run."
    sentences = []
    if mean is not None and mean.low is not None and mean.high is not None:
        gain = told_gain(primary, mean.mean)
        surely = f"{told_interval(primary, mean.low, mean.high)} with 95% confidence"
        of_what = "" if primary.is_percentage else f" of {primary.title}"
        if mean.low > 0:
            most = " for most" if 2 * summary.gained > summary.peers else ""
            sentences.append(f"Worth it{most}: {gain}{of_what} on average ({surely}).")
        elif mean.high < 0:
            sentences.append(f"Not worth it: {gain}{of_what} on average ({surely}).")
        else:
            sentences.append(f"No clear gain: {gain}{of_what} on average ({surely}).")
        sentences.append(_worst(primary, summary.worst))
    elif summary.own_mean is not None or summary.mean_gain is not None:
        sentences.append("It was not held against local only on own test rows: worth unknown.")
    else:
        sentences.append(
            "No peer has test rows of its own (learning.held_out): whom it serves is not known."
        )
    sentences.append(_pooled(primary, summary.pooled_gain))
    return " ".join(sentence for sentence in sentences if sentence)


def _worst(primary: PrimaryMetric, row: GainRow | None) -> str:
    """Name the peer that gains least."""
    if row is None:
        return ""
    told = told_gain(primary, row.gain)
    rows = f"{told_interval(primary, row.gain_low, row.gain_high)}, {plural(row.test_rows, 'row')}"
    if row.outcome == LOSES:
        return f"The worst loser is {row.name}: {told} ({rows})."
    if row.outcome == GAINS:
        return f"Nobody loses; {row.name} gains least: {told} ({rows})."
    return f"Nobody surely loses; the least gain is {row.name}'s: {told} ({rows})."


def _pooled(primary: PrimaryMetric, mean: MeanGain | None) -> str:
    """Say what pooling would add."""
    if mean is None or mean.low is None or mean.high is None:
        return ""
    told = told_gain(primary, abs(mean.mean)).removeprefix("+")
    surely = told_interval(primary, mean.low, mean.high)
    if mean.low > 0:
        return f"Pooling all data would add {told} ({surely})."
    if mean.high < 0:
        return f"That is {told} above pooling all data ({surely})."
    return f"Pooling all data would make no clear difference ({surely})."
