"""Checks that are taken out one by one, each with the test that must fail without it.

An outside review took nine of these out at once, and no test failed. `./scripts/bench planted`
plants them all, the tests a few of them.
"""

from planted_checkers import CHECKERS
from planted_limits import LIMITS
from planting import Fault
from refusals import TABLE, as_fault, places

SUMS = "gossip/p2pfl_gossip/masked_sum"
FORGED = "tests/checks/test_session_forgeries.py::test_what_comes_of_a_forged_message"


def _forged(name: str, file: str, old: str, row: str, new: str = "pass") -> Fault:
    """A check of a masked sum's message, noticed by a row of the table of forgeries."""
    return Fault(name, f"{SUMS}/{file}", old, new, f"{FORGED}[{row}]")


def _first_hand(name: str, file: str, old: str, test: str, new: str) -> Fault:
    return Fault(name, f"{SUMS}/{file}", old, new, f"tests/masked_sum/test_first_hand.py::{test}")


SIGNATURES = (
    _forged(
        "signature of an advert",
        "advertising.py",
        'core.verify(rank, b"advert", message.signature, digest)',
        "Advert: signature low bit",
    ),
    _forged(
        "signature of an adverts list",
        "advertising.py",
        """core.verify(
            leader,
            b"adverts",
            message.signature,
            turn_bytes(message.turn),
            tau1_of(cohort.session, message.members, digests),
        )""",
        "AdvertList: signature low bit",
    ),
    _forged(
        "signature of a dealer's header that is passed on",
        "sharing.py",
        """self._core.verify_passed_on(
                sender, dealer, b"header", signature, lambda: (header.digest(),)
            )""",
        "Header: signature zero, sender another member",
    ),
    _forged(
        "signature of a proposal",
        "agreement.py",
        'core.verify(leader, b"proposal", message.signature, turn_bytes(message.turn), tau2)',
        "Proposal: signature low bit",
    ),
    _forged(
        "signatures of two ACKs, votes, headers, manifests or receipts",
        "core.py",
        "        if all(proven):",
        "Ack: signature zero, then another version",
        "        if proven:",
    ),
    _forged(
        "signature of a manifest that is passed on",
        "exchange.py",
        """core.verify_passed_on(
            sender, rank, b"manifest", message.signature, lambda: (message.digest(),)
        )""",
        "Manifest: signature zero, sender another member",
    ),
    _forged(
        "signature of a receipt that is passed on",
        "exchange.py",
        'core.verify_passed_on(sender, rank, b"receipt", message.signature, lambda: body)',
        "Receipt: signature zero, sender another member",
    ),
    _forged(
        "signature of a ballot",
        "voting.py",
        'core.verify(leader, b"ballot", message.signature, turn_bytes(message.turn), digest)',
        "Ballot: signature low bit",
    ),
    _first_hand(
        "proof of a statement that others are to rest on",
        "core.py",
        "if not is_proven(rank):",
        "test_a_leader_rests_nothing_on_what_it_could_not_pass_on[Manifest]",
        "if not rank + 1:",
    ),
    _first_hand(
        "proof of a header that is passed on",
        "sharing.py",
        "return self.headers[fetch.first] if self.is_header_proven(fetch.first) else None",
        "test_only_what_is_proven_is_passed_on[Share-4-Header]",
        "return self.headers[fetch.first]",
    ),
    _first_hand(
        "proof of a manifest that is passed on",
        "exchange.py",
        "return self.manifests[member] if self.is_manifest_proven(member) else None",
        "test_only_what_is_proven_is_passed_on[Manifest-7-Manifest]",
        "return self.manifests[member]",
    ),
    _first_hand(
        "proof of a receipt that is passed on",
        "exchange.py",
        "return self.receipts[member] if self.is_receipt_proven(member) else None",
        "test_only_what_is_proven_is_passed_on[Receipt-8-Receipt]",
        "return self.receipts[member]",
    ),
    _forged(
        "signature of a sum",
        "summing.py",
        'core.verify(said.member, b"sum", said.signature, said.ballot, number, said.digest)',
        "SumDigest: signature low bit",
    ),
)

