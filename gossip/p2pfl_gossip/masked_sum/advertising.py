"""ADVERTISE: fresh keys of all members, and one list of them that all follow.

The leader's list names adverts by their digests. A member follows one list, ever; members that
follow different lists have different transcripts and cannot open each other's shares.
"""

from p2pfl_crypto.key_agreement import (
    InvalidKey,
    agreement_secret_of,
    public_key_of,
    require_canonical,
)
from p2pfl_crypto.shamir import WIDE_BYTES, scalar_of
from p2pfl_crypto.transcripts import tau1_of
from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.masked_sum.core import Core, turn_bytes
from p2pfl_gossip.masked_sum.jobs import Secrets
from p2pfl_gossip.masked_sum.messages import (
    Advert,
    AdvertList,
    Fetch,
    SessionMessage,
    Wanted,
)
from p2pfl_gossip.masked_sum.phases import Phase


class Advertising:
    """The first phase.

    Attributes:
        secrets: ours, of this session.
        adverts: keys by member.
        dealers: U1, once a list is adopted.
        tau1: the transcript, once all its adverts are here.
        adopted: the list that we follow.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self.secrets = Secrets(
            seed=scalar_of(core.entropy(WIDE_BYTES)),
            mask_scalar=scalar_of(core.entropy(WIDE_BYTES)),
            share_scalar=scalar_of(core.entropy(WIDE_BYTES)),
            rounding=core.entropy(32),
        )
        self.adverts: dict[int, Advert] = {}
        self._lists: dict[int, AdvertList] = {}
        self.adopted: AdvertList | None = None
        self._asked: dict[int, None] = {}
        self.dealers: tuple[int, ...] = ()  # U1
        self.tau1 = b""

    def start(self) -> None:
        """Advertise fresh keys."""
        core = self._core
        core.advance(Phase.ADVERTISE)
        share_key = public_key_of(agreement_secret_of(self.secrets.share_scalar))
        mask_key = public_key_of(agreement_secret_of(self.secrets.mask_scalar))
        advert = Advert(core.cohort.session, core.rank, share_key, mask_key, bytes(64))
        signature = core.sign(b"advert", advert.digest())
        advert = Advert(core.cohort.session, core.rank, share_key, mask_key, signature)
        self.adverts[core.rank] = advert
        core.broadcast(advert)
        patience = core.cohort.patience
        if core.is_leader:
            core.set_timer("repair", patience.gather_s / 2, self._fetch_late)
            core.set_timer("lead", patience.gather_s, self._publish_list)
        core.set_timer("turn", patience.gather_s + patience.takeover_s, self._next_turn)

    def on_advert(self, sender: int, message: Advert) -> None:
        """Keep a member's keys; those that the adopted list names may come from anybody."""
        core = self._core
        rank = message.member
        core.require_member(rank)
        listed = self._listed_digest(rank)
        if sender != rank and listed != message.digest():
            raise RemoteProtocolError("not_your_advert")
        for key in (message.share_key, message.mask_key):
            try:
                require_canonical(key)
            except InvalidKey:
                raise RemoteProtocolError("bad_key") from None
        known = self.adverts.get(rank)
        if known == message:
            return
        core.verify(rank, b"advert", message.signature, message.digest())
        if known is not None:
            core.blame(rank, "two_adverts", known, message)
            if listed != message.digest():
                return
        self.adverts[rank] = message
        self._progress()

    def _progress(self) -> None:
        core = self._core
        if core.phase != Phase.ADVERTISE:
            return
        if self.adopted is None:
            if core.is_leader and all(
                rank in self.adverts or rank in core.gone for rank in core.others
            ):
                self._publish_list()
            return
        digests = self.adopted.digests
        for place, rank in enumerate(self.dealers):
            advert = self.adverts.get(rank)
            if advert is None or advert.digest() != digests[32 * place : 32 * place + 32]:
                return
        self.tau1 = tau1_of(
            core.cohort.session,
            self.adopted.members,
            [self.adverts[rank].digest() for rank in self.dealers],
        )
        core.advance(Phase.DEAL)

    def _listed_digest(self, rank: int) -> bytes | None:
        if self.adopted is None or rank not in self.dealers:
            return None
        place = self.dealers.index(rank)
        return self.adopted.digests[32 * place : 32 * place + 32]

    def _publish_list(self) -> None:
        core = self._core
        if self.adopted is not None or len(self.adverts) < core.cohort.threshold:
            return
        ranks = sorted(self.adverts)
        members = core.cohort.pack(ranks)
        digests = [self.adverts[rank].digest() for rank in ranks]
        signature = core.sign(
            b"adverts", turn_bytes(core.turn), tau1_of(core.cohort.session, members, digests)
        )
        message = AdvertList(core.cohort.session, core.turn, members, b"".join(digests), signature)
        core.broadcast(message)
        self._lists[core.turn] = message
        self._adopt()

    def on_advert_list(self, sender: int, message: AdvertList) -> None:
        """Keep the list of the leader of a turn; adopt it once that turn has come."""
        core, cohort = self._core, self._core.cohort
        if message.turn >= cohort.leader_turns_max:
            raise RemoteProtocolError("no_such_turn")
        ranks = core.unpack(message.members)
        if len(message.digests) != 32 * len(ranks):
            raise RemoteProtocolError("bad_list")
        if len(ranks) < cohort.threshold:
            raise RemoteProtocolError("too_few_adverts")
        known = self._lists.get(message.turn)
        if known == message:
            return
        digests = [message.digests[32 * i : 32 * i + 32] for i in range(len(ranks))]
        leader = cohort.leader(message.turn)
        core.verify(
            leader,
            b"adverts",
            message.signature,
            turn_bytes(message.turn),
            tau1_of(cohort.session, message.members, digests),
        )
        if known is not None:
            core.blame(leader, "two_lists", known, message)
            return
        self._lists[message.turn] = message
        if core.phase == Phase.ADVERTISE:
            self._adopt()

    def _adopt(self) -> None:
        """Follow the first list whose turn has come; a member follows one list, ever."""
        core = self._core
        if self.adopted is not None:
            return
        for turn in sorted(self._lists):
            if core.is_turn_over(turn):
                return
            ranks = core.unpack(self._lists[turn].members)
            if core.rank not in ranks:
                core.abort("left_out")
                return
            self.adopted, self.dealers = self._lists[turn], ranks
            self._fetch_adverts()
            self._progress()
            return

    def _fetch_late(self) -> None:
        for rank in self._core.others:
            if rank not in self.adverts:
                self._core.fetch(rank, Wanted.ADVERT, rank)

    def on_ahead(self, rank: int) -> None:
        """Ask a member that is ahead of us for the list that it follows; once each."""
        if self.adopted is None and rank not in self._asked:
            self._asked[rank] = None
            self._core.fetch(rank, Wanted.ADVERT_LIST)

    def _fetch_adverts(self) -> None:
        """Ask for the adverts that the list names and we lack."""
        core = self._core
        asked = core.cohort.leader(core.turn)
        for rank in self.dealers:
            advert = self.adverts.get(rank)
            if advert is None or advert.digest() != self._listed_digest(rank):
                if asked != core.rank:
                    core.fetch(asked, Wanted.ADVERT, rank)
                core.fetch(rank, Wanted.ADVERT, rank)

    def _next_turn(self) -> None:
        """Look to the next leader, or ask again for what the adopted list names."""
        core, cohort = self._core, self._core.cohort
        core.turn += 1
        if core.turn >= cohort.leader_turns_max:
            core.abort("no_agreement")
            return
        core.set_timer("turn", cohort.patience.takeover_s, self._next_turn)
        if self.adopted is not None:
            self._fetch_adverts()
            return
        self._adopt()
        if core.is_leader and core.phase == Phase.ADVERTISE:
            self._publish_list()

    def forget(self) -> None:
        """Drop our secrets."""
        del self.secrets

    def on_gone(self) -> None:
        """Wait no longer for a member that cannot be reached."""
        self._progress()

    def answer(self, fetch: Fetch) -> SessionMessage | None:
        """Find what a member asks for, if we have it."""
        if fetch.what == Wanted.ADVERT:
            return self.adverts.get(fetch.first)
        if fetch.what == Wanted.ADVERT_LIST:
            return self.adopted
        return None
