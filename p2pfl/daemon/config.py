"""A peer's folder, and the settings that are its operator's own.

    DIR/peer.toml      settings, as below: written by `p2pfl peer init`, then the operator's
    DIR/key            identity (p2pfl.store.keys); nobody else may read it
    DIR/member.toml    what others may know: handed to the group (p2pfl.charter.cards)
    DIR/charters/      what the group agreed on, and proposes (p2pfl.charter.papers)
    DIR/bundles/       tasks that the operator has approved (p2pfl.charter.approved_bundles)
    DIR/journal/       records and checkpoints (p2pfl.store.journal), locked while the peer runs
    DIR/peer.log       JSON lines; older ones are in peer.log.1, .2, ...
    DIR/baseline.safetensors   a model trained on its own rows alone (own_baseline.py)
    DIR/chosen.safetensors     the model that it uses, if it chooses one (chosen.py)
    DIR/control.sock   where a running peer is asked and told things

What the group has agreed on is in its charters; nothing here changes what others compute.
"""

import ipaddress
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from p2pfl.charter.papers import CHARTERS
from p2pfl.group.cards import (
    ADDRESSES_MAX,
    ROWS_MAX,
    Digest,
    PeerName,
    dialled_addresses,
)
from p2pfl.group.documents import read_document, write_document
from p2pfl.learner.settings import IidPartition, PartitionSettings, SettingsTable
from p2pfl.libp2p.multiaddr import InvalidMultiaddr, parse_multiaddr
from p2pfl.store.files import PRIVATE

THREADS_MAX = 1024
_HOST_AND_PORT = re.compile(r"(\[[^\]]+\]|[^:\[\]]+):([0-9]{1,5})")


class ConfigError(Exception):
    """A peer's settings that cannot be used; one line a fault."""


class Trial(SettingsTable):
    """Whose rows a peer of a trial has, all of whose peers are on one machine."""

    peers: Annotated[int, Field(ge=1)]
    """Peers of the trial."""
    place: Annotated[int, Field(ge=0)]
    """This one's."""
    draw_seed: Digest
    """Of cohorts and graphs, where there are any: that of a simulation."""
    partition: PartitionSettings = IidPartition()
    """How the data set is split."""
    task_dir: Path | None = None
    """Where a task without a bundle is imported from."""
    checkpoint_every: Annotated[int, Field(ge=0)] = 1
    """Rounds between the models that a peer that gossips persists; 0 persists none."""
    step_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """How long a step of training takes at least: of a peer that plays a slower machine."""


class Exclusion(SettingsTable):
    """Units, such as patients who objected, whose rows the peer leaves out of its trainings."""

    file: Path
    """One unit a line; read before each training."""
    column: Annotated[str, Field(min_length=1)]
    """Of the task's `Data.columns`, which names each row's unit."""


