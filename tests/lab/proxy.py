# SPDX-License-Identifier: GPL-2.0-or-later
"""A proxy in front of an IMAP server: distance, bandwidth, faults, and (with TLS on both sides) lies.

    with Proxy(dovecot.port, rtt_ms=50, bits_per_s=20e6) as proxy:   # bytes pass as they are: TLS end to end
        proxy.port
        proxy.split_bytes = 1                      # what the client gets comes in pieces of at most so many
        proxy.counters.bytes_down, .bytes_up, .round_trips, .connections, .connections_now
        proxy.stall(); proxy.resume()              # silence on all connections, new ones too
        proxy.refuse(); proxy.listen()             # connection refused; the port is kept
        proxy.cut_all(reset=False)                 # FIN or RST, now
        proxy.lose_all()                           # those that stand are dead, and nobody is told; new ones live
        proxy.cut_next(after_bytes=5000)           # the next connection, that many bytes after its start
        proxy.faults = Faults(seed)                # see faults.py

    tls = ProxyTls(ca.server_context(certificate), ca.client_context())
    with Proxy(dovecot.port, tls=tls, rules=[rules.WrongSizes()]) as proxy:      # see rules.py

Without rules the TLS of the client reaches the server untouched. With `tls` the proxy ends it with its own
certificate and speaks TLS to the server again. `tls=None` with rules is for servers without TLS.

Half of the round trip is added each way, in order, also to the TCP handshake; the bandwidth is that of one
link shared by all connections, each way. A round trip is counted when a client speaks after it has heard.
Runs its own event loop in a thread; attributes may be changed while it runs. python3 -m lab proxy --help.
"""

import asyncio
import collections
import contextlib
import socket
import struct
import threading
import time
from dataclasses import dataclass

from . import net
from .dialogue import Dialogue

READ_BYTES = 1 << 20
# What may be on the way at once beyond bandwidth × delay, before the sender is made to wait.
SLACK_BYTES = 1 << 20
UNLIMITED_IN_FLIGHT_BYTES = 64 << 20


@dataclass
class Counters:
    bytes_up: int = 0
    bytes_down: int = 0
    round_trips: int = 0
    connections: int = 0
    connections_now: int = 0
    most_connections: int = 0
    refused: int = 0


@dataclass(frozen=True)
class ProxyTls:
    server_context: object
    client_context: object


class Link:
    """One direction of the line: says when a piece that is sent now will have arrived."""

    def __init__(self, proxy):
        self._proxy = proxy
        self._free_at = 0.0

    def arrival(self, size):
        now = time.monotonic()
        sent = now
        if self._proxy.bits_per_s:
            sent = self._free_at = max(now, self._free_at) + size * 8 / self._proxy.bits_per_s
        return sent + self._proxy.rtt_ms / 2000

    def window_bytes(self):
        rate = self._proxy.bits_per_s
        if not rate:
            return UNLIMITED_IN_FLIGHT_BYTES
        return int(rate / 8 * self._proxy.rtt_ms / 1000) + min(SLACK_BYTES, int(rate / 8 / 5))

    def piece_bytes(self):
        """Small enough that the line's pace is felt smoothly."""
        rate = self._proxy.bits_per_s
        return READ_BYTES if not rate else max(1400, min(READ_BYTES, int(rate / 8 / 200)))


