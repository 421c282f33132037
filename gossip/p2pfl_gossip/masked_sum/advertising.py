"""ADVERTISE: fresh keys of all members, and one list of them that all follow.

The leader's list names adverts by their digests. A member follows one list, ever; members that
follow different lists have different transcripts and cannot open each other's shares.
"""

from collections.abc import Callable

from p2pfl_crypto.key_agreement import InvalidKey, require_canonical
from p2pfl_crypto.transcripts import tau1_of
from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.masked_sum import phases
from p2pfl_gossip.masked_sum.core import Core, turn_bytes
from p2pfl_gossip.masked_sum.jobs import make_secrets
from p2pfl_gossip.masked_sum.keys import SessionKeys
from p2pfl_gossip.masked_sum.messages import (
    Advert,
    AdvertList,
    Fetch,
    SessionMessage,
    Wanted,
)
from p2pfl_gossip.records import Message

AWAY_SHARE, SILENT_SHARE = 0.25, 0.75
"""Of the time to gather, once t members are here: how long a leader that has said nothing is waited
for, if it cannot be reached, and if it can. A member that is down leads nothing. The second is past
the time at which all that was lost is asked for again, so that all think alike by then."""

VERSIONS_MAX = 3
"""Adverts kept of one member. An honest one has one; two prove a lie, and another leader's list may
name a third."""


