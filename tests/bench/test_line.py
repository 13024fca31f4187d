# SPDX-License-Identifier: GPL-2.0-or-later
"""The line does what it says: python3 test_line.py BENCH_LINE"""

import contextlib
import hashlib
import pathlib
import random
import socket
import subprocess
import sys
import threading
import time
import unittest

BINARY = pathlib.Path(sys.argv[-1])
RTT_S = 0.04
# What a busy machine may add.
LATE_S = 0.03
LIMIT_S = 30


class Echo(threading.Thread):
    """Sends back what it gets, up to the end; then it ends, too."""

    def __init__(self):
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    @staticmethod
    def _serve(peer):
        with contextlib.suppress(OSError), peer:
            while data := peer.recv(1 << 16):
                peer.sendall(data)

    def close(self):
        self._listener.close()


class LineTest(unittest.TestCase):
    @contextlib.contextmanager
    def line(self, rtt_s=0.0, bits_per_s=0.0):
        echo = Echo()
        try:
            with self.line_to(echo.port, rtt_s, bits_per_s) as port:
                yield port
        finally:
            echo.close()

    @contextlib.contextmanager
    def line_to(self, port, rtt_s=0.0, bits_per_s=0.0):
        with subprocess.Popen([BINARY, str(port), str(rtt_s * 1000), str(bits_per_s)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as process:
            try:
                yield int(process.stdout.readline())
            finally:
                process.stdin.close()
                self.assertEqual(process.wait(LIMIT_S), 0)

    @contextlib.contextmanager
    def connected(self, port):
        with socket.create_connection(("127.0.0.1", port), LIMIT_S) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield client

    @staticmethod
    def exchange(client, data):
        """What comes back of it, to the end, and in how many seconds."""
        begin = time.monotonic()

        def send():
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        digest, size = hashlib.sha256(), 0
        while got := client.recv(1 << 16):
            digest.update(got)
            size += len(got)
        sender.join()
        return digest.digest(), size, time.monotonic() - begin

    def test_octets_come_through_as_they_are(self):
        data = random.Random(1).randbytes(12 << 20)
        with self.line(RTT_S) as port, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(self.connected(port)) for _ in range(3)]
            for client in clients:
                digest, size, _ = self.exchange(client, data)
                self.assertEqual((digest, size), (hashlib.sha256(data).digest(), len(data)))

    def test_a_round_trip_takes_what_was_asked_for(self):
        with self.line(RTT_S) as port, self.connected(port) as client:
            taken = []
            for _ in range(6):
                begin = time.monotonic()
                client.sendall(b"x")
                client.recv(1)
                taken.append(time.monotonic() - begin)
            # The first one has the handshake in it.
            self.assertGreaterEqual(taken[0], 2 * RTT_S)
            self.assertGreaterEqual(min(taken), RTT_S)
            self.assertLess(min(taken), RTT_S + LATE_S)

    def test_the_width_is_shared(self):
        data = random.Random(2).randbytes(1 << 20)
        bits_per_s = 40e6
        with self.line(0, bits_per_s) as port, self.connected(port) as one, self.connected(port) as other:
            results = []
            threads = [threading.Thread(target=lambda client=client: results.append(self.exchange(client, data)))
                       for client in (one, other)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual([size for _, size, _ in results], [len(data)] * 2)
        self.assertGreaterEqual(max(seconds for *_, seconds in results), 2 * len(data) * 8 / bits_per_s)

    def test_what_came_before_a_reset_arrives(self):
        sent = 300_000

        def serve(listener):
            with listener.accept()[0] as peer:
                peer.sendall(b"y" * sent)
                # What the client said is unread: this end resets the connection.

        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=serve, args=(listener,), daemon=True).start()
            with self.line_to(listener.getsockname()[1], RTT_S) as port, self.connected(port) as client:
                client.sendall(b"x" * 1000)
                got = 0
                while data := client.recv(1 << 16):
                    got += len(data)
        self.assertEqual(got, sent)

    def test_one_end_closes_and_the_other_goes_on(self):
        received = []

        def serve(listener):
            with listener.accept()[0] as peer:
                peer.shutdown(socket.SHUT_WR)
                while data := peer.recv(1 << 16):
                    received.append(len(data))

        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = threading.Thread(target=serve, args=(listener,), daemon=True)
            server.start()
            with self.line_to(listener.getsockname()[1], RTT_S) as port:
                with self.connected(port) as client:
                    self.assertEqual(client.recv(1), b"")
                    client.sendall(b"z" * 50_000)
                server.join(LIMIT_S)
        self.assertEqual(sum(received), 50_000)

    def test_nobody_at_the_other_end(self):
        with self.line() as port, self.connected(port) as first:
            first.sendall(b"x")
            self.assertEqual(first.recv(1), b"x")
            with subprocess.Popen([BINARY, "9", "0", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
                with self.connected(int(process.stdout.readline())) as client:
                    self.assertEqual(client.recv(1), b"")
                process.stdin.close()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
