"""A machine that keeps one item of a state and fetches another, and a test in everybody's place."""

from typing import Any

import numpy as np
from one_peer import DEADLINE_S, OnePeer

from p2pfl_gossip.actions import (
    Action,
    Buffer,
    CancelSend,
    Command,
    PeerId,
    RemoteProtocolError,
    Vector,
)
from p2pfl_gossip.desk import Desk, DeskMachine
from p2pfl_gossip.ledger.fetching import StateFetch
from p2pfl_gossip.ledger.shelf import Shelf
from p2pfl_gossip.ledger.state_messages import (
    ChunksCancel,
    ChunksRequest,
    StateChunkDigests,
    StateChunks,
    StateRefusal,
    StateRequest,
)
from p2pfl_gossip.ledger.states import digest_state
from p2pfl_gossip.records import Message
from p2pfl_gossip.roster import Roster

HELD = np.arange(8, dtype=np.float32)
WANTED = np.arange(8, 16, dtype=np.float32)
HELD_STATE, WANTED_STATE = digest_state("model", HELD), digest_state("model", WANTED)


class Keeper(DeskMachine):
    """Holds `HELD`, and fetches `WANTED` from some members."""

    def __init__(self, roster: Roster) -> None:
        self._desk, self._roster = Desk(), roster
        self._shelf = Shelf(self._desk.sub())
        self._fetch: StateFetch | None = StateFetch(
            WANTED_STATE.item, desk=self._desk.sub(), deadline_s=DEADLINE_S
        )
        self._shelf.hold(HELD_STATE.item, HELD, HELD_STATE.chunk_digests)

    @property
    def state(self) -> str:
        """Whether it still fetches."""
        if self._fetch is None:
            return "left"
        return "fetching" if self._fetch.outcome is None else "fetched"

    def on_start(self, now_s: float, records: dict[str, bytes | Vector]) -> list[Action]:
        assert self._fetch is not None
        return self._fetch.start(now_s, self._roster.peers[1:3])

    def on_message(self, now_s: float, sender: PeerId, message: Message) -> list[Action]:
        self._roster.index_untrusted(sender)
        match message:
            case StateRequest() | ChunksRequest() | ChunksCancel():
                return self._shelf.on_message(now_s, sender, message)
            case StateChunkDigests() | StateRefusal():
                if self._fetch is None or message.digest != WANTED_STATE.item.digest:
                    return []  # Of a fetch that is over.
                return self._fetch.on_message(now_s, sender, message)
        raise RemoteProtocolError("unexpected_message")

    def on_bulk_begin(
        self, now_s: float, sender: PeerId, bulk: int, header: Message
    ) -> tuple[bool, list[Action]]:
        self._roster.index_untrusted(sender)
        if not isinstance(header, StateChunks):
            raise RemoteProtocolError("unexpected_message")
        if self._fetch is None or header.digest != WANTED_STATE.item.digest:
            return False, []
        return self._fetch.on_bulk_begin(now_s, sender, bulk, header)

    def on_bulk_chunk(self, now_s: float, sender: PeerId, bulk: int, chunk: Buffer) -> list[Action]:
        assert self._fetch is not None
        return self._fetch.on_bulk_chunk(now_s, sender, bulk, chunk)

    def on_bulk_end(
        self, now_s: float, sender: PeerId, bulk: int, trailer: Message | None
    ) -> list[Action]:
        assert self._fetch is not None
        return self._fetch.on_bulk_end(now_s, sender, bulk)

    def on_bulk_lost(self, now_s: float, sender: PeerId, bulk: int) -> list[Action]:
        return [] if self._fetch is None else self._fetch.on_bulk_lost(now_s, sender, bulk)

    def on_peer_up(self, now_s: float, peer: PeerId) -> list[Action]:
        return []

    def on_peer_down(self, now_s: float, peer: PeerId) -> list[Action]:
        return [] if self._fetch is None else self._fetch.on_peer_down(now_s, peer)

    def on_command(self, now_s: float, command: Command) -> list[Action]:
        """Leave: hold nothing, want nothing."""
        assert self._fetch is not None
        actions, self._fetch = self._fetch.close(), None
        self._shelf.drop(HELD_STATE.item.digest)
        return actions


class OneKeeper(OnePeer):
    """Member 0 keeps and fetches; members 1 and 2 are said to have what it wants."""

    def make_machine(self) -> Any:
        self.peer = machine = Keeper(self.roster)  # type: ignore[assignment]
        return machine

    def do(self, actions: list[Action]) -> None:
        """Let what it asks for happen; to stop a body is its link's affair."""
        super().do([action for action in actions if not isinstance(action, CancelSend)])
