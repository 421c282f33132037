"""Named limits that are taken out, each with the test that reaches it."""

from planting import Fault

CRYPTO = "tests/checks/test_limits_of_crypto.py::test_"
SUMS = "tests/checks/test_limits_of_sums.py::test_"
GOSSIP = "tests/checks/test_limits_of_gossip.py::test_"
DAEMON = "tests/checks/test_limits_of_daemon.py::test_"

_ROWS: tuple[tuple[str, str, str, str, str], ...] = (
    # File, name of the limit, text, what takes its place, test.
    (
        "crypto/p2pfl_crypto/encoding.py",
        "MEMBERS_MAX",
        "if not 1 <= self.member_count <= MEMBERS_MAX:",
        "if not 1 <= self.member_count:",
        f"{CRYPTO}members_of_an_encoding",
    ),
    (
        "crypto/p2pfl_crypto/encoding.py",
        "_SUM_MAX",
        "_SUM_MAX // self.member_count",
        "2**32 // self.member_count",
        f"{CRYPTO}the_largest_sum_of_encoded_values_has_its_sign",
    ),
    (
        "crypto/p2pfl_crypto/hashing.py",
        "LABEL_BYTES_MAX",
        "if not 0 < len(label) <= LABEL_BYTES_MAX:",
        "if not label:",
        f"{CRYPTO}label_bytes",
    ),
    (
        "crypto/p2pfl_crypto/identity.py",
        "_PEER_ID_TEXT_MAX",
        "if len(text) > _PEER_ID_TEXT_MAX:",
        "if False:",
        f"{CRYPTO}characters_of_a_peer_id",
    ),
    (
        "crypto/p2pfl_crypto/masks.py",
        "CHUNK_ENTRIES_MAX",
        "if len(accumulator) > CHUNK_ENTRIES_MAX:",
        "if False:",
        f"{CRYPTO}entries_of_a_masked_chunk",
    ),
    (
        "crypto/p2pfl_crypto/shamir.py",
        "SHARE_COUNT_MAX",
        "if len(xs) > SHARE_COUNT_MAX:",
        "if False:",
        f"{CRYPTO}holders_of_shares",
    ),
    (
        "crypto/p2pfl_crypto/statements.py",
        "KIND_BYTES_MAX",
        "if not 0 < len(kind) <= KIND_BYTES_MAX:",
        "if not kind:",
        f"{CRYPTO}bytes_of_a_statements_kind",
    ),
    (
        "gossip/p2pfl_gossip/averaging/base.py",
        "ENTRY_MAX",
        "vector.min() >= -ENTRY_MAX",
        "vector.min() >= -np.inf",
        f"{GOSSIP}entries_of_a_model_that_arrives[-1]",
    ),
    (
        "gossip/p2pfl_gossip/averaging/base.py",
        "WEIGHT_MAX",
        "if not 0 < weight <= WEIGHT_MAX:",
        "if not 0 < weight:",
        f"{GOSSIP}weight_of_a_model_that_arrives",
    ),
    (
        "gossip/p2pfl_gossip/averaging/age_gossip.py",
        "AGE_MAX",
        "if not 0 < header.age <= AGE_MAX:",
        "if not 0 < header.age:",
        f"{GOSSIP}age_of_a_model_that_arrives",
    ),
    (
        "gossip/p2pfl_gossip/averaging/base.py",
        "COHORT_SIZE_MAX",
        "COHORT_SIZE_MAX = 1024",
        "COHORT_SIZE_MAX = 2**20",
        f"{GOSSIP}bitmap_of_a_cohort_of_plain_means",
    ),
    (
        "gossip/p2pfl_gossip/averaging/push_sum.py",
        "MASS_WEIGHT_MIN",
        "if mass_weight < MASS_WEIGHT_MIN:",
        "if False:",
        f"{GOSSIP}the_least_mass_that_a_peer_gives_away",
    ),
    (
        "gossip/p2pfl_gossip/averaging/masked_cohorts.py",
        "EARLY_MESSAGES_MAX",
        "if len(early) >= EARLY_MESSAGES_MAX:",
        "if False:",
        f"{GOSSIP}messages_for_a_session_that_is_not_begun",
    ),
    (
        "gossip/p2pfl_gossip/cohorts.py",
        "SIDE_FACTOR_MAX",
        "SIDE_FACTOR_MAX * cohort_size)",
        "3 * cohort_size)",
        f"{GOSSIP}side_of_a_grid",
    ),
    (
        "gossip/p2pfl_gossip/draw_risk.py",
        "MALICIOUS_MAX",
        "if self.cohorts_exceeded <= MALICIOUS_MAX:",
        "if True:",
        f"{GOSSIP}odds_up_to_which_malice_is_claimed_to_be_borne",
    ),
    (
        "gossip/p2pfl_gossip/draws.py",
        "PURPOSE_BYTES_MAX",
        "if not 0 < len(purpose) <= PURPOSE_BYTES_MAX:",
        "if not purpose:",
        f"{GOSSIP}bytes_of_a_draws_purpose",
    ),
    (
        "gossip/p2pfl_gossip/reveals.py",
        "MEMBERS_MAX",
        "if len(commitments) > MEMBERS_MAX:",
        "if False:",
        f"{GOSSIP}members_that_reveal",
    ),
    (
        "gossip/p2pfl_gossip/masked_sum/cohort.py",
        "COHORT_SIZE_MIN",
        "if n < COHORT_SIZE_MIN:",
        "if n < 2:",
        f"{SUMS}members_of_no_cohort[4]",
    ),
    (
        "gossip/p2pfl_gossip/masked_sum/cohort.py",
        "COHORT_SIZE_MAX",
        "if n > COHORT_SIZE_MAX:",
        "if False:",
        f"{SUMS}members_of_no_cohort[129]",
    ),
    (
        "gossip/p2pfl_gossip/masked_sum/cohort.py",
        "CHUNK_COUNT_MAX",
        "min(per_owner, CHUNK_COUNT_MAX // n)",
        "per_owner",
        f"{SUMS}chunks_of_a_vector",
    ),
    (
        "gossip/p2pfl_gossip/masked_sum/cohort.py",
        "OWNERS_MAX",
        "<= min(OWNERS_MAX, n):",
        "<= n:",
        f"{SUMS}owners_of_a_chunk",
    ),
    (
        "gossip/p2pfl_gossip/masked_sum/exchange.py",
        "SERVES_MAX of a chunk",
        "or self._served.get(key, 0) >= SERVES_MAX",
        "",
        f"{SUMS}bodies_given_on_one_members_asking",
    ),
    (
        "gossip/p2pfl_gossip/masked_sum/summing.py",
        "SERVES_MAX of a sum",
        "if self._served.get(key, 0) >= SERVES_MAX:",
        "if False:",
        f"{SUMS}bodies_given_on_one_members_asking",
    ),
    (
        "gossip/p2pfl_gossip/masked_sum/journal.py",
        "_RECORD_BYTES_MAX",
        "frame_bytes_max=_RECORD_BYTES_MAX",
        "frame_bytes_max=2**16",
        f"{SUMS}bytes_of_a_journals_record",
    ),
    (
        "gossip/p2pfl_gossip/masked_sum/masking.py",
        "MASK_JOBS_MAX",
        "for _ in range(MASK_JOBS_MAX)",
        "for _ in range(9)",
        f"{SUMS}chunks_masked_at_once",
    ),
    (
        "gossip/p2pfl_gossip/masked_sum/masking.py",
        "UNSENT_BYTES_MAX",
        "self._unsent_bytes < UNSENT_BYTES_MAX",
        "True",
        f"{SUMS}masked_bytes_that_wait_for_a_link",
    ),
    (
        "gossip/p2pfl_gossip/masked_sum/summing.py",
        "DEPUTIES_MAX",
        "islice(others, DEPUTIES_MAX)",
        "islice(others, 9)",
        f"{SUMS}deputies_of_a_chunk_without_owners",
    ),
    (
        "p2pfl/daemon/config.py",
        "THREADS_MAX",
        "Field(ge=1, le=THREADS_MAX)",
        "Field(ge=1)",
        f"{DAEMON}threads_of_a_peer",
    ),
    (
        "p2pfl/daemon/control.py",
        "PATH_BYTES_MAX",
        "if len(os.fsencode(path)) > PATH_BYTES_MAX:",
        "if False:",
        f"{DAEMON}bytes_of_a_sockets_path",
    ),
    (
        "p2pfl/daemon/links.py",
        "LINKS_KEPT_MAX",
        "if len(self._addresses) <= LINKS_KEPT_MAX:",
        "if True:",
        f"{DAEMON}links_that_are_kept_ahead_of_need[1]",
    ),
    (
        "p2pfl/daemon/links.py",
        "OUTBOX_BYTES_MAX",
        "if outbox.waiting_bytes + len(frame) > OUTBOX_BYTES_MAX:",
        "if False:",
        f"{DAEMON}bytes_that_wait_for_one_peer",
    ),
    (
        "p2pfl/daemon/links.py",
        "FRAME_STREAMS_MAX",
        "or self._frame_streams[peer] >= FRAME_STREAMS_MAX",
        "",
        f"{DAEMON}streams_of_frames_from_one_peer",
    ),
    (
        "p2pfl/daemon/links.py",
        "BODIES_TO_RECEIVER_MAX",
        "asyncio.Semaphore(BODIES_TO_RECEIVER_MAX)",
        "asyncio.Semaphore(9)",
        f"{DAEMON}bodies_to_one_peer_at_once",
    ),
    (
        "p2pfl/daemon/incarnations.py",
        "FRAME_BYTES_MAX",
        "frame_bytes_max=FRAME_BYTES_MAX",
        "frame_bytes_max=2**16",
        f"{DAEMON}bytes_of_what_incarnations_say",
    ),
    (
        "p2pfl/daemon/incarnations.py",
        "TOLD_MAX",
        "if len(self._told) > TOLD_MAX:",
        "if False:",
        f"{DAEMON}pairs_of_processes_that_are_remembered_as_told",
    ),
    (
        "p2pfl/group/cards.py",
        "ADDRESSES_MAX",
        "Field(min_length=1, max_length=ADDRESSES_MAX)",
        "Field(min_length=1)",
        f"{DAEMON}addresses_of_a_member",
    ),
    (
        "p2pfl/group/documents.py",
        "DOCUMENT_BYTES_MAX",
        "if len(content) > DOCUMENT_BYTES_MAX:",
        "if False:",
        f"{DAEMON}bytes_of_a_document",
    ),
    (
        "p2pfl/group/roster_file.py",
        "MEMBERS_MIN",
        "if len(roster.members) < MEMBERS_MIN:",
        "if not roster.members:",
        f"{DAEMON}members_of_the_smallest_group",
    ),
    (
        "p2pfl/group/roster_file.py",
        "MEMBERS_MAX",
        "Field(max_length=MEMBERS_MAX)",
        "Field()",
        f"{DAEMON}members_of_the_largest_group",
    ),
    (
        "p2pfl/store/keys.py",
        "_FILE_BYTES_MAX",
        "if len(content) > _FILE_BYTES_MAX:",
        "if False:",
        f"{DAEMON}bytes_of_a_key_file",
    ),
    (
        "p2pfl/store/keys.py",
        "_PASSPHRASE_BYTES_MAX",
        "if not 0 < len(passphrase) <= _PASSPHRASE_BYTES_MAX:",
        "if not passphrase:",
        f"{DAEMON}bytes_of_a_passphrase",
    ),
    (
        "p2pfl/store/lock.py",
        "_PID_DIGITS_MAX",
        "os.pread(self._descriptor, _PID_DIGITS_MAX, 0)",
        "os.pread(self._descriptor, 99, 0)",
        f"{DAEMON}digits_of_a_process_in_a_lock",
    ),
)


def _name(file: str, limit: str) -> str:
    return f"limit {limit} of {file.removesuffix('.py').split('/', 1)[1].replace('/', '.')}"


LIMITS = tuple(
    Fault(_name(file, limit), file, old, new, test) for file, limit, old, new, test in _ROWS
)
