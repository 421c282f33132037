"""Who was found to have lied in a dispute, and the words of others about it.

Whoever has found a lie says so, signed. The words of m + 1 members are evidence: one is honest, and
an honest one accuses only whom it has found out itself.

Of a lie about masked words only those can know that hold the words. So others ask the accuser for
them, and look themselves: one chunk at a time for each accuser, and none any more for one whose
accusation was not true. It is not found out by that: it may have been shown another statement.
"""

from collections.abc import Callable

from p2pfl_gossip.masked_sum.core import Core
from p2pfl_gossip.masked_sum.exchange import Exchange
from p2pfl_gossip.masked_sum.messages import Accusation, Accused, Wanted


class Accusing:
    """One member's accusations, and what it makes of those of others.

    Attributes:
        accused: whom we have found out.
        has_named: whether there is evidence against somebody.
    """

    def __init__(self, core: Core, exchange: Exchange) -> None:
        self._core, self._exchange = core, exchange
        self.accused: dict[int, None] = {}
        self.has_named = False
        self._words: dict[int, dict[int, Accusation]] = {}  # By accused, then by accuser.
        self._chunks: tuple[int, ...] | None = None  # That have a sum; None before the dispute.
        self._check: Callable[[int, int], None] = lambda _member, _chunk: None
        self._unlooked: dict[int, list[Accusation]] = {}  # By accuser; the first is looked at.
        self._looked: dict[int, int] = {}  # At how many of an accuser's.

    def start(self, chunks: tuple[int, ...], check: Callable[[int, int], None]) -> None:
        """Begin to look at accusations, those that came before as well.

        Args:
            chunks: that have a sum.
            check: holds what a member says of a chunk against its words, which are here, and calls
                `on_checked`; or does so later, if it cannot yet.
        """
        self._chunks, self._check = chunks, check
        for accuser in list(self._unlooked):
            self._look(accuser)

    # What we say

    def accuse(self, member: int, chunk: int | None = None) -> bool:
        """Say that a member lied; return whether that is news."""
        core = self._core
        if member in self.accused or member == core.rank:
            return False
        self.accused[member] = None
        place = core.cohort.chunk_count if chunk is None else chunk
        signature = core.sign(b"accuse", member.to_bytes(4, "little"))
        word = Accusation(core.cohort.session, core.rank, member, place, signature)
        core.broadcast(word)
        self._count(word)
        return True

    def repair(self) -> None:
        """Say it again, and ask again for words: either may have been lost."""
        core = self._core
        for words in self._words.values():
            if core.rank in words:
                core.broadcast(words[core.rank])
        for accuser in list(self._unlooked):
            self._look(accuser)

    # What others say

    def on_accusation(self, _sender: int, message: Accusation) -> None:
        """Count a member's word, whoever brings it; look ourselves at what it may show us."""
        core, accuser = self._core, message.accuser
        for rank in (accuser, message.member):
            core.require_member(rank)
        if self.has_told(accuser, message.member):
            return
        body = message.member.to_bytes(4, "little")
        core.verify(accuser, b"accuse", message.signature, body)
        self._count(message)
        if message.chunk < core.cohort.chunk_count and accuser != core.rank:
            unlooked = self._unlooked.setdefault(accuser, [])
            unlooked.append(message)
            if len(unlooked) == 1:
                self._look(accuser)

    def has_told(self, accuser: int, member: int) -> bool:
        """Whether we know a member's word against another."""
        return accuser in self._words.get(member, {})

    def _count(self, word: Accusation) -> None:
        core = self._core
        words = self._words.setdefault(word.member, {})
        words[word.accuser] = word
        if len(words) == core.cohort.liars_max + 1:
            self.has_named = True
            accusers = tuple(sorted(words))
            evidence = Accused(
                core.cohort.session,
                core.cohort.pack(accusers),
                b"".join(words[rank].signature for rank in accusers),
            )
            core.blame(word.member, "false_statement", evidence)

    # Words that an accuser is to show

    def _look(self, accuser: int) -> None:
        """Look at the first accusation of a member's that is left: of m, an honest one has no more.

        What was looked at ends in `on_checked`.
        """
        core, exchange, unlooked = self._core, self._exchange, self._unlooked[accuser]
        if self._chunks is None:
            return
        while unlooked:
            word = unlooked[0]
            if word.chunk in self._chunks and word.member not in self.accused:
                break
            del unlooked[0]
        if not unlooked or self._looked.get(accuser, 0) >= core.cohort.liars_max:
            return
        if exchange.held(word.chunk, word.member) is not None:
            self._check(word.member, word.chunk)
            return
        exchange.expect(word.chunk, word.member)
        core.fetch(accuser, Wanted.CHUNK, word.chunk, word.member)

    def on_checked(self, member: int, chunk: int, *, holds: bool) -> None:
        """Take what came of a check; go on with the next of those whose accusation it was."""
        if not holds:
            self.accuse(member, chunk)
        for accuser, unlooked in list(self._unlooked.items()):
            if unlooked and (unlooked[0].member, unlooked[0].chunk) == (member, chunk):
                self._looked[accuser] = self._looked.get(accuser, 0) + 1
                if holds:
                    unlooked.clear()
                    self._looked[accuser] = self._core.cohort.liars_max
                    continue
                del unlooked[0]
                self._look(accuser)