class Proxy:
    def __init__(self, target_port, rtt_ms=0.0, bits_per_s=None, tls=None, rules=(), port=0,
                 target_host=net.LOOPBACK, split_bytes=None, responses=None):
        self.target = (target_host, target_port)
        self.rtt_ms = rtt_ms
        self.bits_per_s = bits_per_s
        self.rules = list(rules)
        self.split_bytes = split_bytes
        self.faults = None
        self.responses = responses
        self.counters = Counters()
        self.port = port
        self._tls = tls
        self._up, self._down = Link(self), Link(self)
        self._loop = None
        self._server = None
        self._connections = set()
        self._cuts = collections.deque()
        self._flowing = None

    # Life

    def start(self):
        started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait()
        self.listen()
        return self

    def stop(self):
        if self._loop is None:
            return
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # Switches

    def stall(self):
        """Nothing passes any more, either way, until resume()."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def resume(self):
        self._loop.call_soon_threadsafe(self._flowing.set)

    def refuse(self):
        """New connections are refused; those that stand go on."""
        self._call(self._stop_listening())

    def listen(self):
        self._call(self._listen())

    def cut_all(self, reset=False):
        self._call(self._cut_all(reset))

    def lose_all(self):
        self._call(self._lose_all())

    def cut_next(self, after_bytes, reset=False, direction="down"):
        """May be called several times: each call is for one more connection."""
        self._cuts.append((after_bytes, reset, direction))

    def reset_counters(self):
        now = self.counters.connections_now
        self.counters = Counters(connections_now=now, most_connections=now)

    # Inside

    def _run(self, started):
        asyncio.set_event_loop(self._loop)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._loop.call_soon(started.set)
        self._loop.run_forever()

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _listen(self):
        if self._server is None:
            context = self._tls.server_context if self._tls else None
            self._server = await asyncio.start_server(
                self._accept, net.LOOPBACK, self.port, ssl=context, limit=READ_BYTES, backlog=256)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _stop_listening(self):
        if self._server:
            self._server.close()
            self._server = None

    async def _cut_all(self, reset):
        for connection in list(self._connections):
            connection.cut(reset)

    async def _lose_all(self):
        for connection in self._connections:
            connection.is_lost = True

    async def _close(self):
        await self._stop_listening()
        await self._cut_all(False)
        # Those too that asyncio has for connections that are being accepted: they can begin another one.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader, writer):
        connection = Connection(self, reader, writer, self._cuts.popleft() if self._cuts else None)
        self._connections.add(connection)
        counters = self.counters
        counters.connections += 1
        counters.connections_now += 1
        counters.most_connections = max(counters.most_connections, counters.connections_now)
        try:
            await connection.run()
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self.counters.connections_now -= 1
            connection.cut(False)
            self._connections.discard(connection)


class Connection:
    def __init__(self, proxy, reader, writer, cut):
        self._proxy = proxy
        self._client = (reader, writer)
        self._server = None
        self._cut_plan = cut
        self._passed = {"up": 0, "down": 0}
        self.is_lost = False
        self._client_heard = True
        self._down_queue = None
        self._responses = proxy.responses(proxy.counters.connections) if proxy.responses else None
        self.dialogue = None

    async def run(self):
        proxy = self._proxy
        # The handshakes that the real line would have cost: TCP, and TLS where it ends here.
        await asyncio.sleep(proxy.rtt_ms / 1000 * (2 if proxy._tls else 1))
        await proxy._flowing.wait()
        context = proxy._tls.client_context if proxy._tls else None
        try:
            self._server = await asyncio.open_connection(*proxy.target, ssl=context, limit=READ_BYTES)
        except OSError:
            proxy.counters.refused += 1
            return
        for _, writer in (self._client, self._server):
            writer.transport.set_write_buffer_limits(high=4 * READ_BYTES)
        if proxy.rules:
            self.dialogue = Dialogue(proxy.rules, proxy, self)
        up, down = Queue(proxy._up), Queue(proxy._down)
        self._down_queue = down
        if self.dialogue:
            self.flush_answers()
        try:
            jobs = [self._read_client(up), self._feed_server(up), self._read_server(down), self._feed_client(down)]
            tasks = [asyncio.ensure_future(job) for job in jobs]
            # The client's end of file may come before the server's last word, never the other way round.
            await asyncio.wait(tasks[2:] + tasks[:2], return_when=asyncio.FIRST_EXCEPTION)
        finally:
            if self.dialogue:
                self.dialogue.closed()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _line(self):
        """Returns when something passes."""
        await self._proxy._flowing.wait()
        if self.is_lost:
            await asyncio.Event().wait()

    async def _read_client(self, queue):
        reader = self._client[0]
        while data := await reader.read(queue.link.piece_bytes()):
            await self._line()
            counters = self._proxy.counters
            counters.bytes_up += len(data)
            counters.round_trips += self._client_heard
            self._client_heard = False
            await queue.has_room(len(data))
            queue.put(data)
        queue.put(b"")

    async def _feed_server(self, queue):
        writer = self._server[1]
        while data := await queue.get():
            await self._line()
            if self.dialogue:
                data = self.dialogue.from_client(data)
                self.flush_answers()
            await self._write(writer, data, "up")
        writer.write_eof() if writer.can_write_eof() else writer.close()

    async def _read_server(self, queue):
        reader = self._server[0]
        while data := await reader.read(queue.link.piece_bytes()):
            if self.is_lost:
                await self._line()
            # No wait between following the dialogue and queueing: flush_answers() relies on their order.
            await queue.has_room(len(data))
            if self.dialogue:
                data = self.dialogue.from_server(data)
            if self._responses:
                data = self._responses.feed(data)
            if data:
                queue.put(data)
            if self.dialogue and self.dialogue.is_finished():
                break
        queue.put(b"")

    async def _feed_client(self, queue):
        writer = self._client[1]
        while data := await queue.get():
            await self._line()
            self._proxy.counters.bytes_down += len(data)
            self._client_heard = True
            await self._write(writer, data, "down")
        await writer.drain()
        if self.is_lost:
            await self._line()
        # The end of the server's stream ends the connection.
        raise EOFError

    async def _write(self, writer, data, direction):
        plan = self._cut_plan
        if plan and plan[2] == direction:
            allowed = plan[0] - self._passed[direction]
            if len(data) >= allowed:
                writer.write(data[:allowed])
                with contextlib.suppress(OSError):
                    await writer.drain()
                self.cut(plan[1])
                raise EOFError
        self._passed[direction] += len(data)
        if self._proxy.faults:
            data = await self._proxy.faults.passed(self, data, direction)
            if data is None:
                self.cut(False)
                raise EOFError
        await self.send(data, direction)

    async def send(self, data, direction):
        writer = self._client[1] if direction == "down" else self._server[1]
        size = self._proxy.split_bytes if direction == "down" else None
        for start in range(0, len(data), size or len(data) or 1):
            # Each write is a packet, and a TLS record where TLS ends here.
            writer.write(data[start:start + (size or len(data))])
            await writer.drain()

    def flush_answers(self):
        """Sends what the rules answer in the server's place, at the next place where a response may stand."""
        data = self.dialogue.take_answers()
        if data:
            self._down_queue.put(data)
        if self.dialogue.is_finished():
            self._down_queue.put(b"")

    def tell_server(self, data):
        self._server[1].write(data)

    def cut(self, reset):
        for side in (self._client, self._server):
            if side is None:
                continue
            transport = side[1].transport
            if reset:
                with contextlib.suppress(OSError, AttributeError):
                    # Linger 0: close() sends RST.
                    transport.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                transport.abort()
            else:
                transport.close()


class Queue:
    """What is on the line in one direction of one connection: pieces and when they arrive."""

    def __init__(self, link):
        self.link = link
        self._pieces = collections.deque()
        self._bytes = 0
        self._changed = asyncio.Event()

    async def has_room(self, size):
        while self._bytes and self._bytes + size > self.link.window_bytes():
            self._changed.clear()
            await self._changed.wait()

    def put(self, data):
        self._pieces.append((self.link.arrival(len(data)), data))
        self._bytes += len(data)
        self._changed.set()

    async def get(self):
        while not self._pieces:
            self._changed.clear()
            await self._changed.wait()
        due, data = self._pieces[0]
        wait = due - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        self._pieces.popleft()
        self._bytes -= len(data)
        self._changed.set()
        return data