class Advertising(SessionKeys):
    """The first phase.

    Attributes:
        adverts: by member of U1, as the list that we follow names them.
        adopted: the list that we follow, once all its adverts are here.
    """

    def __init__(self, core: Core) -> None:
        super().__init__(make_secrets(core.entropy))
        self._core = core
        # By member, then by digest, in the order in which they came.
        self._known: dict[int, dict[bytes, Advert]] = {}
        self._lists: dict[int, AdvertList] = {}
        self._asked: dict[int, None] = {}
        self._is_gathered = False
        self._gathered_s = 0.0  # When t members were here.
        self.adopted: AdvertList | None = None
        self.adverts: dict[int, Advert] = {}

    def start(self) -> None:
        """Advertise fresh keys."""
        core = self._core
        core.advance(phases.ADVERTISE)
        share_key, mask_key = core.public_keys(self.secrets)
        unsigned = Advert(core.cohort.session, core.rank, share_key, mask_key, bytes(64))
        signature = core.sign(b"advert", unsigned.digest())
        advert = Advert(core.cohort.session, core.rank, share_key, mask_key, signature)
        self._known[core.rank] = {advert.digest(): advert}
        core.broadcast(advert)
        patience = core.cohort.patience
        wait_s = patience.gather_s + core.cohort.leader_turns_max * patience.takeover_s
        core.set_timer("gathering", wait_s, lambda: core.abort("too_few"))
        core.set_timer("repair", patience.gather_s / 2, self._repair)

    def _begin_turns(self) -> None:
        """Begin the leaders' turns once t members are here.

        Before, no leader can do anything; and members begin a session at different times, but hear
        the advert that makes t at about the same time, so that their turns run together.
        """
        core, patience = self._core, self._core.cohort.patience
        if self._is_gathered or len(self._known) < core.cohort.threshold:
            return
        self._is_gathered, self._gathered_s = True, core.now_s
        core.cancel_timer("gathering")
        self._begin_turn(patience.gather_s)
        core.set_timer("away", patience.gather_s * AWAY_SHARE, self._pass_over_away)
        core.set_timer("silent", patience.gather_s * SILENT_SHARE, self._pass_over_silent)
        self._pass_over_absent()

    def _pass_over_absent(self) -> None:
        """Let nobody lead that told all of us that it takes no part."""
        core = self._core
        if self._is_gathered:
            left_s = core.cohort.patience.gather_s - (core.now_s - self._gathered_s)
            self._pass_over(max(left_s, 0.0), lambda leader: leader in core.absent)

    def _pass_over_away(self) -> None:
        core = self._core
        left_s = core.cohort.patience.gather_s * (1 - AWAY_SHARE)
        self._pass_over(left_s, lambda leader: leader in core.gone)

    def _pass_over_silent(self) -> None:
        left_s = self._core.cohort.patience.gather_s * (1 - SILENT_SHARE)
        self._pass_over(left_s, lambda _leader: True)

    def _pass_over(self, left_s: float, is_away: Callable[[int], bool]) -> None:
        """Let no member lead that has said nothing yet: its whole turn would be waited out in vain.

        Whoever leads in its place gathers as long as it would have; should it speak after all, its
        list is followed by those whom it reaches first.
        """
        core = self._core
        if not core.pass_over(lambda leader: leader not in self._known and is_away(leader)):
            return
        self._begin_turn(left_s)
        self._progress()

    def _begin_turn(self, gather_s: float) -> None:
        """Give a leader this time to gather adverts, and then the time to lead."""
        core = self._core
        if core.is_leader:
            core.set_timer("lead", gather_s, self._publish_list)
        core.set_timer("turn", gather_s + core.cohort.patience.takeover_s, self._next_turn)

    def on_advert(self, sender: int, message: Advert) -> None:
        """Keep a member's keys; those that a list names may come from anybody."""
        core = self._core
        rank, digest = message.member, message.digest()
        core.require_member(rank)
        if sender != rank and not any(
            self._digest_in(listed, rank) == digest for listed in self._lists.values()
        ):
            raise RemoteProtocolError("not_your_advert")
        for key in (message.share_key, message.mask_key):
            try:
                require_canonical(key)
            except InvalidKey:
                raise RemoteProtocolError("bad_key") from None
        known = self._known.get(rank, {})
        if digest in known or len(known) >= VERSIONS_MAX:
            return
        core.verify(rank, b"advert", message.signature, digest)
        if known:
            core.blame(rank, "two_adverts", next(iter(known.values())), message)
        self._known.setdefault(rank, {})[digest] = message
        if sender in core.gone:
            # Perhaps it was we who were away: then the others are no more gone than it is. Whoever
            # is will be missed again by the next repair.
            core.gone = dict(core.absent)
        self._progress()

    def _progress(self) -> None:
        core = self._core
        if core.phase != phases.ADVERTISE:
            return
        self._begin_turns()
        if (
            core.is_leader
            and core.turn not in self._lists
            and all(rank in self._known or rank in core.gone for rank in core.others)
        ):
            self._publish_list()
        else:
            self._adopt()

    def _digest_in(self, listed: AdvertList, rank: int) -> bytes | None:
        ranks = self._core.unpack(listed.members)
        if rank not in ranks:
            return None
        place = ranks.index(rank)
        return listed.digests[32 * place : 32 * place + 32]

    def _publish_list(self) -> None:
        core = self._core
        if core.phase != phases.ADVERTISE or len(self._known) < core.cohort.threshold:
            return
        ranks = sorted(self._known)
        members = core.cohort.pack(ranks)
        digests = [next(iter(self._known[rank])) for rank in ranks]
        signature = core.sign(
            b"adverts", turn_bytes(core.turn), tau1_of(core.cohort.session, members, digests)
        )
        message = AdvertList(core.cohort.session, core.turn, members, b"".join(digests), signature)
        core.broadcast(message)
        self._lists[core.turn] = message
        self._adopt()

    def on_advert_list(self, sender: int, message: AdvertList) -> None:
        """Keep the list of the leader of a turn."""
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
            if core.phase == phases.ADVERTISE and sender != cohort.leader(message.turn):
                # The sender follows this list, so it has all its adverts; leader and authors, who
                # were asked first, may be dead.
                for rank in self._lacking(message):
                    core.fetch(sender, Wanted.ADVERT, rank)
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
            if (known.members, known.digests) != (message.members, message.digests):
                core.blame(leader, "two_lists", known, message)
            return
        self._lists[message.turn] = message
        if core.phase == phases.ADVERTISE:
            self._fetch_listed(message)
            self._adopt()

    def _adopt(self) -> None:
        """Follow the first list whose turn has come and whose adverts are all here.

        Until then another leader's list may still be followed, since nothing was said under any.
        """
        core = self._core
        for turn in sorted(self._lists):
            listed = self._lists[turn]
            if core.phase != phases.ADVERTISE or not core.may_follow(turn, backers=0):
                return
            ranks = core.unpack(listed.members)
            if core.rank not in ranks:
                core.abort("left_out")
                return
            found: dict[int, Advert] = {}
            for place, rank in enumerate(ranks):
                advert = self._known.get(rank, {}).get(listed.digests[32 * place : 32 * place + 32])
                if advert is not None:
                    found[rank] = advert
            if len(found) == len(ranks):
                self.adopted, self.dealers, self.adverts = listed, ranks, found
                self.share_keys = {rank: found[rank].share_key for rank in ranks}
                self.mask_keys = {rank: found[rank].mask_key for rank in ranks}
                digests = [found[rank].digest() for rank in ranks]
                self.tau1 = tau1_of(core.cohort.session, listed.members, digests)
                core.advance(phases.DEAL)

    def _repair(self) -> None:
        """Say again, and ask for, what may have been lost; others may be further, or done."""
        core = self._core
        own = next(iter(self._known[core.rank].values()))
        for rank in core.others:
            if rank in core.absent:
                continue
            if rank not in self._known:
                core.gone.pop(rank, None)  # It may be back, or we are; else its link breaks again.
                core.send(rank, own)
                core.fetch(rank, Wanted.ADVERT, rank)
            core.fetch(rank, Wanted.ADVERT_LIST)
        core.set_timer("repair", core.cohort.patience.gather_s / 2, self._repair)

    def on_other(self, rank: int) -> None:
        """Ask for a member's other list; whoever signed both is to blame."""
        self._core.fetch(rank, Wanted.ADVERT_LIST)

    def on_ahead(self, rank: int) -> None:
        """Ask a member that is ahead of us for the list that it follows; once each."""
        if rank not in self._asked:
            self._asked[rank] = None
            self._core.fetch(rank, Wanted.ADVERT_LIST)

    def _lacking(self, listed: AdvertList) -> list[int]:
        """Whose adverts a list names and we lack."""
        return [
            rank
            for rank in self._core.unpack(listed.members)
            if self._digest_in(listed, rank) not in self._known.get(rank, {})
        ]

    def _fetch_listed(self, listed: AdvertList) -> None:
        """Ask for the adverts that a list names and we lack: its leader, and their authors."""
        leader = self._core.cohort.leader(listed.turn)
        for rank in self._lacking(listed):
            for holder in dict.fromkeys((leader, rank)):
                self._core.fetch(holder, Wanted.ADVERT, rank)

    def _next_turn(self) -> None:
        """Look to the next leader, and ask again for what the lists name."""
        core, cohort = self._core, self._core.cohort
        if not core.end_turn():
            core.abort("no_agreement")
            return
        core.set_timer("turn", cohort.patience.takeover_s, self._next_turn)
        for listed in list(self._lists.values()):
            self._fetch_listed(listed)
        self._adopt()
        if core.is_leader:
            self._publish_list()

    def evidence_of(self, rank: int) -> tuple[Message, ...]:
        """Return the advert of a member of U1."""
        return (self.adverts[rank],)

    def on_gone(self) -> None:
        """Wait no longer for a member that cannot be reached, or takes no part."""
        self._pass_over_absent()
        self._progress()

    def answer(self, fetch: Fetch) -> SessionMessage | None:
        """Find what a member asks for, if we have it."""
        if fetch.what == Wanted.ADVERT:
            if fetch.first in self.adverts:
                return self.adverts[fetch.first]
            return next(iter(self._known.get(fetch.first, {}).values()), None)
        if fetch.what == Wanted.ADVERT_LIST:
            return self.adopted
        return None
