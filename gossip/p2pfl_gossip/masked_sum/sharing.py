"""SHARE and HEADER: each member deals shares of its secrets and commits to all of them."""

from collections.abc import Callable, Iterable

from p2pfl_crypto.shamir import scalar_of
from p2pfl_crypto.transcripts import audit_secret
from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.masked_sum import phases
from p2pfl_gossip.masked_sum.core import Core
from p2pfl_gossip.masked_sum.jobs import Deal, Dealt
from p2pfl_gossip.masked_sum.keys import SessionKeys
from p2pfl_gossip.masked_sum.messages import Fetch, Header, SessionMessage, Share, Wanted


class Sharing:
    """Dealing, and what was dealt to us.

    Attributes:
        dealt: our dealing, and the secrets shared with each member.
        headers: what each dealer commits to.
        header_digests: of these.
        shares: the shares of b and s that each dealer gave us, and of a where the sum is audited
            (32 bytes each); they match its header.
    """

    def __init__(self, core: Core, keys: SessionKeys) -> None:
        self._core, self._keys = core, keys
        self.dealt: Dealt | None = None
        self.headers: dict[int, Header] = {}
        self.header_digests: dict[int, bytes] = {}
        self._places: dict[int, int] = {}
        self.shares: dict[int, bytes] = {}
        self._told: Callable[[], None] = lambda: None
        self._kinds = (b"b", b"s", b"a") if core.cohort.is_audited else (b"b", b"s")

    @property
    def tau1(self) -> bytes:
        """The transcript after ADVERTISE."""
        return self._keys.tau1

    @property
    def dealers(self) -> tuple[int, ...]:
        """U1."""
        return self._keys.dealers

    def on_other(self, rank: int) -> None:
        """Note that a member follows another list than ours."""
        self._keys.on_other(rank)

    def tell(self, told: Callable[[], None]) -> None:
        """Have `told` called when a header or a share came."""
        self._told = told

    def forget(self) -> None:
        """Drop our dealing and the shares of others."""
        self.dealt = None
        self.shares.clear()

    def start(self) -> None:
        """Have our shares dealt."""
        self._places = {rank: place for place, rank in enumerate(self.dealers)}
        core, keys = self._core, self._keys
        threshold = core.cohort.threshold
        core.work(
            Deal(
                rank=core.rank,
                threshold=threshold,
                tau1=self.tau1,
                secrets=keys.secrets,
                members=self.dealers,
                share_keys=tuple(keys.share_keys[rank] for rank in self.dealers),
                mask_keys=tuple(keys.mask_keys[rank] for rank in self.dealers),
                entropy=core.entropy(
                    Deal.entropy_bytes(threshold, len(self.dealers), len(self._kinds))
                ),
                coin=self._coin(),
                is_on_curve=core.cohort.names_liars,
            ),
            self._on_dealt,
        )

    def _coin(self) -> bytes:
        """Return the scalar a, whose sum over all members makes the audit's seed, if there is one.

        It follows from a secret that is never shown, so that an audit draws no entropy of its own:
        a run with one has the same sums as without.
        """
        if not self._core.cohort.is_audited:
            return b""
        rounding = self._keys.secrets.rounding
        return scalar_of(audit_secret(rounding, b"coin", self._core.cohort.session))

    def _on_dealt(self, result: Dealt) -> None:
        core = self._core
        self.dealt = result
        for rank in result.liars:
            core.blame(rank, "bad_keys", *self._keys.evidence_of(rank))
        header = self._header(result, bytes(64))
        header = self._header(result, core.sign(b"header", header.digest()))
        self._keep_header(core.rank, header)
        self.shares[core.rank] = result.own_shares
        core.advance(phases.AGREE)
        for rank in self.dealers:
            if rank in result.sealed:
                core.send(rank, self._share_for(rank))

    def _header(self, dealt: Dealt, signature: bytes) -> Header:
        return Header(
            self._core.cohort.session,
            self.tau1,
            self._core.rank,
            dealt.commitment,
            dealt.share_digests,
            b"",  # Of pairs nothing is committed to, in this suite.
            signature,
        )

    def _share_for(self, rank: int) -> Share:
        assert self.dealt is not None
        nonce, sealed = self.dealt.sealed[rank]
        core = self._core
        return Share(core.cohort.session, self.headers[core.rank], nonce, sealed)

    def on_share(self, sender: int, message: Share) -> None:
        """Open a dealer's shares and check them against its header."""
        core = self._core
        assert self.dealt is not None
        header = message.header
        if header.dealer != sender or header.session != core.cohort.session:
            raise RemoteProtocolError("not_your_header")
        if header.tau1 != self.tau1:
            self._keys.on_other(sender)
            return
        if sender not in self.dealers:
            raise RemoteProtocolError("not_in_list")
        if sender in self.dealt.refused or sender in self.shares:
            return
        self._check_header(sender, header)
        key = self.dealt.opening_keys[sender]
        shares = core.open_shares(key, message.nonce, message.sealed)
        if len(shares) != 32 * len(self._kinds):
            raise RemoteProtocolError("bad_share")
        for place, kind in enumerate(self._kinds):
            share = shares[32 * place : 32 * place + 32]
            expected = self.share_digest_in(header, kind, core.rank)
            if core.share_digest(self.tau1, kind, sender, core.rank, share) != expected:
                raise RemoteProtocolError("share_mismatch")
        if not self._keep_header(sender, header):
            return
        self.shares[sender] = shares
        self._told()

    def on_header(self, sender: int, message: Header) -> None:
        """Keep a header that was asked for; a share may come or not."""
        if message.session != self._core.cohort.session or message.tau1 != self.tau1:
            raise RemoteProtocolError("wrong_transcript")
        self._core.require_member(message.dealer)
        if message.dealer not in self.dealers:
            raise RemoteProtocolError("not_in_list")
        self._check_header(sender, message)
        self._keep_header(sender, message)
        self._told()

    def _check_header(self, sender: int, header: Header) -> None:
        sizes = (len(header.commitments), len(header.share_digests), len(header.pair_digests))
        kinds = len(self._kinds)
        if sizes != (32 * (kinds - 1), 32 * kinds * len(self.dealers), 0):
            raise RemoteProtocolError("bad_header")
        dealer = header.dealer
        if self.headers.get(dealer) != header:
            signature = header.signature
            self._core.verify_passed_on(
                sender, dealer, b"header", signature, lambda: (header.digest(),)
            )

    def _keep_header(self, sender: int, header: Header) -> bool:
        dealer, known = header.dealer, self.headers.get(header.dealer)
        if known == header:
            return True
        digest = header.digest()
        if known is not None and self.header_digests[dealer] != digest:
            said = [(it, it.signature, (it.digest(),)) for it in (known, header)]
            self._core.blame_two(dealer, "two_headers", b"header", *said)
            return False
        if (
            known is None or sender != dealer
        ):  # One that was checked is better than one that was not.
            self.headers[dealer], self.header_digests[dealer] = header, digest
        return True

    def is_header_proven(self, dealer: int) -> bool:
        """Whether others can be given the header that we hold of a dealer."""
        header = self.headers[dealer]
        digest = self.header_digests[dealer]
        return self._core.is_proven(dealer, b"header", header.signature, digest)

    def proven_dealers(self, ranks: Iterable[int]) -> list[int]:
        """Return those whose header others can be given; who signed falsely has its link ended."""
        return [
            rank
            for rank in ranks
            if rank in self.headers and self._core.require_proof(rank, self.is_header_proven)
        ]

    def share_digest_in(self, header: Header, kind: bytes, holder: int) -> bytes:
        """Find the digest of a holder's share in a header."""
        place = self._places[holder] + len(self.dealers) * self._kinds.index(kind)
        return header.share_digests[32 * place : 32 * place + 32]

    def fetch_missing(self) -> None:
        """Ask dealers again for shares that may have been lost."""
        for rank in self.dealers:
            if rank not in self.shares:
                self._core.fetch(rank, Wanted.SHARE)

    def answer(self, asker: int, fetch: Fetch) -> SessionMessage | None:
        """Find what a member asks for, if we have it."""
        if fetch.what == Wanted.SHARE and self.dealt is not None and asker in self.dealt.sealed:
            return self._share_for(asker)
        if fetch.what == Wanted.HEADER and fetch.first in self.headers:
            return self.headers[fetch.first] if self.is_header_proven(fetch.first) else None
        return None
