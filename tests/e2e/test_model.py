# SPDX-License-Identifier: GPL-2.0-or-later
"""Random changes at the server, from a seed, and after each the mount is what the server holds: folders, names, contents, flags.

The truth is asked of the server after each step by a client that has nothing to do with mailtree. Most steps are settled by
reading `refresh`, some by waiting for what the server tells (IDLE) with nothing else asked for, some by a remount. Readers that
hold a file open across a step get what they opened or an error, never other bytes.

Without --long a few dozen steps from a fixed seed; with it 2,000 from $MAILTREE_TEST_SEED, or one that is printed.
"""

import hashlib
import imaplib
import os
import random
import re
import time

import pytest
from lab import mutf7, net, rules
from lab.place import quote
from witness import mount_path, read

FOLDERS_MAX = 7
MESSAGES_MAX = 14
TOLD_SHARE = 0.15
FLAGS = ("\\Seen", "\\Answered", "\\Flagged", "\\Draft", "Wichtig", "$Forwarded")
NAMES = ("Alpha", "Бета", "日本", "new", "a b", "100% x", "Alpha/Deep", "Бета/Тека", "Alpha/Deep/Deeper", "x.eml")
WORDS = ("Рахунок", "invoice", "Re: ціна", "a/b", "_under_", "  two  spaces ", "🎉")
SETTLES_S = 20
FORBIDDEN = re.compile(r"[\s/\\:*?\"<>|_\x00-\x1f]+")


