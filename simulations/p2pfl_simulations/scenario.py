"""Scenarios: what a run simulates, as TOML checked by pydantic.

Every key has a default or is required; a key that is not known is refused, with the nearest one
named. Durations are virtual seconds, sizes bytes, probabilities shares of one.
"""

import difflib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from p2pfl.group.documents import check_document, put_value, read_toml
from p2pfl.group.privacy_settings import PrivacySettings
from p2pfl.group.settings import (
    AveragingSettings,
    CohortSettings,
    GroupSettings,
    PositiveSeconds,
    chosen_algorithm,
    require_fit,
)
from p2pfl.learner.settings import LearningSettings, SettingsTable
from p2pfl.plugins import AVERAGING, put_own
from p2pfl_simulations.fault_settings import FaultSettings, PlannedChange
from p2pfl_simulations.world_settings import ComputeSettings, DiskSettings, NetworkSettings

PEERS_MAX = 100_000  # A peer takes about 100 KB beside its model: 10 GB.


class ScenarioError(Exception):
    """A scenario that cannot be run; the message is for people, one line a fault."""


class EvaluationSettings(SettingsTable):
    """What is measured, and how often; figures cost time, never the result."""

    every: Annotated[int, Field(ge=1)] = 1
    """Evaluate after each that many rounds, and after the last."""
    peers: Annotated[int, Field(ge=1)] | None = None
    """How many peers, drawn by the seed; all if not given."""
    baselines: tuple[Literal["local", "pooled"], ...] = ("local", "pooled")
    """What to hold the run against: each peer alone, and all data in one place."""
    keep_models: bool = False
    """Whether the run's folder gets each peer's own model too, in `models/`."""
    selection: Literal["own", "common", "last"] = "own"
    """Which model of a peer counts, where it has rows to choose one by (`learning.validation`): of
    the round that is best on the peer's own, as a real peer chooses for itself; of the round that
    is best in the mean over peers, the same for all; or the last. `model.safetensors` of the run is
    of the round that is best in that mean, or the last."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """End the run once so many rounds gave no better mean figure on rows to choose a model by.
    Each baseline ends by the same rule. All rounds are run if not given."""


class Scenario(SettingsTable):
    """One simulated run, in full: with the seed it determines every byte of the result."""

    name: Annotated[str, Field(min_length=1, max_length=80)] = "scenario"
    """Names the run's folder; the file's name if not given."""
    description: str = ""
    """Shown in the report and in `p2pfl scenarios`."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    """Decides all that is drawn: data, batches, cohorts, latencies, faults."""
    peers: Annotated[int, Field(ge=1, le=PEERS_MAX)] = 32
    """How many peers there are, with those that come later."""
    rounds: Annotated[int, Field(ge=1)] = 30
    """Rounds of training and averaging that each peer does."""
    checkpoint_every: Annotated[int, Field(ge=0)] = 1
    """Rounds between the models that a peer persists; 0 persists none."""
    time_limit_s: PositiveSeconds = 1e7
    """Virtual time after which the run ends, whatever the peers do."""
    learning: LearningSettings
    averaging: AveragingSettings = CohortSettings()
    """Where it names no algorithm: a group, if 5 to 128 peers mask what they say; else cohorts."""
    network: NetworkSettings = NetworkSettings()
    compute: ComputeSettings = ComputeSettings()
    disk: DiskSettings = DiskSettings()
    faults: FaultSettings = FaultSettings()
    changes: tuple[PlannedChange, ...] = ()
    """What the operators of a group's members do."""
    evaluation: EvaluationSettings = EvaluationSettings()
    privacy: PrivacySettings | None = None
    """Differential privacy of a group; in a simulation its noise comes from the seed, and hides
    nothing from whoever runs it."""

    @model_validator(mode="before")
    @classmethod
    def _chooses_algorithm(cls, document: Any) -> Any:
        if not isinstance(document, Mapping):
            return document
        table = document.get("averaging", {})
        peers = document.get("peers", cls.model_fields["peers"].default)
        if isinstance(table, Mapping) and "algorithm" in table:
            return {**document, "averaging": put_own(table, "algorithm", AVERAGING)}
        if not isinstance(table, Mapping) or not isinstance(peers, int):
            return document
        chosen = {**table, "algorithm": chosen_algorithm(table, peers)}
        return {**document, "averaging": chosen}

    @model_validator(mode="after")
    def _fits_its_peers(self) -> "Scenario":
        require_fit(self.averaging, self.peers)
        if self.network.latency_model is not None and masking_of(self) == "modelled":
            raise ValueError(
                "network.latency_model: modelled masks draw latencies of many messages at once;"
                " set averaging.masking to 'real' or 'none'"
            )
        faults = self.faults
        named = [index for liars in faults.liars for index in liars.peers or ()]
        slow = faults.stragglers.peers or () if faults.stragglers else ()
        planned = [index for fault in faults.planned for index in fault.peers]
        for where, indices in (("liars", named), ("stragglers", slow), ("planned", planned)):
            for index in indices:
                if index >= self.peers:
                    raise ValueError(f"faults.{where}: there is no peer {index} among {self.peers}")
        for change in self.changes:
            if not isinstance(self.averaging, GroupSettings):
                raise ValueError("changes: only a group has a charter")
            if any(index >= self.peers for index in change.peers):
                raise ValueError(f"changes: there is no such peer among {self.peers}")
            if change.kind == "expel" and len(change.peers) != 1:
                raise ValueError("changes: one peer is expelled at a time")
            if change.kind in ("rekey", "admit", "lose") and not change.peers:
                raise ValueError(f"changes: {change.kind} names the peers that it is for")
            if change.kind == "replace" and len(change.peers) != 2:
                raise ValueError("changes: replace names a peer, and which one takes its place")
        self._require_newcomers(named)
        self._require_private_group()
        _ = self.retries  # Refuses too few.
        if len(set(named)) != len(named):
            raise ValueError("faults.liars: a peer lies by two strategies")
        return self

    @property
    def late(self) -> tuple[int, ...]:
        """Indices of peers that are not there at the start."""
        return tuple(index for change in self.changes for index in change.coming)

    @property
    def founders(self) -> tuple[int, ...]:
        """Indices of peers that are."""
        return tuple(index for index in range(self.peers) if index not in self.late)

    @property
    def is_audited(self) -> bool:
        """Whether a sum counts only once its members have proved that their updates are bounded."""
        averaging = self.averaging
        if not isinstance(averaging, GroupSettings):
            return False
        members, is_shared = len(self.founders), self._is_noise_shared
        return averaging.audit_of(members, is_noise_shared=is_shared) != "off"

    @property
    def retries(self) -> int:
        """How many updates from one model a member of a group gives beyond the first.

        Raises:
            ValueError: too few, for a group whose sums are audited.
        """
        averaging = self.averaging
        if not isinstance(averaging, GroupSettings):
            return 0
        members, is_shared = len(self.founders), self._is_noise_shared
        return averaging.retries_of(members, is_noise_shared=is_shared)

    @property
    def _is_noise_shared(self) -> bool:
        return self.privacy is not None and self.privacy.is_shared

    def _require_newcomers(self, liars: list[int]) -> None:
        """Refuse peers that cannot come as they are to."""
        if len(set(self.late)) != len(self.late):
            raise ValueError("changes: a peer comes twice")
        for index in self.late:
            if index in liars:
                raise ValueError(f"changes: peer {index} comes later, and does not lie")
        if isinstance(self.averaging, GroupSettings):
            require_fit(self.averaging, len(self.founders))

    def _require_private_group(self) -> None:
        """Refuse what does not go together with privacy, by name."""
        if self.privacy is None:
            return
        if not isinstance(self.averaging, GroupSettings):
            raise ValueError(
                "privacy: only a group certifies who is in a sum, and so how much noise: set"
                " averaging.algorithm to 'group', for 5 to 128 peers"
            )
        if self.privacy.unit == "record" and self.averaging.weights != "equal":
            raise ValueError(
                "privacy: weights count alike where rows are drawn: who has more rows has more in"
                " each lot already; set averaging.weights to 'equal'"
            )
        if self.evaluation.patience is not None:
            raise ValueError(
                "privacy: when a run ends would tell of rows without noise; leave"
                " evaluation.patience out"
            )


