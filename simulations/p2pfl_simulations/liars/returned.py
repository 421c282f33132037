"""What a strategy returns, checked: an own one may return anything."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar, get_args

from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.actions import Action, Send, SendBulk
from p2pfl_gossip.records import Message, Record

_ACTIONS = get_args(Action)
_R = TypeVar("_R")


def actions_of(
    call: Callable[..., Sequence[Action]], *given: Any, peers: Collection[PeerId]
) -> list[Action]:
    """Ask a strategy for actions.

    Raises:
        ValueError: it returned something else, or sends to somebody who is no peer.
    """
    return checked_actions(call(*given), peers, f"its {call.__name__} returned", _place(call))


def checked_actions(
    found: Any, peers: Collection[PeerId], told: str, place: str = ""
) -> list[Action]:
    """Return actions as a list; ValueError, which begins with `told`, if they are none."""
    if not isinstance(found, Iterable):
        raise ValueError(f"{told} {_kind(found)}; give a list of actions{place}")
    actions: list[Action] = []
    for action in found:
        if not isinstance(action, _ACTIONS):
            raise ValueError(f"{told} {_kind(action)} among actions{place}")
        if isinstance(action, (Send, SendBulk)) and action.receiver not in peers:
            raise ValueError(
                f"{told} what goes to {action.receiver!r}, which is no peer; use"
                f" self.me.send(index, message){place}"
            )
        actions.append(action)
    return actions


def message_of(call: Callable[..., Message | None], *given: Any) -> Message | None:
    """Ask a strategy what is heard; raises ValueError if it is no message."""
    found: Any = call(*given)
    if found is None or isinstance(found, Message):
        return found
    raise ValueError(
        f"its {call.__name__} returned {_kind(found)}; give a message or None{_place(call)}"
    )


def record_of(call: Callable[..., Record], *given: Any) -> Record:
    """Ask a strategy for a job's result; raises ValueError if it is none."""
    found: Any = call(*given)
    if isinstance(found, Record):
        return found
    raise ValueError(f"its {call.__name__} returned {_kind(found)}; give a result{_place(call)}")


def _kind(found: Any) -> str:
    return "None" if found is None else f"a {type(found).__name__}"


def _place(call: Callable[..., Any]) -> str:
    """Name where a method begins: what it returned is seen once it has ended."""
    code = getattr(call, "__code__", None)
    return "" if code is None else f" ({code.co_filename}, line {code.co_firstlineno})"