SENDERS = (
    _forged(
        "an advert is its sender's",
        "advertising.py",
        'raise RemoteProtocolError("not_your_advert")',
        "Advert: sender another member",
    ),
    _forged(
        "a header in a share is its sender's",
        "sharing.py",
        "header.dealer != sender or ",
        "Share: sender another member",
        new="",
    ),
    _forged(
        "an ACK is its sender's",
        "agreement.py",
        'raise RemoteProtocolError("not_your_ack")',
        "Ack: sender another member",
    ),
    _forged(
        "a vote that another one brings is its author's",
        "voting.py",
        'core.verify_passed_on(sender, rank, b"vote", message.signature, lambda:'
        " (message.ballot,))",
        "Vote: signature zero, sender another member",
    ),
    _forged(
        "a sum is its sender's",
        "summing.py",
        'raise RemoteProtocolError("not_your_sum")',
        "SumDigest: sender another member",
    ),
    _forged(
        "a chunk is its sender's, before the manifest",
        "exchange.py",
        "if manifest is None and sender != header.member:",
        "ChunkHeader: sender another member",
        new="if False:",
    ),
    _forged(
        "a stranger says nothing",
        "session.py",
        'raise RemoteProtocolError("not_in_cohort")',
        "Vote: sender ourselves",
        new="return 1",
    ),
)

TURNS = (
    _forged(
        "a list waits for its turn",
        "advertising.py",
        "core.phase != phases.ADVERTISE or not core.may_follow(turn, backers=0)",
        "AdvertList: of the next turn",
        new="core.phase != phases.ADVERTISE",
    ),
    _forged(
        "a proposal waits for its turn",
        "agreement.py",
        "return self._core.followable(self._proposals, self._acks)",
        "Proposal: of the next turn",
        new="return self._proposals",
    ),
    _forged(
        "a ballot waits for its turn",
        "voting.py",
        "return self._core.followable(self._ballots, self._votes)",
        "Ballot: of the next turn",
        new="return self._ballots",
    ),
)

BOUNDS = (
    _forged(
        "messages that come too early are bounded",
        "session.py",
        "len(early) < EARLY_MESSAGES_MAX + core.cohort.chunk_count",
        "Vote: too early, too many",
        new="early is not None",
    ),
    _forged(
        "fetches are bounded",
        "session.py",
        'raise RemoteProtocolError("too_many_fetches")',
        "Fetch: too many",
    ),
    _forged(
        "versions of an advert are bounded",
        "advertising.py",
        " or len(known) >= VERSIONS_MAX",
        "Advert: too many",
        new="",
    ),
    _forged(
        "proposals are bounded",
        "agreement.py",
        """if len(of_turn) >= PROPOSALS_MAX and len(self._acks.get(tau2, ())) <= cohort.liars_max:
            return
        """,
        "Proposal: too many",
        new="",
    ),
    _forged(
        "ballots are bounded",
        "voting.py",
        """if len(of_turn) >= BALLOTS_MAX and len(self._votes.get(digest, ())) <= cohort.liars_max:
            return
        """,
        "Ballot: too many",
        new="",
    ),
)

RECORDS = tuple(
    Fault(
        f"{what} before it is said",
        f"{SUMS}/{file}",
        f"""core.actions.append(self._journal.advance(Step.{step}, {said}))
                {between}core.broadcast({name})
""",
        f"""{between}core.broadcast({name})
                core.actions.append(self._journal.advance(Step.{step}, {said}))
""",
        "tests/checks/test_write_ahead.py::test_nothing_leaves_before_its_record",
    )
    for what, file, step, said, name, between in (
        (
            "an ACK is recorded",
            "agreement.py",
            "ACKED",
            "tau2",
            "ack",
            """ack = Ack(core.cohort.session, core.rank, tau2, core.sign(b"ack", tau2))
                self._ack_of[core.rank] = ack
                self._acks.setdefault(tau2, {})[core.rank] = ack
                """,
        ),
        (
            "a vote is recorded",
            "voting.py",
            "VOTED",
            "digest",
            "vote",
            """signature = core.sign(b"vote", digest)
                vote = Vote(core.cohort.session, core.rank, digest, signature)
                self._vote_of[core.rank] = vote
                self._votes.setdefault(digest, {})[core.rank] = vote
                """,
        ),
    )
)
"""A record moved behind what it is for: an observer of the simulated world sees it."""

