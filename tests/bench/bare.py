# SPDX-License-Identifier: GPL-2.0-or-later
"""The bare protocol: signs in, sends commands one after the other, reads the answers to nothing. The floor.

Reads a job from standard input as JSON, prints the outcome as JSON. A job: {port, ca_file, user, password,
before: [command…], lanes: [[command…]…]}. `before` runs on the first connection; then each lane on a connection of its
own, the first lane on the first connection. {seconds, bytes, commands: seconds of each of `before`}: time runs from the
first connect to the last tagged answer, and includes TLS and signing in.
"""

import base64
import json
import socket
import ssl
import sys
import threading
import time

BUFFER_BYTES = 1 << 18


class Session:
    def __init__(self, job):
        plain = socket.create_connection(("127.0.0.1", job["port"]))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = ssl.create_default_context(cafile=job["ca_file"])
        self._stream = context.wrap_socket(plain, server_hostname="127.0.0.1")
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._tags = 0
        self.bytes = 0
        self._read_until(b"* OK", b"\r\n")
        response = base64.b64encode(f"\0{job['user']}\0{job['password']}".encode()).decode()
        self.command(f"AUTHENTICATE PLAIN {response}")

    def command(self, text):
        self._tags += 1
        tag = b"bare%d " % self._tags
        self._stream.sendall(tag + text.encode() + b"\r\n")
        # Mail of the bench never holds such a line.
        status = self._read_until(b"\r\n" + tag, b"\r\n")
        if not status.startswith(b"OK"):
            raise SystemExit(f"{text.split()[0]}: {status.decode(errors='replace')}")

    def _read_until(self, mark, end):
        """Reads to nothing up to the line that begins with `mark`; returns the rest of that line."""
        buffer, view, keep = self._buffer, self._view, len(mark) - 1
        # A line's end goes before the first line, too.
        kept = 2
        buffer[:2] = b"\r\n"
        while True:
            got = self._stream.recv_into(view[kept:])
            if not got:
                raise SystemExit("the server closed the connection")
            self.bytes += got
            filled = kept + got
            at = buffer.find(mark, 0, filled)
            if at >= 0:
                break
            kept = min(filled, keep)
            buffer[:kept] = buffer[filled - kept:filled]
        line = bytes(buffer[at + len(mark):filled])
        while not line.endswith(end):
            more = self._stream.recv(4096)
            if not more:
                raise SystemExit("the server closed the connection")
            self.bytes += len(more)
            line += more
        return line

    def close(self):
        self._stream.close()


def run(job):
    begin = time.perf_counter()
    first = Session(job)
    each = []
    for text in job["before"]:
        start = time.perf_counter()
        first.command(text)
        each.append(time.perf_counter() - start)
    sessions, failures = [first], []

    def lane(number, commands):
        try:
            session = first if number == 0 else Session(job)
            if number:
                sessions.append(session)
            for text in commands:
                session.command(text)
        except SystemExit as error:
            failures.append(str(error))

    threads = [threading.Thread(target=lane, args=pair) for pair in enumerate(job["lanes"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    if failures:
        raise SystemExit(failures[0])
    for session in sessions:
        session.close()
    return {"seconds": seconds, "bytes": sum(session.bytes for session in sessions), "commands": each}


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
