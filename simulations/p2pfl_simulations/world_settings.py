"""Settings of the simulated world: its links, disks and how long work takes.

Durations are virtual seconds, sizes bytes, probabilities shares of one.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from p2pfl.group.settings import PositiveSeconds
from p2pfl.learner.settings import SettingsTable

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


DISTRIBUTIONS = {
    "constant": ("mean_s",),
    "uniform": ("low_s", "high_s"),
    "exponential": ("mean_s",),
    "lognormal": ("median_s", "sigma"),
}
"""The kinds of distributions, and what each takes."""


class Distribution(SettingsTable):
    """A distribution of durations: constant, uniform, exponential or lognormal.

    `mean_s` is the mean of a constant or an exponential one; `low_s` and `high_s` bound a uniform
    one; `median_s` and `sigma` shape a lognormal one.
    """

    kind: Literal["constant", "uniform", "exponential", "lognormal"] = "constant"
    """Which of them."""
    mean_s: Seconds | None = None
    """Of a constant or an exponential one."""
    low_s: Seconds | None = None
    """The least of a uniform one."""
    high_s: Seconds | None = None
    """The most of a uniform one."""
    median_s: PositiveSeconds | None = None
    """Of a lognormal one."""
    sigma: Annotated[float, Field(ge=0, le=5)] | None = None
    """Of a lognormal one: the standard deviation of the logarithm."""

    @model_validator(mode="after")
    def _has_its_parameters(self) -> "Distribution":
        needed = set(DISTRIBUTIONS[self.kind])
        given = self.model_fields_set - {"kind"}
        if needed != given:
            raise ValueError(f"kind = {self.kind!r} takes {' and '.join(sorted(needed))}")
        if self.low_s is not None and self.high_s is not None and self.low_s > self.high_s:
            raise ValueError("low_s is above high_s")
        return self


def constant(mean_s: float) -> Distribution:
    """Return the distribution that is always `mean_s`."""
    return Distribution(mean_s=mean_s)


class PluginTable(SettingsTable):
    """An own part; ``"my_module:MyThing"`` alone is short for it."""

    plugin: Annotated[str, Field(min_length=1)]
    """``"my_module:MyThing"``, imported from the folder of this file, or an installed one."""
    options: Mapping[str, Any] = {}
    """Its settings, which it checks."""

    @model_validator(mode="before")
    @classmethod
    def _takes_a_name(cls, value: Any) -> Any:
        return {"plugin": value} if isinstance(value, str) else value


class NetworkSettings(SettingsTable):
    """Links between peers."""

    latency: Distribution = Distribution(kind="lognormal", median_s=0.02, sigma=0.4)
    """One way, drawn for each message; so messages overtake each other."""
    latency_model: PluginTable | None = None
    """An own model of latencies, by sender and receiver, in place of `latency`."""
    bandwidth_bytes_per_s: Annotated[float, Field(gt=0)] = 12_500_000.0
    """Of each peer's uplink and downlink, shared by the transfers under way."""
    loss: Share = 0.0
    """Probability that a message or bulk body is lost on its way, unseen by its sender."""


class MaskingCosts(SettingsTable):
    """How long the jobs of masked sums take, whether real or modelled, on a peer of speed 1.

    The defaults were measured on one core of a server of 2.5 GHz.
    """

    entry_s: Seconds = 1.3e-9
    """Of one mask on one entry of a model; encoding an entry takes five and a half of these."""
    agreement_s: Seconds = 5e-5
    """Of one X25519 key agreement; a member makes two with each other member."""
    share_s: Seconds = 5e-6
    """Of one term of a secret share; a member deals 2 n shares of t terms."""
    signature_s: Seconds = 8e-5
    """Of checking one signature; a member checks about eight of each other member."""


class DiskSettings(SettingsTable):
    """How long a peer's records take to be durable; what follows them waits, what comes does not.

    `"ssd"` takes about a millisecond for a record, and 400 MB/s; `"slow"`, a disk that is worn out
    or shared, 0.2 to 1.5 seconds, and 20 MB/s.
    """

    kind: Literal["none", "ssd", "slow", "drawn"] = "none"
    """`"none"`: no time. `"drawn"`: as `persist_s` says."""
    persist_s: Distribution | None = None
    """Of each record or group of records, before its bytes; with kind = "drawn"."""
    bytes_per_s: Annotated[float, Field(gt=0)] | None = None
    """How fast records are written, models above all; if not given, as `kind` says."""

    @model_validator(mode="after")
    def _has_its_parameters(self) -> "DiskSettings":
        if (self.kind == "drawn") != (self.persist_s is not None):
            raise ValueError('kind = "drawn" takes persist_s, and no other kind does')
        if self.kind == "none" and self.bytes_per_s is not None:
            raise ValueError('kind = "none" takes no bytes_per_s: give another kind')
        return self

    def model(self) -> tuple[Distribution | None, float]:
        """Return the time of a record, None for no time, and the bytes per second."""
        persist_s, bytes_per_s = {
            "none": (None, math.inf),
            "ssd": (Distribution(kind="lognormal", median_s=0.001, sigma=0.5), 4e8),
            "slow": (Distribution(kind="uniform", low_s=0.2, high_s=1.5), 2e7),
            "drawn": (self.persist_s, math.inf),
        }[self.kind]
        return persist_s, self.bytes_per_s or bytes_per_s


class ComputeSettings(SettingsTable):
    """How long work takes in virtual time."""

    step_s: Seconds = 0.01
    """Of one training step on a peer of speed 1."""
    speed_spread: Annotated[float, Field(ge=1)] = 1.0
    """Ratio of the fastest to the slowest peer; speeds are log-uniform between."""
    jitter: Annotated[float, Field(ge=0, le=100)] = 0.0
    """A job takes up to this share longer, drawn for each: so jobs end in any order."""
    masking: MaskingCosts = MaskingCosts()
