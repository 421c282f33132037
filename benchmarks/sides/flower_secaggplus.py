"""One round of Flower's SecAgg+ in one process: its own client mod and its own server workflow.

    python flower_secaggplus.py \
        '{"clients": 100, "shares": 21, "threshold": 14, "dropped": 10, "entries": 1000000}'

Messages are handed over in memory, so that only the protocol's work is timed: a client's is what
`secaggplus_mod` takes, the server's is the rest of the workflow. Clients drop out where it costs
the most, after their shares were dealt and before their vectors came.
"""

import json
import logging
import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.client.mod import secaggplus_mod
from flwr.common import (
    Code,
    FitIns,
    FitRes,
    Status,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.compat.common import recorddict_compat as compat
from flwr.server.compat.legacy_context import LegacyContext
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.supercore.task_identity import TaskIdentity


class Proxy:
    """What the workflow wants of a client: its number."""

    def __init__(self, node_id: int) -> None:
        self.node_id = node_id


class AllClients(FedAvg):  # type: ignore[misc]  # It has no types here.
    """Takes all clients, and keeps the mean of the round."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.mean = count, np.zeros(0)

    def configure_fit(self, _round: int, parameters: Any, _manager: Any) -> list[Any]:
        return [(Proxy(i + 1), FitIns(parameters, {})) for i in range(self.count)]

    def aggregate_fit(self, _round: int, results: list[Any], _failures: Any) -> tuple[Any, Any]:
        (self.mean,) = parameters_to_ndarrays(results[0][1].parameters)
        return None, {}


class MemoryGrid:
    """Hands messages to clients one by one, and times what they do with them."""

    def __init__(self, vectors: list[Any], dropped: int) -> None:
        self._vectors, self._dropped = vectors, dropped
        self._contexts = [Context(1, i + 1, {}, RecordDict(), {}) for i in range(len(vectors))]
        self.client_s = [0.0] * len(vectors)
        self.in_clients_s = 0.0
        self.sent_bytes = [0] * len(vectors)

    def send_and_receive(self, messages: Iterable[Message], **_: Any) -> list[Message]:
        return [self._hand_over(message) for message in messages]

    def _hand_over(self, message: Message) -> Message:
        client = message.metadata.dst_node_id - 1
        stage = message.content.config_records[RECORD_KEY_CONFIGS][Key.STAGE]
        if stage == Stage.COLLECT_MASKED_VECTORS and client < self._dropped:
            return Message(Error(code=1, reason="gone"), reply_to=message)
        # A server's message is one object for all clients in its first stage: each gets its own.
        content = RecordDict(dict(message.content))
        content[RECORD_KEY_CONFIGS] = ConfigRecord(
            dict(message.content.config_records[RECORD_KEY_CONFIGS])
        )
        own = Message(content, client + 1, message.metadata.message_type)
        started = time.process_time()
        reply = secaggplus_mod(own, self._contexts[client], self._train)
        seconds = time.process_time() - started
        self.client_s[client] += seconds
        self.in_clients_s += seconds
        masked = reply.content.config_records[RECORD_KEY_CONFIGS].get(Key.MASKED_PARAMETERS, [])
        self.sent_bytes[client] += sum(len(part) for part in masked)
        return reply

    def _train(self, message: Message, _context: Context) -> Message:
        client = message.metadata.dst_node_id - 1
        parameters = ndarrays_to_parameters([self._vectors[client]])
        result = FitRes(Status(Code.OK, ""), parameters, num_examples=1, metrics={})
        return Message(compat.fitres_to_recorddict(result, True), reply_to=message)


def main() -> None:
    """Run one round as the JSON argument says; print figures as JSON."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
    spec = json.loads(sys.argv[1])
    clients, entries, dropped = spec["clients"], spec["entries"], spec["dropped"]
    values = np.random.default_rng(1).normal(0, 1, entries).astype(np.float32)
    strategy = AllClients(clients)
    grid = MemoryGrid([values] * clients, dropped)
    context = LegacyContext(Context(1, 0, {}, RecordDict(), {}), strategy=strategy)
    context.state[MAIN_CONFIGS_RECORD] = ConfigRecord({WorkflowKey.CURRENT_ROUND: 1})
    context.state[MAIN_PARAMS_RECORD] = compat.parameters_to_arrayrecord(
        ndarrays_to_parameters([values]), True
    )
    workflow = SecAggPlusWorkflow(
        spec["shares"], spec["threshold"], max_weight=1.0, clipping_range=8.0
    )
    started = time.process_time()
    workflow(grid, context)
    total_s = time.process_time() - started
    error = float(np.abs(strategy.mean - values).max()) if strategy.mean.size else None
    alive = sorted(grid.client_s[dropped:])
    figures = {
        "clients_s": grid.in_clients_s,
        "client_s": alive[len(alive) // 2],
        "server_s": total_s - grid.in_clients_s,
        "sent_mb": max(grid.sent_bytes) / 1e6,
        "error_max": error,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