PROOFS = (
    Fault(
        "two statements of evidence are of one kind",
        f"{SUMS}/blame.py",
        "slots.append((kind, *slot))",
        "slots.append(slot)",
        "tests/checks/test_evidence.py::test_statements_of_two_kinds_prove_nothing[Ack and Vote]",
    ),
)

_GROUP = "tests/masked_sum/test_group_faults.py::test_"
_FALSE = "tests/masked_sum/test_false_sums.py::test_"

GROUPS = (
    Fault(
        "a vector is not spent without a grant",
        f"{SUMS}/exchange.py",
        "if isinstance(answer, Granted):",
        "if True:",
        f"{_GROUP}a_vector_that_may_not_be_spent_stays_here_and_the_others_have_their_sums",
    ),
    Fault(
        "a late grant spends nothing",
        f"{SUMS}/exchange.py",
        """if self._core.phase != phases.CHUNK:
                return
            if isinstance(answer""",
        "if isinstance(answer",
        f"{_GROUP}a_grant_that_comes_after_the_vote_spends_nothing",
    ),
    Fault(
        "m + 1 leaders have their time",
        f"{SUMS}/core.py",
        "is_last or self.turns_ended > self.cohort.liars_max",
        "is_last",
        f"{_GROUP}after_m_plus_one_leaders_that_had_their_time_it_is_over",
    ),
    Fault(
        "who is not listed does not lead",
        f"{SUMS}/agreement.py",
        "leader not in self._sharing.dealers",
        "False",
        f"{_GROUP}leaders_that_are_not_listed_have_no_turn",
    ),
    Fault(
        "who is not listed does not lead the vote",
        f"{SUMS}/voting.py",
        "leader not in self._exchange.listed",
        "False",
        f"{_GROUP}a_turn_that_was_waited_out_is_followed_by_that_of_a_member_that_is_listed",
    ),
    Fault(
        "two members that are not the vouchers are too few",
        f"{SUMS}/summing.py",
        "if count > self._core.cohort.liars_max:",
        "if count > 1:",
        f"{_FALSE}owners_and_deputies_that_lie_alike_are_believed_by_nobody[8-liars1-1]",
    ),
    Fault(
        "vouchers must agree",
        f"{SUMS}/summing.py",
        "return first if first == second else None",
        "return first",
        f"{_FALSE}owners_and_deputies_that_lie_alike_are_believed_by_nobody[8-liars1-1]",
    ),
    Fault(
        "where the primary lied, the true sum is asked for at once",
        f"{SUMS}/mean_summing.py",
        "            self._ask_for_body(chunk, digest)\n",
        "",
        f"{_FALSE}owners_and_deputies_that_lie_alike_are_believed_by_nobody[8-liars1-1]",
    ),
    Fault(
        "as many deputies step in as it takes",
        f"{SUMS}/summing.py",
        "return spoken + self._core.cohort.liars_max + 1 - most",
        "return self._core.cohort.size",
        f"{_FALSE}as_many_deputies_step_in_as_it_takes[liars0-asking0]",
    ),
    Fault(
        "only vouchers that disagree call deputies",
        f"{SUMS}/summing.py",
        "words = {said[rank].digest: None for rank in vouchers if rank in said}",
        "words = self._digest_counts(chunk)",
        f"{_FALSE}a_lying_deputy_that_nobody_asked_makes_no_others_step_in",
    ),
    Fault(
        "m + 1 digests count",
        f"{SUMS}/summing.py",
        "if count > self._core.cohort.liars_max:",
        "if False:",
        f"{_GROUP}two_owners_that_give_no_sum_cost_no_round[10]",
    ),
    Fault(
        "m digests do not count",
        f"{SUMS}/summing.py",
        "if count > self._core.cohort.liars_max:",
        "if count > 0:",
        f"{_GROUP}an_owner_that_signs_another_sum_for_each_member_is_named_by_two_of_them",
    ),
    Fault(
        "whoever has a sum gives it",
        f"{SUMS}/group_summing.py",
        "self.sums.get(chunk) or self._own.get(chunk)",
        "self._own.get(chunk)",
        f"{_GROUP}who_hears_of_a_chunk_from_no_owner_gets_its_sum_from_others",
    ),
    Fault(
        "a deputy steps in for an owner that is gone",
        f"{SUMS}/group_summing.py",
        """for chunk in self._live:
            self._step_in(chunk)""",
        "pass",
        f"{_GROUP}an_owner_that_dies_before_it_tells_its_sum_costs_no_time",
    ),
    Fault(
        "the ring is another one in each round",
        f"{SUMS}/epoch_cohort.py",
        "tuple(sorted(members, key=self._places.__getitem__))",
        "members",
        f"{_GROUP}two_owners_that_take_turns_to_be_neighbours",
    ),
)
"""Checks of a group's session."""

