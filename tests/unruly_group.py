"""A group of real machines, and a driver that keeps its promises as late and badly as it may.

What it was asked for ends in any order, between any two inputs. It answers what was cancelled,
and answers twice. Frames and bodies are lost, links break, jobs fail, disks take their time,
processes die between two actions and come back with what they had persisted. Time is virtual, and a
seed draws everything.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from p2pfl_gossip.actions import (
    Action,
    CancelSend,
    CancelTimer,
    CancelWork,
    Command,
    Disconnect,
    Job,
    PeerId,
    Persist,
    RemoteProtocolError,
    Report,
    Send,
    SendBulk,
    SetTimer,
    Work,
)
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.inbound import BODIES_PER_SENDER_MAX
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained
from p2pfl_gossip.ledger.jobs import perform
from p2pfl_gossip.records import Message, Record

LATE = 0.15
"""Share of the steps at which something is answered too late, or twice."""

CHUNK_BYTES = 48


@dataclass
class Frame:
    """On its way to a process; lost with it."""

    sender: int
    receiver: int
    life: int
    message: Message


@dataclass
class Body:
    """On its way: the header first, then its content in pieces, then the end."""

    sender: int
    receiver: int
    life: int
    header: Message
    content: bytes
    ticket: int | None = None
    bulk: int = 0
    at: int = -1  # Bytes that have arrived; -1 before the header.


@dataclass
class Down:
    """A link that broke, which its end is still to be told."""

    teller: int
    life: int
    other: PeerId


@dataclass
class Asked:
    """Something with a ticket that is to be answered, or was."""

    owner: int
    life: int
    ticket: int
    kind: str
    at_s: float = 0.0
    job: Job | None = None
    result: Record | None = None
    records: dict[str, Any] | None = None
    is_answered: bool = False


class Process:
    """One life after another of a member's machine."""

    def __init__(self) -> None:
        self.machine: Any = None
        self.life = 0
        self.records: dict[str, Any] = {}
        self.open: dict[int, Asked] = {}
        self.over: list[Asked] = []  # Cancelled or answered, in this life.
        self.writing: Asked | None = None  # What the disk is busy with.
        self.waiting: list[Action] = []  # Behind it.

    @property
    def desk(self) -> Desk:
        desk: Desk = self.machine._desk
        return desk

    @property
    def under_way(self) -> list[Asked]:
        """All that is to be told of at some time."""
        return [*self.open.values(), *([self.writing] if self.writing else [])]

    def keep(self, records: dict[str, Any]) -> None:
        """Make records durable."""
        self.records.update(records)
        for key in [key for key, value in records.items() if value is None]:
            del self.records[key]