class Server:
    """What there is, and ways to change it."""

    def __init__(self, place, user, rng, shows_numbers=True):
        self.place, self.user, self.rng = place, user, rng
        self.shows_numbers = shows_numbers
        self.client = place.imap(user)
        self.witness = place.imap(user)
        self.serial = 0

    def truth(self, chosen=None):
        """{path in the mount: {name of the file: (SHA-256, flags)}} of all folders, or of one"""
        try:
            tree = {chosen: True} if chosen else self.tree()
            return {mount_path(folder): self.content(folder) if is_open else {} for folder, is_open in tree.items()}
        except imaplib.IMAP4.abort as error:
            # Dovecot ends sessions that had a mailbox open which was numbered anew, or never takes what came in its place.
            self.witness = self.place.imap(self.user)
            raise OSError(f"the witness's session is of no use any more: {error}") from None

    def tree(self):
        """{folder: whether it can hold messages}"""
        found = {}
        for line in self.witness.list()[1]:
            flags, name = re.match(rb'\(([^)]*)\) "/" "?(.*?)"?$', line).groups()
            found[mutf7.decode(name.decode())] = not re.search(rb"\\Noselect|\\NonExistent", flags)
        return found

    def folders(self):
        return sorted(name for name, is_open in self.tree().items() if is_open)

    def content(self, folder):
        status, answer = self.witness.select(quote(folder), readonly=True)
        if status != "OK":
            raise imaplib.IMAP4.abort(answer)
        if not int(answer[0]):
            return {}
        found = {}
        answer = self.witness.uid("FETCH", "1:*", "(UID FLAGS INTERNALDATE BODY.PEEK[])")[1]
        for before, after in zip(answer, [*answer[1:], b""]):
            if isinstance(before, tuple):
                words = before[0] + (after if isinstance(after, bytes) else b"")
                uid = int(re.search(rb"\bUID (\d+)", words)[1])
                flags = set(re.search(rb"FLAGS \(([^)]*)\)", words)[1].decode().split()) - {"\\Recent"}
                found[file_name(uid, words, before[1])] = (hashlib.sha256(before[1]).hexdigest(), frozenset(flags))
        return found

    # Steps

    def pick(self, folder=None):
        """(folder, its UIDs): this one, or one that isn't empty; None if there is no message."""
        names = [folder] if folder else self.folders()
        self.rng.shuffle(names)
        for name in names:
            if self.count(name):
                uids = self.client.uid("SEARCH", "ALL")[1][0].split()
                return name, [uid.decode() for uid in uids]
        return None

    def count(self, folder):
        """Opens it, too."""
        status, answer = self.client.select(quote(folder))
        if status != "OK":
            raise imaplib.IMAP4.abort(answer)
        return int(answer[0])

    def some(self, uids):
        return ",".join(self.rng.sample(uids, self.rng.randint(1, max(1, len(uids) // 3))))

    def message(self):
        self.serial += 1
        subject = f"{self.rng.choice(WORDS)} {self.serial}"
        filler = b"".join(b"%d %x\r\n" % (line, self.rng.getrandbits(64)) for line in range(self.rng.choice((0, 1, 20, 200, 4_000))))
        return b"From: Ada <ada%d@engine.example>\r\nSubject: %b\r\n\r\n%b" % (self.serial % 5, subject.encode(), filler)

    def append(self, folder=None):
        folder = folder or self.rng.choice(self.folders())
        for _ in range(self.rng.randint(1, 3)):
            flags = " ".join(self.rng.sample(FLAGS[:4], self.rng.randint(0, 2)))
            date = imaplib.Time2Internaldate(self.rng.randint(900_000_000, 1_700_000_000))
            self.done(self.client.append(quote(folder), f"({flags})", date, self.message()))

    def expunge(self, folder=None):
        picked = self.pick(folder)
        if not picked:
            return self.append(folder)
        folder, uids = picked
        self.done(self.client.uid("STORE", self.some(uids), "+FLAGS.SILENT", "(\\Deleted)"))
        self.done(self.client.expunge())

    def move(self, command="MOVE"):
        picked = self.pick()
        if not picked:
            return self.append()
        folder, uids = picked
        target = self.rng.choice(self.folders())
        self.done(self.client.uid(command, self.some(uids), quote(target)))

    def copy(self):
        return self.move("COPY")

    def flags(self, folder=None):
        picked = self.pick(folder)
        if not picked:
            return self.append(folder)
        folder, uids = picked
        words = " ".join(self.rng.sample(FLAGS, self.rng.randint(1, 3)))
        self.done(self.client.uid("STORE", self.some(uids), self.rng.choice(("FLAGS", "+FLAGS", "-FLAGS")), f"({words})"))

    def create(self):
        free = sorted(set(NAMES) - set(self.folders()))
        if len(self.folders()) >= FOLDERS_MAX or not free:
            return self.delete()
        self.done(self.client.create(quote(self.rng.choice(free))))

    def delete(self):
        others = [name for name in self.folders() if name != "INBOX"]
        if not others:
            return self.create()
        self.client.unselect()
        self.done(self.client.delete(quote(self.rng.choice(others))))

    def rename(self):
        others = [name for name in self.folders() if name != "INBOX"]
        free = [name for name in NAMES if not any(name == other or name.startswith(other + "/") for other in others)]
        if not others or not free:
            return self.create()
        self.client.unselect()
        # What a child is called may be taken by then: the server says so, and nothing has changed.
        self.client.rename(quote(self.rng.choice(others)), quote(self.rng.choice(free)))

    def renumber(self):
        folder = self.rng.choice(self.folders())
        self.client.unselect()
        self.place.dovecot.doveadm("mailbox", "update", "-u", self.user, "--uid-validity", str(self.rng.randint(1, 2**31)), folder)

    def replace(self):
        """Others under the old UIDVALIDITY, numbered from 1 again: a mailbox that was restored from a copy."""
        folder = self.rng.choice(self.folders())
        if folder == "INBOX" or any(name.startswith(folder + "/") for name in self.folders()):
            return self.renumber()
        before = self.client.status(quote(folder), "(UIDVALIDITY UIDNEXT MESSAGES)")[1]
        validity = re.search(rb"UIDVALIDITY (\d+)", before[0])[1].decode()
        self.client.unselect()
        self.done(self.client.delete(quote(folder)))
        self.done(self.client.create(quote(folder)))
        self.place.dovecot.doveadm("mailbox", "update", "-u", self.user, "--uid-validity", validity, folder)
        self.append(folder)
        # Without change numbers nobody could see the difference.
        while not self.shows_numbers and self.client.status(quote(folder), "(UIDVALIDITY UIDNEXT MESSAGES)")[1] == before:
            self.append(folder)

    def thin_out(self):
        """Keeps the folders small."""
        for folder in self.folders():
            count = self.count(folder)
            if count > MESSAGES_MAX:
                uids = [uid.decode() for uid in self.client.uid("SEARCH", "ALL")[1][0].split()]
                self.done(self.client.uid("STORE", ",".join(self.rng.sample(uids, count - MESSAGES_MAX // 2)), "+FLAGS.SILENT", "(\\Deleted)"))
                self.done(self.client.expunge())

    @staticmethod
    def done(answer):
        if b"SERVERBUG" in (answer[1][0] or b""):
            # Dovecot's own: a session met what doveadm did to the folder.
            raise imaplib.IMAP4.abort(answer)
        assert answer[0] == "OK", answer

    STEPS = (("append", 30), ("expunge", 15), ("move", 15), ("copy", 4), ("flags", 20), ("create", 5), ("delete", 3),
             ("rename", 4), ("renumber", 2), ("replace", 2))

    def step(self):
        names, shares = zip(*self.STEPS)
        name = self.rng.choices(names, shares)[0]
        self.attempt(name)
        return name

    def attempt(self, name, *arguments):
        try:
            getattr(self, name)(*arguments)
        except imaplib.IMAP4.abort:
            # As above. Half of a step is one, too.
            self.client = self.place.imap(self.user)


def file_name(uid, words, content):
    """By the rule of names, for mail as message() makes it."""
    date = imaplib.Internaldate2tuple(words)
    subject = re.search(rb"^Subject: (.*)\r$", content, re.MULTILINE)[1].decode()
    sender = re.search(rb"<(.*)>", content)[1].decode()
    return f"{time.strftime('%Y-%m-%dT%H%M', time.gmtime(time.mktime(date)))}_{sender}_{FORBIDDEN.sub('-', subject).strip('-')}.{uid}.eml"


class Files:
    """What a mount shows, and files that are held open."""

    def __init__(self, mounted, rng):
        self.mounted, self.rng = mounted, rng
        self.held = []

    def shown(self):
        found = {}
        for directory, folders, names in os.walk(self.mounted, onerror=_raise):
            path = os.path.relpath(directory, self.mounted)
            if path != ".":
                found[path] = {name: self.look(os.path.join(directory, name)) for name in names}
        return found

    def folder(self, path):
        return {name: self.look(self.mounted / path / name) for name in os.listdir(self.mounted / path)
                if not os.path.isdir(self.mounted / path / name)}

    def look(self, path):
        flags = os.getxattr(path, "user.mail.flags").decode()
        return hashlib.sha256(read(path)).hexdigest(), frozenset(flags.split())

    def hold(self, shown):
        """Opens some files, not yet read to the end."""
        every = [(os.path.join(path, name), look[0]) for path, names in shown.items() for name, look in names.items()]
        for path, digest in self.rng.sample(every, min(2, len(every))):
            self.held.append((open(self.mounted / path, "rb", buffering=0), digest, path))

    def check_held(self):
        """The old bytes, or an error."""
        for file, digest, path in self.held:
            with file:
                try:
                    content = file.readall()
                except OSError:
                    continue
                assert hashlib.sha256(content).hexdigest() == digest, f"{path} has turned into something else"
        self.held.clear()

    def close(self):
        for file, _, _ in self.held:
            file.close()


def _raise(error):
    raise error


def difference(expected, found):
    wrong = []
    for folder in sorted(expected.keys() | found.keys()):
        theirs, ours = expected.get(folder), found.get(folder)
        if theirs is None or ours is None:
            # A parent that holds folders only.
            if theirs is None and not ours and any(name.startswith(folder + "/") for name in expected):
                continue
            wrong.append(f"{folder}: {'not on the server' if theirs is None else 'not in the mount'}")
            continue
        for name in sorted(theirs.keys() | ours.keys()):
            if theirs.get(name) != ours.get(name):
                wrong.append(f"{folder}/{name}: {theirs.get(name)} expected, {ours.get(name)} found")
    return wrong


def until_same(expected, look, what):
    """The mount may change under us while we look."""
    last = []

    def is_same():
        try:
            last[:] = difference(expected(), look())
        except OSError as error:
            last[:] = [repr(error)]
        return not last
    try:
        net.wait_until(is_same, SETTLES_S, what, interval_s=0.05)
    except TimeoutError:
        raise AssertionError("\n".join([f"{what}: the mount isn't what the server holds:", *last[:12]])) from None


def listened_to(server, mounted, rng, names, label):
    """A folder is in use, and its messages change; returns how, and which folder."""
    folder = rng.choice(server.folders())
    os.listdir(mounted / mount_path(folder))
    net.wait_until(lambda: mounted.status()["watching"] == mount_path(folder), what=f"{label}: the watch")
    name = rng.choice(names)
    server.attempt(name, folder)
    return name, folder


def settle(server, files, told, rng, label):
    """`told`: the folder whose changes the server tells of."""
    mounted = files.mounted
    if told:
        path = mount_path(told)
        until_same(lambda: server.truth(told), lambda: {path: files.folder(path)}, f"{label}, told by the server")
    elif rng.random() < 0.03:
        files.check_held()
        mounted.remount()
    mounted.refresh()


def walk_through(place, user, files, seed, steps, told_steps, shows_numbers):
    rng, mounted = random.Random(seed), files.mounted
    server = Server(place, user, rng, shows_numbers)
    counts, waited_for = {}, 0
    for number in range(steps):
        told = None
        if rng.random() < TOLD_SHARE:
            name, told = listened_to(server, mounted, rng, told_steps, f"seed {seed}, step {number}")
            waited_for += 1
        else:
            name = server.step()
        counts[name] = counts.get(name, 0) + 1
        label = f"seed {seed}, step {number} ({name})"
        settle(server, files, told, rng, label)
        until_same(server.truth, files.shown, label)
        files.check_held()
        server.attempt("thin_out")
        mounted.refresh()
        until_same(server.truth, files.shown, f"{label}, thinned out")
        files.hold(files.shown())
    files.check_held()
    server.client.logout()
    server.witness.logout()
    return counts, waited_for


def run(place, fresh_user, mount, request, steps, long_steps, told_steps=("append", "expunge", "flags"), keys=None, shows_numbers=True):
    is_long = request.config.getoption("--long")
    seed = int(os.environ.get("MAILTREE_TEST_SEED") or (random.SystemRandom().randrange(2**32) if is_long else 1))
    print(f"seed {seed}")
    user = fresh_user()
    Server(place, user, random.Random(seed)).append("INBOX")
    mounted = mount(user, poll=36_000, xattr=True, keys=keys)
    start = time.monotonic()
    files = Files(mounted, random.Random(seed))
    try:
        counts, waited_for = walk_through(place, user, files, seed, long_steps if is_long else steps, told_steps, shows_numbers)
    finally:
        files.close()
    print(f"{sum(counts.values())} steps in {time.monotonic() - start:.0f} s, {waited_for} told by the server: {counts}")
    assert mounted.errors() == [] or all(" gone: " in line or "renumbered" in line for line in mounted.errors()), mounted.errors()


@pytest.mark.slow
def test_a_server_with_change_numbers(place, fresh_user, mount, request):
    run(place, fresh_user, mount, request, steps=60, long_steps=2_000)


PLAIN = {"CONDSTORE", "QRESYNC", "ENABLE", "ESEARCH", "LIST-*", "NOTIFY", "SPECIAL-USE"}


def test_a_server_without(place, fresh_user, mount, proxy, proxy_tls, request):
    line = proxy(tls=proxy_tls, rules=[rules.HideCapabilities(PLAIN)])
    # Flags alone are asked for at most every ten seconds there.
    run(place, fresh_user, mount, request, steps=20, long_steps=400, told_steps=("append", "expunge"), keys={"port": line.port},
        shows_numbers=False)


@pytest.mark.long
def test_one_connection_alone(place, fresh_user, mount, request):
    run(place, fresh_user, mount, request, steps=0, long_steps=300, keys={"connections": 1})