STATES = tuple(
    Fault(name, f"gossip/p2pfl_gossip/ledger/{file}", old, new, f"tests/unit/gossip/ledger/{test}")
    for name, file, old, new, test in (
        (
            "a chunk of a state is what its digest says",
            "intake.py",
            "if digest != self._digests[chunk.number]:",
            "if False:",
            "test_fetching.py::test_what_a_liar_brought_rightly_stays",
        ),
        (
            "a list of chunk digests is what the item's digest says",
            "fetching.py",
            "if told != self._list if self._list else not self._item.is_list(told):",
            "if False:",
            "test_fetching.py::test_a_false_list_is_found_and_another_taken",
        ),
        (
            "a list that comes later is the one that is known",
            "fetching.py",
            "if told != self._list if self._list else not self._item.is_list(told):",
            "if not self._list and not self._item.is_list(told):",
            "test_fetching.py::test_a_false_list_is_found_after_the_right_one_too",
        ),
        (
            "a liar's link ends",
            "fetching.py",
            "[*self._leave(holder, HolderState.LIAR), Disconnect(holder.peer, reason)]",
            "self._leave(holder, HolderState.LIAR)",
            "test_fetching.py::test_a_false_list_is_found_and_another_taken",
        ),
        (
            "a liar is asked no more",
            "fetching.py",
            "if holder.is_in_use or holder.state == HolderState.LIAR:",
            "if holder.is_in_use:",
            "test_fetching.py::test_a_liar_is_not_asked_again",
        ),
        (
            "two bodies that bring one chunk do not write to one place",
            "intake.py",
            "elif number in self._writers:",
            "elif False:",
            "test_fetching.py::test_a_slow_body_does_not_spoil_what_a_fast_one_brings",
        ),
        (
            "a holder that takes long is relieved",
            "chunk_asking.py",
            "if slow_at_s > now_s:",
            "if True:",
            "test_fetching.py::test_a_slow_holder_is_relieved_by_a_fast_one",
        ),
        (
            "who is asked within a timer is watched too",
            "fetching.py",
            "for it in holders if it.is_waited_for]",
            "for it in holders if it.is_waited_for and not self._is_sharing]",
            "test_fetching.py::test_who_takes_the_place_of_one_that_stalled_is_watched_as_well",
        ),
        (
            "what is held is the item",
            "shelf.py",
            "if len(vector) != item.length or not item.is_list(chunk_digests):",
            "if False:",
            "test_shelf.py::test_what_is_held_must_be_the_item",
        ),
        (
            "what is on its way is not sent twice",
            "shelf.py",
            "if key in giving:",
            "if False:",
            "test_shelf.py::test_what_is_on_its_way_is_not_sent_twice",
        ),
    )
)
"""What keeps a state that is fetched right, and the fetch going."""

REFUSALS = tuple(as_fault(place, TABLE[place.name]) for place in places() if place.name in TABLE)
"""Each refusal, blame and disconnect in gossip, taken out."""

PLANTED: tuple[Fault, ...] = (
    *SIGNATURES,
    *SENDERS,
    *TURNS,
    *BOUNDS,
    *RECORDS,
    *PROOFS,
    *GROUPS,
    *STATES,
    *LIMITS,
    *REFUSALS,
    *CHECKERS,
)