class UnrulyGroup:
    """Members whose machines `make(index)` makes, for each life anew.

    Args:
        ids: of the members.
        make: makes a machine with the inputs of `Machine`.
        seed: draws all that happens.
        haste: share of the steps at which a timer is due though others have yet to speak.
        loss: share of the frames and bodies that are lost, while the driver is unruly.
        crashes: share of the actions before which a process dies, while the driver is unruly.
        slow_disks: share of the `Persist`s that take time, while the driver is unruly.
        failing: jobs that can fail; a machine may hold that others cannot.
    """

    def __init__(
        self,
        ids: tuple[PeerId, ...],
        make: Callable[[int], Any],
        *,
        seed: str,
        haste: float = 0.02,
        loss: float = 0.0,
        crashes: float = 0.0,
        slow_disks: float = 0.0,
        failing: tuple[type[Job], ...] = (Job,),
    ) -> None:
        self.ids, self.make, self.random = ids, make, Random(seed)
        self.haste, self.loss, self.crashes = haste, loss, crashes
        self.slow_disks, self.failing = slow_disks, failing
        self.now_s = 0.0
        self.processes = [Process() for _ in ids]
        self.travelling: list[Frame | Body | Down] = []
        self.reported: list[list[Any]] = [[] for _ in ids]
        self.refusals: list[str] = []
        self.dropped: Counter[str] = Counter()  # Answers that came too late, by kind.
        self._bulks = 0

    # --- running --------------------------------------------------------------------------------

    def start(self) -> None:
        for index in range(len(self.ids)):
            self._start(index)

    def be_unruly(self, steps: int) -> None:
        """Do so many steps, each drawn."""
        for _ in range(steps):
            self._step()
            self._check()

    def be_orderly(self, is_over: Callable[[], bool], *, steps_max: int) -> bool:
        """Keep every promise at once; return whether it comes to the end."""
        self.loss = self.crashes = self.slow_disks = 0.0
        for _ in range(steps_max):
            if is_over():
                return True
            self._next()
            self._check()
        return False

    def command(self, index: int, command: Command) -> None:
        self._tell(index, "on_command", command)

    def _start(self, index: int) -> None:
        process = self.processes[index]
        process.machine = self.make(index)
        process.life += 1
        if process.writing is not None and self.random.random() < 0.5:
            assert process.writing.records is not None
            process.keep(process.writing.records)  # Whole, or not at all.
        process.writing = None
        for held in (process.open, process.over, process.waiting):
            held.clear()
        self._tell(index, "on_start", dict(process.records))

    def _step(self) -> None:
        draw = self.random.random()
        index = self.random.randrange(len(self.ids))
        process = self.processes[index]
        if draw < LATE:
            wants_cancelled = self.random.random() < 0.5
            over = [asked for asked in process.over if asked.is_answered != wants_cancelled]
            if over:
                self.answer_again(self.random.choice(over))
        elif draw < LATE + 0.02:
            self._break(index, self.random.randrange(len(self.ids)))
        elif draw < LATE + 0.03:
            self.command(index, self.random.choice([Command.PAUSE, Command.RESUME]))
        elif self.random.random() < self.haste and process.under_way:
            # A timer as a rule, and the earliest: all the rest is told below too.
            asked = process.under_way
            is_earliest = self.random.random() < 0.8
            self._answer(
                min(asked, key=lambda each: (each.kind != "timer", each.at_s))
                if is_earliest
                else self.random.choice(asked)
            )
        else:
            ending = [each for process in self.processes for each in process.under_way]
            ending = [each for each in ending if each.kind != "timer"]
            place = self._place(len(ending) + len(self.travelling) or 1)
            if place < len(self.travelling):
                self._arrive(self.travelling.pop(place))
            elif place - len(self.travelling) < len(ending):
                self._answer(self.random.choice(ending))
            else:
                self._next()

    def _place(self, count: int) -> int:
        """Any place, one of the first most often, so that sessions come to something."""
        return self.random.randrange(count if self.random.random() < 0.2 else min(count, 4))

    def _next(self) -> None:
        """What arrives, then what ends, then the earliest timer."""
        if self.travelling:
            self._arrive(self.travelling.pop(0))
            return
        asked = [asked for process in self.processes for asked in process.under_way]
        ending = [each for each in asked if each.kind != "timer"]
        if ending:
            self._answer(ending[0])
        elif asked:
            self._answer(min(asked, key=lambda each: each.at_s))

    def _check(self) -> None:
        """What a machine waits for, its driver has to tell, and the other way round."""
        for process in self.processes:
            at_desk, here = process.desk.open, dict(process.open)
            here |= {each.ticket: each for each in map(self._asked, process.waiting) if each}
            owed = {ticket for ticket, asked in here.items() if asked.kind != "sent"}
            assert owed <= set(at_desk), "the driver was asked for something that nobody awaits"
            assert set(at_desk) <= set(here), "a machine waits for what will never be told"

    # --- inputs ---------------------------------------------------------------------------------

    def _tell(self, index: int, name: str, *arguments: Any) -> Any:
        """Call an input; what it wants is done, as far as the process lives."""
        machine = self.processes[index].machine
        try:
            told = getattr(machine, name)(self.now_s, *arguments)
        except RemoteProtocolError as error:
            assert name in ("on_message", "on_bulk_begin", "on_bulk_chunk", "on_bulk_end"), name
            self.refusals.append(error.reason)
            self._break(index, self.ids.index(arguments[0]))
            return None
        is_wanted, actions = told if name == "on_bulk_begin" else (True, told)
        self._perform(index, actions)
        return is_wanted

    def _answer(self, asked: Asked) -> None:
        """Answer what is open."""
        process = self.processes[asked.owner]
        if asked.records is not None:
            process.keep(asked.records)
            process.writing, waiting, process.waiting = None, process.waiting, []
            self._perform(asked.owner, waiting)
            return
        del process.open[asked.ticket]
        process.over.append(asked)
        asked.is_answered = True
        self.now_s = max(self.now_s, asked.at_s)
        match asked.kind:
            case "timer":
                self._tell(asked.owner, "on_timer", asked.ticket)
            case "sent":
                self._tell(asked.owner, "on_sent", asked.ticket, self.random.random() < 0.9)
            case _ if isinstance(asked.job, self.failing) and self.random.random() < self.loss / 4:
                self._tell(asked.owner, "on_work_failed", asked.ticket, "of bad luck")
            case _:
                self._tell(asked.owner, "on_work_done", asked.ticket, asked.result)

    def answer_again(self, asked: Asked) -> None:
        """Answer what was cancelled, or was answered before: nothing may come of it."""
        machine = self.processes[asked.owner].machine
        before = self.processes[asked.owner].desk.open
        match asked.kind:
            case "timer":
                actions = machine.on_timer(self.now_s, asked.ticket)
            case "sent":
                actions = machine.on_sent(self.now_s, asked.ticket, True)
            case _:
                actions = machine.on_work_part(self.now_s, asked.ticket, asked)
                actions += machine.on_work_failed(self.now_s, asked.ticket, "late")
                actions += machine.on_work_done(self.now_s, asked.ticket, asked.result)
        assert actions == []
        assert self.processes[asked.owner].desk.open == before
        self.dropped[f"{asked.kind} {'answered' if asked.is_answered else 'cancelled'}"] += 1

    def _arrive(self, item: Frame | Body | Down) -> None:
        match item:
            case Down(teller, life, other):
                if self.processes[teller].life == life:
                    self._tell(teller, "on_peer_down", other)
            case Frame(sender, receiver, life, message):
                if self.processes[receiver].life == life and self.random.random() >= self.loss:
                    self._tell(receiver, "on_message", self.ids[sender], message)
            case Body(sender, receiver, life):
                if self.processes[receiver].life == life and self._arrive_more(item):
                    self.travelling.insert(self._place(len(self.travelling) + 1), item)

    def _arrive_more(self, body: Body) -> bool:
        """Let more of a body arrive; return whether it goes on."""
        peer, receiver = self.ids[body.sender], body.receiver
        if body.at < 0 and self._arriving(body) >= BODIES_PER_SENDER_MAX:
            return True  # It waits, as it does in a daemon's window.
        if body.at < 0:
            if self.random.random() < self.loss:
                return False
            self._bulks += 1
            body.bulk, body.at = self._bulks, 0
            return bool(self._tell(receiver, "on_bulk_begin", peer, body.bulk, body.header))
        if self.random.random() < self.loss:
            self._tell(receiver, "on_bulk_lost", peer, body.bulk)
            return False
        if body.at < len(body.content):
            chunk = body.content[body.at : body.at + CHUNK_BYTES]
            body.at += len(chunk)
            return bool(self._tell(receiver, "on_bulk_chunk", peer, body.bulk, chunk))
        self._tell(receiver, "on_bulk_end", peer, body.bulk, None)
        return False

    def _arriving(self, body: Body) -> int:
        """Count the bodies that a sender has under way to a receiver."""
        ends = (body.sender, body.receiver)
        bodies = (it for it in self.travelling if isinstance(it, Body) and it.at >= 0)
        return sum((it.sender, it.receiver) == ends for it in bodies)

    def _break(self, one: int, other: int) -> None:
        """Break a link: what is on it is lost, and both ends are told at some time."""
        if one == other:
            return
        ends = {one, other}
        kept: list[Frame | Body | Down] = []
        lost: list[Body] = []
        for item in self.travelling:
            if isinstance(item, Down) or {item.sender, item.receiver} != ends:
                kept.append(item)
            elif isinstance(item, Body):
                lost.append(item)
        self.travelling = kept
        for teller, gone in ((one, other), (other, one)):
            down = Down(teller, self.processes[teller].life, self.ids[gone])
            self.travelling.insert(self._place(len(self.travelling) + 1), down)
        for body in lost:
            self._lose(body)

    def _lose(self, body: Body) -> None:
        """Tell its receiver of a body that comes no further, if it has begun."""
        if body.at >= 0 and self.processes[body.receiver].life == body.life:
            self._tell(body.receiver, "on_bulk_lost", self.ids[body.sender], body.bulk)

    # --- actions --------------------------------------------------------------------------------

    def _perform(self, index: int, actions: list[Action]) -> None:
        process = self.processes[index]
        life = process.life
        for action in actions:
            if self.random.random() < self.crashes:
                self._crash(index)
            if process.life != life:
                return  # It died here, or of what came of an action.
            if process.writing is None:
                self._do(index, action)
            elif isinstance(action, CancelTimer | CancelWork | CancelSend):
                self._cancel(index, action)
            else:
                process.waiting.append(action)

    def _crash(self, index: int) -> None:
        for other in range(len(self.ids)):
            if other != index:
                self._break(index, other)
        self._start(index)

    def _do(self, index: int, action: Action) -> None:
        process = self.processes[index]
        asked = self._asked(action, index)
        if asked is not None:
            assert asked.ticket not in process.open
            process.open[asked.ticket] = asked
        match action:
            case Send(receiver, message, None):
                to = self.ids.index(receiver)
                self._travel(Frame(index, to, self.processes[to].life, message))
            case SendBulk(receiver, header, parts, size_bytes):
                content = b"".join(bytes(memoryview(part).cast("B")) for part in parts)  # type: ignore[arg-type]
                assert len(content) == size_bytes
                to = self.ids.index(receiver)
                life = self.processes[to].life
                self._travel(Body(index, to, life, header, content, action.ticket))
            case SetTimer():
                pass
            case Work(_, job):
                assert asked is not None
                asked.result = self._result(job)
            case CancelTimer() | CancelWork() | CancelSend():
                self._cancel(index, action)
            case Persist(records):
                if self.random.random() < self.slow_disks:
                    process.writing = Asked(index, process.life, 0, "disk", records=records)
                else:
                    process.keep(records)
            case Disconnect(peer, reason):
                self.refusals.append(reason)
                self._break(index, self.ids.index(peer))
            case Report(event):
                self.reported[index].append(event)
            case _:
                raise AssertionError(action)

    def _asked(self, action: Action, index: int = 0) -> Asked | None:
        """Return what is to be told of an action at some time, if anything."""
        life = self.processes[index].life
        match action:
            case SetTimer(ticket, at_s):
                return Asked(index, life, ticket, "timer", at_s=at_s)
            case Work(ticket, job):
                return Asked(index, life, ticket, "job", job=job)
            case SendBulk() if action.ticket is not None:
                return Asked(index, life, action.ticket, "sent")
        return None

    def _cancel(self, index: int, action: CancelTimer | CancelWork | CancelSend) -> None:
        """Forget what is open, or what waits: an answer and its cancel never cross."""
        process, ticket = self.processes[index], action.ticket
        for place, waits in enumerate(process.waiting):
            asked = self._asked(waits, index)
            if asked is not None and asked.ticket == ticket:
                del process.waiting[place]
                process.open[ticket] = asked
                break
        if not isinstance(action, CancelSend):
            process.over.append(process.open.pop(ticket))
        elif ticket in process.open and self.random.random() < 0.8:
            # Else all of it has left. Its end is told in any case.
            for body in [it for it in self.travelling if isinstance(it, Body)]:
                if (body.sender, body.ticket) == (index, ticket):
                    self.travelling.remove(body)
                    self._lose(body)

    def _travel(self, item: Frame | Body) -> None:
        self.travelling.append(item)

    def _result(self, job: Job) -> Record:
        match job:
            case Train(round_, vector):
                trained = vector + np.float32(1 + round_ % 3)
                trained.flags.writeable = False
                return Trained(trained, 1, 0.5)
            case Evaluate():
                return Evaluated({"accuracy": 0.5, "loss": 1.0})
        return perform(job)
