"""How a peer starts: from its folder to a service that runs.

The order: settings, charters and key are read; the journal is opened, which locks the folder; the
task is loaded; then the host listens, and the machine starts. Whatever is wrong until then is one
line, and nothing was changed.
"""

import asyncio
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from p2pfl.charter.charter_file import CharterFile
from p2pfl.charter.papers import Papers
from p2pfl.daemon.building import agreed_draw, make_group_member, make_network_peer
from p2pfl.daemon.chartering import Chartering
from p2pfl.daemon.chosen import Chosen
from p2pfl.daemon.config import PeerConfig, PeerFolder
from p2pfl.daemon.control import require_short
from p2pfl.daemon.directory import Directory, agreed_in
from p2pfl.daemon.driver import SWITCH_INTERVAL_S
from p2pfl.daemon.errors import ServiceError
from p2pfl.daemon.kept import GROUP_RECORD
from p2pfl.daemon.logs import FAILED, close_log, open_log
from p2pfl.daemon.membership import NO_CHARTER
from p2pfl.daemon.own_baseline import OwnGain
from p2pfl.daemon.reporter import Reporter
from p2pfl.daemon.retention import forget
from p2pfl.daemon.sentences import describe_change
from p2pfl.daemon.service import Service, why_no_member
from p2pfl.daemon.task_in_hand import TaskInHand
from p2pfl.group.agreed import Agreed
from p2pfl.group.lossy import Lossy
from p2pfl.group.tripwire import Tripwire
from p2pfl.learner.learner import Learner
from p2pfl.store.journal import Store
from p2pfl.store.journal_file import Records
from p2pfl.store.keys import PeerKeys
from p2pfl_crypto.identity import PeerId, public_key_of
from p2pfl_gossip.actions import Job, Vector
from p2pfl_gossip.description import DESCRIPTION_RECORD, Difference, decode_page
from p2pfl_gossip.ledger.charter import Epoch
from p2pfl_gossip.ledger.history import FOUNDING_RECORD, History, founding_record
from p2pfl_gossip.ledger.standing import Standing as LedgerStanding
from p2pfl_gossip.records import MalformedFrame, Record

if sys.platform == "win32":
    from asyncio import new_event_loop
else:
    from uvloop import new_event_loop


def run_peer(
    folder: PeerFolder,
    config: PeerConfig,
    keys: PeerKeys,
    *,
    until_eof: bool = False,
    draws: str | None = None,
) -> None:
    """Run a peer until it is stopped, by its control socket, SIGTERM or SIGINT.

    Args:
        folder: the peer's.
        config: its settings.
        keys: its identity.
        until_eof: whether the end of standard input, a pipe, stops it as well.
        draws: see `make_group_member`; given by a launcher of trials only.

    Raises:
        ServiceError, ControlError: it cannot run as it is set up.
        PaperError, LearningError, AveragingError: the charter or its task is at fault.
        StoreError: the journal cannot be opened, is damaged, or fails.
        RunsTwice: another process has its key, and began earlier.
        OSError: the log cannot be written.
    """
    require_short(folder.control)
    if draws is not None and config.trial is None:
        raise ServiceError("draws of training are given in trials only: leave --draws out")
    if not folder.has_charters():
        raise ServiceError(NO_CHARTER.format(folder=folder.charters))
    papers = Papers(folder.charters)
    papers.read()
    run = _run_network if papers.founding().is_network else _run_group
    run(folder, config, keys, papers, until_eof=until_eof, draws=draws)


def _run_network(
    folder: PeerFolder,
    config: PeerConfig,
    keys: PeerKeys,
    papers: Papers,
    *,
    until_eof: bool,
    draws: str | None,
) -> None:
    file, own, trial = papers.founding(), keys.identity.peer_id, config.trial
    if not papers.names(own):
        raise ServiceError(
            f"the charter in {papers.path} does not name this peer, {own}: a network's members are"
            " its founders; found a new one with this peer's card (p2pfl charter card)"
        )
    initial = _first_state(papers, file)
    with Store.open(folder.journal) as store:
        records = store.records()
        _require_group(file.digest, records, folder)
        task = TaskInHand(folder, config)
        task.want(file)
        learner, place = task.learner()
        _require_description_of(learner, records, folder)
        del records  # A model, perhaps; the driver reads its own.
        directory = Directory(agreed_in(file, config), file.digest, own, config.reached)
        seed = agreed_draw(file.digest) if trial is None else bytes.fromhex(trial.draw_seed)
        machine = make_network_peer(
            directory.agreed,
            file.digest,
            keys.identity,
            learner,
            initial,
            draw_seed=seed,
            draws=draws,
        )

        def serve(reporter: Reporter) -> Service:
            reporter.lossy = Lossy(learner, directory.agreed.averaging)
            reporter.tripwire = Tripwire()
            tell_full_batch(reporter, directory.agreed, learner.sample_count(place))
            service = Service(folder, config, keys, directory, machine, reporter)
            chosen = Chosen(learner, place, folder.chosen)
            service.gain = OwnGain(learner, place, folder.baseline, chosen)
            task.note = service.gain.note
            return service

        _serve(folder, config, directory, store, serve, task.work, until_eof=until_eof)


