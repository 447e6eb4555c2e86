"""What the kernel knows of the connections of a process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time

import pytest

from foretoken.server.processes.connections import Connections, waiting


def test_those_that_wait_to_be_accepted_are_counted():
    with socket.create_server(("127.0.0.1", 0)) as listening, contextlib.ExitStack() as stack:
        assert waiting(listening) == 0
        for _ in range(3):
            stack.enter_context(socket.create_connection(listening.getsockname()))
        assert waiting(listening) == 3
        listening.accept()[0].close()
        assert waiting(listening) == 2


def test_who_has_come_is_accepted_before_nobody_else_is():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        accepted: list[socket.socket] = []

        def accept() -> None:
            time.sleep(0.2)  # as on a busy machine
            accepted.append(listening.accept()[0])

        with socket.create_connection(address) as came:
            accepting = threading.Thread(target=accept)
            accepting.start()
            assert asyncio.run(Connections(address[1]).refuse_new()) == 1
            accepting.join()
            accepted[0].sendall(b"served")
            assert came.recv(6) == b"served"
            accepted[0].close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=1)