class PeerConfig(SettingsTable):
    """The settings of one peer, `peer.toml`. Paths are relative to its folder."""

    name: PeerName
    """What its card calls it."""
    listen: Annotated[tuple[str, ...], Field(min_length=1, max_length=ADDRESSES_MAX)] = (
        "/ip4/0.0.0.0/tcp/4001",
    )
    """Where it takes connections; port 0 is any that is free."""
    addresses: Annotated[tuple[str, ...], Field(min_length=1, max_length=ADDRESSES_MAX)]
    """Where others reach it, for its card; `p2pfl charter card` makes it."""
    rows: Annotated[int, Field(ge=1, le=ROWS_MAX)] | None = None
    """How many rows it has, for its card; its weight, where none is given."""
    reached: (
        dict[PeerName, Annotated[tuple[str, ...], Field(min_length=1, max_length=ADDRESSES_MAX)]]
        | None
    ) = None
    """Where this peer reaches others, by name, instead of at the addresses of the charter: through
    a tunnel, say. Whoever answers there must prove to be that member."""
    data_dir: Path | None = None
    """Where its data are, if not where the task looks by itself."""
    excluded: Exclusion | None = None
    """Whose rows are left out of each training: a table `[excluded]` with `file` and `column`."""
    device: Literal["cpu", "cuda", "mps", "auto"] = "cpu"
    """Where models train; `"auto"` is an accelerator if there is one."""
    on_waiting: Annotated[str, Field(min_length=1)] | None = None
    """A command of the operator's own, run when a charter waits for this member's word: it gets
    the charter's digest and its file as two more arguments. No shell reads it."""
    trial: Trial | None = None
    """In trials of `p2pfl launch`: what a launcher says in place of the operating system, and this
    peer's share of a data set that all peers split."""
    budget: Path | None = None
    """The privacy budget of its data, beside them, as `p2pfl privacy open` makes it; a charter that
    asks for privacy takes one."""
    budget_anchor: Path | None = None
    """The budget's anchor, where no backup of the data goes."""
    threads: Annotated[int, Field(ge=1, le=THREADS_MAX)] = 1
    """To train on; results do not depend on it."""
    passphrase_file: Path | None = None
    """Opens the key, if that is sealed; without it a terminal is asked."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Of peer.log."""
    metrics: str | None = None
    """`HOST:PORT` on this machine's loopback to serve metrics on; not at all if not given."""
    record: bool = False
    """Whether to keep every event and the model of every round, for a report; it takes room."""

    @model_validator(mode="before")
    @classmethod
    def _goes_by_charters(cls, document: Any) -> Any:
        """Refuse by name what stood here before groups went by charters."""
        if isinstance(document, Mapping):
            for key in ("roster", "task_dir"):
                if key in document:
                    raise ValueError(
                        f"{key}: groups go by charters now: take this line out, and have a charter"
                        " made of the roster (p2pfl charter draft --from-roster)"
                    )
        return document

    @field_validator("listen")
    @classmethod
    def _can_be_listened_on(cls, listen: tuple[str, ...]) -> tuple[str, ...]:
        for text in listen:
            try:
                address = parse_multiaddr(text)
            except InvalidMultiaddr as error:
                raise ValueError(str(error)) from None
            if address.peer_id is not None:
                raise ValueError(f"{text}: leave out /p2p; a peer listens as itself")
        return listen

    @field_validator("metrics")
    @classmethod
    def _stays_on_this_machine(cls, metrics: str | None) -> str | None:
        if metrics is None:
            return None
        parts = _HOST_AND_PORT.fullmatch(metrics)
        if parts is None or int(parts[2]) > 0xFFFF:
            raise ValueError(f"{metrics!r} is not HOST:PORT")
        host = parts[1].strip("[]")
        try:
            is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            is_loopback = False
        if not is_loopback:
            raise ValueError(
                f"{metrics!r} is not on the loopback: metrics are open to whoever reaches them;"
                " use 127.0.0.1 and a proxy that asks who comes"
            )
        return metrics

    @field_validator("addresses")
    @classmethod
    def _can_be_dialled(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        dialled_addresses(addresses, None)
        return addresses

    @field_validator("on_waiting")
    @classmethod
    def _is_words(cls, command: str | None) -> str | None:
        try:
            shlex.split(command or "")
        except ValueError as error:
            raise ValueError(f"{command!r} cannot be told into words: {error}") from None
        return command

    @field_validator("reached")
    @classmethod
    def _can_be_reached(
        cls, reached: dict[str, tuple[str, ...]] | None
    ) -> dict[str, tuple[str, ...]] | None:
        for addresses in (reached or {}).values():
            dialled_addresses(addresses, None)
        return reached


class PeerFolder:
    """Where the files of a peer are; nothing is read or made by asking.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def config(self) -> Path:
        """The settings, `PeerConfig`."""
        return self.path / "peer.toml"

    @property
    def key(self) -> Path:
        """The key file."""
        return self.path / "key"

    @property
    def charters(self) -> Path:
        """The folder of its group's charters."""
        return self.path / CHARTERS

    def has_charters(self) -> bool:
        """Whether its group goes by charters."""
        return any(self.charters.glob("*.charter"))

    @property
    def journal(self) -> Path:
        """The folder of the journal."""
        return self.path / "journal"

    @property
    def log(self) -> Path:
        """The log that is written to."""
        return self.path / "peer.log"

    @property
    def baseline(self) -> Path:
        """The model that the peer has trained alone, if it has."""
        return self.path / "baseline.safetensors"

    @property
    def chosen(self) -> Path:
        """The joint model that is best on the peer's own rows to choose by, if it has any."""
        return self.path / "chosen.safetensors"

    @property
    def control(self) -> Path:
        """The socket of a running peer; it is there only while the peer runs."""
        return self.path / "control.sock"


def read_config(path: Path) -> PeerConfig:
    """Read the settings of the peer in a folder; their paths are returned as seen from here.

    Raises:
        ConfigError: there is no peer, or its settings cannot be; one line a fault.
    """
    folder = PeerFolder(path)
    if not folder.config.exists():
        raise ConfigError(f"there is no peer in {path}; make one with p2pfl peer init {path}")
    config = read_document(folder.config, PeerConfig, ConfigError)
    seen: dict[str, Any] = {
        name: path.resolve() / value
        for name in ("data_dir", "passphrase_file")
        if (value := getattr(config, name)) is not None
    }
    if config.excluded is not None:
        file = path.resolve() / config.excluded.file
        seen["excluded"] = config.excluded.model_copy(update={"file": file})
    return config.model_copy(update=seen)


def write_config(path: Path, config: PeerConfig) -> None:
    """Write the settings of the peer in a folder.

    Raises:
        ConfigError: they cannot be written.
    """
    write_document(PeerFolder(path).config, config, ConfigError, mode=PRIVATE)
