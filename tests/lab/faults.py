# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults at random offsets of a proxy's connections, all from one seed.

    proxy.faults = Faults(seed)        # connections that stand, and those to come, break as the seed says
    proxy.faults.told                  # what it did: ["connection 3: cut after 4711 bytes down", …]
    proxy.faults = None                # an honest line again

    Proxy(port, tls=proxy_tls, rules=[rules.Rule()], responses=lambda number: Responses(seed, number))

Faults works on the bytes as they pass. Inside of TLS a byte that comes twice, late or changed is a record that can't
be read, and nothing worse. Where the proxy ends TLS nobody could see such a change in a message's text, so there only
KINDS_OF_LINES make sense, and whole responses come twice or in another order instead: Responses.
"""

import asyncio
import random
import re

KINDS_OF_LINES = ("cut", "reset", "stall", "delay")
KINDS = (*KINDS_OF_LINES, "duplicate", "reorder", "flip")
# Of the first connections that it meets; later ones are left alone, so that there is a way out.
CONNECTIONS = 5
SHARE = 0.7
OFFSET_MAX = 60_000
PIECE_MAX = 600
LITERAL = re.compile(rb"~?\{(\d+)\}\r?\n$")


class Faults:
    def __init__(self, seed, stall_s=3.0, kinds=KINDS):
        self.seed = seed
        self.kinds = kinds
        self.told = []
        self._stall_s = stall_s
        self._plans = {}

    async def passed(self, connection, data, direction):
        """The bytes to send in the place of these, or None: the connection is to be cut."""
        plan = self._plans.get(connection)
        if plan is None:
            plan = self._plans[connection] = Plan(self, len(self._plans))
        return await plan.passed(connection, data, direction)


class Plan:
    def __init__(self, faults, number):
        rng = random.Random(f"{faults.seed}/{number}")
        self._faults, self._number, self._rng = faults, number, rng
        self._passed = 0
        self._kind = rng.choice(faults.kinds) if number < CONNECTIONS and rng.random() < SHARE else None
        self._direction = rng.choices(("down", "up"), (4, 1))[0]
        # Small offsets, where the dialogue is, as often as large ones.
        self._at = int(OFFSET_MAX ** rng.random())

    async def passed(self, connection, data, direction):
        if direction != self._direction or self._kind is None:
            return data
        start, self._passed = self._passed, self._passed + len(data)
        if self._passed < self._at:
            return data
        kind, self._kind = self._kind, None
        self._faults.told.append(f"connection {self._number}: {kind} after {self._at} bytes {direction}")
        return await self._apply(kind, connection, data, max(0, self._at - start))

    async def _apply(self, kind, connection, data, at):
        before, after = data[:at], data[at:]
        size = self._rng.randrange(1, PIECE_MAX)
        if kind == "cut":
            return None
        if kind == "reset":
            connection.cut(True)
            return None
        if kind in ("stall", "delay"):
            await connection.send(before, self._direction)
            await asyncio.sleep(self._faults._stall_s if kind == "stall" else self._rng.uniform(0.01, 0.3))
            return after
        if kind == "duplicate":
            return before + after[:size] + after
        if kind == "reorder":
            return before + after[size:2 * size] + after[:size] + after[2 * size:]
        return before + bytes([after[0] ^ 1 << self._rng.randrange(8)]) + after[1:] if after else data


class Responses:
    """Feeds a server's stream through: untagged responses come twice, or two of them in the other order; rarely a
    tagged one comes twice. Which, follows from the seed and the connection's number."""

    def __init__(self, seed, number, share=0.15):
        self._rng = random.Random(f"{seed}/{number}")
        self._share = share
        self._line = b""
        self._response = []
        self._literal = 0
        self._held = b""

    def feed(self, data):
        out = []
        while data:
            if self._literal:
                piece, data = data[:self._literal], data[self._literal:]
                self._literal -= len(piece)
                self._response.append(piece)
                continue
            line, newline, data = data.partition(b"\n")
            self._line += line + newline
            if newline:
                self._end_line(out)
        return b"".join(out)

    def _end_line(self, out):
        line, self._line = self._line, b""
        self._response.append(line)
        literal = LITERAL.search(line) if self._response[0].startswith(b"* ") else None
        if literal:
            self._literal = int(literal[1])
            return
        response, self._response = b"".join(self._response), []
        self._pass(response, out)

    def _pass(self, response, out):
        chance = self._rng.random()
        if response.startswith(b"* ") and not response[2:].upper().startswith((b"OK", b"PREAUTH", b"BYE")):
            if self._held:
                out += [response, self._held]
                self._held = b""
            elif chance < self._share / 2:
                self._held = response
            else:
                out.append(response * (2 if chance < self._share else 1))
            return
        # What was held back doesn't pass the end of its command: no data at all is another matter.
        out += [self._held, response]
        self._held = b""
        if not response.startswith((b"* ", b"+")) and chance < self._share / 10:
            out.append(response)