def masking_of(scenario: Scenario) -> Literal["real", "modelled", "none"]:
    """Return how a scenario's averaging is masked: only cohorts and groups are."""
    averaging = scenario.averaging
    return averaging.masking if isinstance(averaging, CohortSettings | GroupSettings) else "none"


def shipped_scenarios() -> dict[str, Path]:
    """Return the scenarios that come with the package: name -> file."""
    folder = Path(str(resources.files("p2pfl_simulations") / "scenarios"))
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def find_scenario(name_or_path: str) -> Path:
    """Find a scenario file by its path, or a shipped one by its name.

    Raises:
        ScenarioError: neither is there; the nearest shipped name is told.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = shipped_scenarios()
    if name_or_path in shipped:
        return shipped[name_or_path]
    near = difflib.get_close_matches(name_or_path, shipped, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"shipped are {', '.join(shipped)}"
    raise ScenarioError(f"there is no file or scenario {name_or_path!r}; {hint}")


def load_scenario(name_or_path: str, overrides: Mapping[str, Any] | None = None) -> Scenario:
    """Read and check a scenario.

    Args:
        name_or_path: a TOML file, or the name of a shipped scenario.
        overrides: values by dotted key, ``{"averaging.cohort_size": 16}``, in place of the file's.

    Raises:
        ScenarioError: no such file, not TOML, or a key or value is wrong; each is named.
    """
    path = find_scenario(name_or_path)
    document = read_toml(path, ScenarioError)
    document.setdefault("name", path.stem)
    for key, value in (overrides or {}).items():
        put_value(document, key, value, ScenarioError)
    return make_scenario(document, source=name_or_path)


def make_scenario(document: Mapping[str, Any], *, source: str = "scenario") -> Scenario:
    """Check a scenario that is given as nested dictionaries.

    Raises:
        ScenarioError: a key or value is wrong; each is named.
    """
    return check_document(document, Scenario, ScenarioError, source=source)