def _run_group(
    folder: PeerFolder,
    config: PeerConfig,
    keys: PeerKeys,
    papers: Papers,
    *,
    until_eof: bool,
    draws: str | None,
) -> None:
    own, file = keys.identity.peer_id, papers.founding()
    founding = Epoch.founded(file.charter)
    initial = _first_state(papers, file)
    invitation = _invitation(papers, founding, own)
    with Store.open(folder.journal) as store:
        records = store.records()
        _require_group(founding.group, records, folder)
        history = require_ledger(founding, records, folder)
        present = papers.files.get(history.epoch.digest)
        require_place(papers, own, history)
        if present is not None:
            days = present.terms.retention_days
            store.persist(forget(folder.path, history, records, days, datetime.now(UTC)))
        del records
        # Until the machine has begun, and its papers are looked at: those of the charter in force,
        # or, for who is still to join, of the newest that names it.
        shown = present or file
        if history.epoch.rank_of(own) is None:
            shown = next((it for it in papers.files.values() if _names(it, own)), shown)
        agreed = agreed_in(shown, config)
        task = TaskInHand(folder, config)
        task.want(present)
        if present is not None and not task.fault(present):
            task.learner()  # Here it shows if the data are not there, before anything runs.
        machine = make_group_member(
            founding, keys.identity, initial, agreed, invitation=invitation, draws=draws
        )
        directory = Directory(agreed, founding.group, own, config.reached)

        def serve(reporter: Reporter) -> Service:
            service = Service(folder, config, keys, directory, machine, reporter)
            reporter.is_private = file.charter.privacy is not None
            if not reporter.is_private:
                reporter.tripwire = Tripwire()
            service.chartering = Chartering(machine, papers, task, directory, reporter, config)

            def take(learner: Learner, place: int) -> None:
                chosen = None
                # What is cut of own updates tells of them, and which round is best of rows.
                if not reporter.is_private:
                    reporter.lossy = Lossy(learner, directory.agreed.averaging)
                    tell_full_batch(reporter, directory.agreed, learner.sample_count(place))
                    chosen = Chosen(learner, place, folder.chosen)
                service.gain = OwnGain(learner, place, folder.baseline, chosen)
                task.note = service.gain.note

            if task.made is not None:
                take(*task.made)
            task.listeners.append(take)
            return service

        _serve(folder, config, directory, store, serve, task.work, until_eof=until_eof)


def tell_full_batch(reporter: Reporter, agreed: Agreed, rows: int) -> None:
    """Warn the operator where this peer draws nothing of what it trains on, and masks are on."""
    training = agreed.learning.training
    if not agreed.hides_models or not training.are_all_full([rows]):
        return
    reporter.tell(
        "full_batch",
        f"each step takes all {rows} rows of this peer (batch_size {training.batch_size}): where"
        " all members do so, two rounds that differ by one member give its update away; ask the"
        " members for a smaller batch_size, or for privacy",
        level=logging.WARNING,
    )


def _first_state(papers: Papers, file: CharterFile) -> Vector:
    """Return the model of the first state, float32[d].

    Raises:
        ServiceError: it is not here.
    """
    initial = papers.first_state(file.charter.state[0])
    if initial is None:
        raise ServiceError(
            f"the first state that the founding charter names is not in {papers.path}: put the"
            " file there that p2pfl task begin wrote for the founders"
        )
    return initial


