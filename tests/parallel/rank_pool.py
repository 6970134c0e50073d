"""Processes that form a group of ranks, and run what a test asks for on all of them at once."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import socket
import traceback
import warnings
from datetime import timedelta

TIMEOUT = 20.0


class Pool:
    """A group of ranks: ``run(function, *arguments)`` calls a module's function on each, and returns their results."""

    def __init__(self, size: int, timeout: float = TIMEOUT) -> None:
        context = multiprocessing.get_context("forkserver")
        # Imported once, by the process that all ranks are forked from.
        context.set_forkserver_preload(["crossent.torch.parallel", "crossent.reference"])
        port = free_port()
        self.size, self.connections, self.processes = size, [], []
        for rank in range(size):
            here, there = context.Pipe()
            process = context.Process(target=serve, args=(there, rank, size, port, timeout), daemon=True)
            process.start()
            there.close()
            self.connections.append(here)
            self.processes.append(process)

    def run(self, function, *arguments, timeout=90.0):
        for connection in self.connections:
            connection.send((function, arguments))
        answers = []
        for rank, connection in enumerate(self.connections):
            if not connection.poll(timeout):
                raise TimeoutError(f"rank {rank} of {self.size} has not answered within {timeout} s")
            answers.append(connection.recv())
        raised = [
            f"rank {rank} of {self.size}:\n{text}" for rank, (kind, text) in enumerate(answers) if kind == "raised"
        ]
        assert not raised, "\n".join(raised)
        return [result for _, result in answers]

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
        for process in self.processes:
            process.join(5)
            if process.is_alive():
                process.kill()


class Pools:
    """One pool for each size, started when it is first asked for."""

    def __init__(self) -> None:
        self._pools: dict[int, Pool] = {}

    def __getitem__(self, size: int) -> Pool:
        if size not in self._pools:
            self._pools[size] = Pool(size)
        return self._pools[size]

    def __enter__(self) -> Pools:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in self._pools.values():
            pool.close()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def serve(connection, rank, size, port, timeout) -> None:
    import torch
    import torch.distributed as dist

    faulthandler.enable()
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(size))
    dist.init_process_group("gloo", timeout=timedelta(seconds=timeout))
    try:
        while True:
            try:
                function, arguments = connection.recv()
            except EOFError:
                break
            try:
                answer = ("returned", function(*arguments))
            except Exception:
                answer = ("raised", traceback.format_exc())
            connection.send(answer)
    finally:
        dist.destroy_process_group()