def _serve(
    folder: PeerFolder,
    config: PeerConfig,
    directory: Directory,
    store: Store,
    make_service: Callable[[Reporter], Service],
    work: Callable[[Job], Record],
    *,
    until_eof: bool,
) -> None:
    """Run the event loop until the peer has stopped."""
    log = open_log(folder.log, level=config.log_level)
    store.persist({GROUP_RECORD: directory.group_id})
    reporter = Reporter(log, directory.names)
    switch_interval_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(make_service(reporter).run(store, work, until_eof=until_eof))
    except Exception as error:
        reporter.tell(FAILED, f"cannot go on: {error}", level=logging.CRITICAL)
        raise
    finally:
        sys.setswitchinterval(switch_interval_s)
        close_log(log)


def _invitation(papers: Papers, founding: Epoch, own: PeerId) -> bytes | None:
    """Return what a peer that is no founder was invited to.

    Raises:
        ServiceError: it has no invitation, or one to another group.
    """
    if founding.rank_of(own) is not None:
        return None
    if not papers.names(own):
        raise ServiceError(
            f"no charter in {papers.path} names this peer, {own}: hand your card"
            " (p2pfl charter card) to a member, and put the charter here that admits you"
        )
    invitation = papers.invitation()
    if invitation is None:
        raise ServiceError(
            f"this peer joins a group that is there already, and {papers.path} has no invitation:"
            " a member writes one (p2pfl charter invite); take it with p2pfl charter join"
        )
    if invitation.group != founding.group.hex():
        raise ServiceError(
            f"the invitation is to group {invitation.group[:16]}, the founding charter of group"
            f" {founding.group.hex()[:16]}: take the other one out of {papers.path}"
        )
    return invitation.digest


def _names(file: CharterFile, own: PeerId) -> bool:
    return any(it.key == public_key_of(own) for it in file.charter.members)


def require_place(papers: Papers, own: PeerId, history: History) -> None:
    """Refuse to start where the charter in force has left us out, and none here takes us in.

    Raises:
        ServiceError: so it is.
    """
    if history.epoch.rank_of(own) is not None:
        return
    was_member = any(epoch.rank_of(own) is not None for epoch in history.epochs)
    known = {epoch.digest for epoch in history.epochs}
    is_named = any(
        _names(file, own) for digest, file in papers.files.items() if digest not in known
    )
    if was_member and not is_named:
        raise ServiceError(why_no_member(history))


def _require_group(ours: bytes, records: Records, folder: PeerFolder) -> None:
    found = records.get(GROUP_RECORD)
    if found not in (None, ours):
        told = found.hex()[:16] if isinstance(found, bytes) else "?"
        raise ServiceError(
            f"{folder.journal} is of group {told}, the papers of group {ours.hex()[:16]}: put those"
            " of that group back, or move the journal away to begin anew"
        )


def _require_description_of(learner: Learner, records: Records, folder: PeerFolder) -> None:
    """Refuse a task that was changed since the network opened: the others have it as it was."""
    kept = records.get(DESCRIPTION_RECORD)
    if kept is None and "draw_seed" not in records:
        return  # It has not opened.
    if not isinstance(kept, bytes):
        raise ServiceError(
            f"{folder.journal} is of an older version of p2pfl: go on with that version, or move"
            " the journal away to begin anew"
        )
    page = decode_page(kept)
    if page == learner.description.page(0):
        return  # `compare` is for descriptions whose digests differ.
    found = learner.description.compare(page)
    if isinstance(found, int):  # Beyond the tensors that are kept.
        found = Difference("layout")
    if found is not None:
        raise ServiceError(
            f"the task has changed since the network opened: {describe_change(found)}; put it back"
            f" as it was, or move {folder.journal} away to begin anew"
        )


def require_ledger(founding: Epoch, records: Records, folder: PeerFolder) -> History:
    """Return the history that a journal has; refuse one that cannot be read.

    Raises:
        ServiceError: it is of another group or version.
    """
    if records.get(FOUNDING_RECORD) not in (None, founding_record(founding)[FOUNDING_RECORD]):
        raise ServiceError(
            f"the ledger in {folder.journal} is of another group than its papers found: put them"
            " back as they were, or move the journal away to begin anew"
        )
    try:
        standing = LedgerStanding(dict(records))
        return History.restored(founding, dict(records), standing.record.head)
    except MalformedFrame as error:
        raise ServiceError(
            f"the ledger in {folder.journal} cannot be read ({error}): go on with the version of"
            " p2pfl that wrote it, or move the journal away to begin anew"
        ) from None
