# SPDX-License-Identifier: GPL-2.0-or-later
"""The same bytes from servers that have every extension and none, that tell sizes truly and wrongly, under each
setting of `sizes`; and real-world mail."""

import errno
import os
import shutil
import subprocess

import pytest

import programs
import witness
from lab import generator, mailboxes, oddities, realmail, rules
from lab.goimap import GoImap
from lab.place import Place
from lab.proxy import Proxy

SIZES = ("auto", "exact", "trust")
FOLDERS = {"INBOX": range(1, 61), "Архів/2023": range(61, 91), "Projects/Alpha": range(91, 101)}
GOIMAP_REAL_MESSAGES = 600


def small_mailbox():
    found = {name: [generator.make_message("servers", number) for number in numbers] for name, numbers in FOLDERS.items()}
    found["Odd"] = oddities.odd_messages()
    return found


class Server:
    """One that holds small_mailbox(). account(): a group of mailtree's config; content: what imaplib reads there."""

    def __init__(self, account, content, lies=False):
        self.account, self.lies = account, lies
        self.content = content


@pytest.fixture(scope="module")
def user(place):
    user = "servers@contoso.example"
    place.app.mailboxes.add(user)
    maildir = place.dovecot.maildir(user)
    for folder, messages in small_mailbox().items():
        mailboxes.fill_messages(maildir, folder, messages)
    return user


@pytest.fixture(scope="module")
def from_dovecot(place, user):
    client = place.imap(user)
    content = witness.served(client, small_mailbox())
    client.logout()
    return content


def deliverable(folder, messages):
    """Those that go-imap gives: it leaves out, with OK, what it can't parse."""
    with GoImap(folder) as trial:
        trial.fill({"Trial": messages})
        client = trial.imap()
        given = Place.fetch_all(client, "Trial")
        client.logout()
    return [message for uid, message in enumerate(messages, 1) if uid in given]


@pytest.fixture(scope="module", params=["dovecot", "go-imap", "wrong sizes", "like exchange"])
def server(request, place, user, proxy_tls, from_dovecot, tmp_path_factory):
    if request.param == "dovecot":
        yield Server(lambda **keys: place.account("work", user, **keys), from_dovecot)
    elif request.param == "go-imap":
        folder = tmp_path_factory.mktemp("goimap")
        with GoImap(folder) as second:
            second.fill({name: deliverable(folder, messages) for name, messages in small_mailbox().items()})
            client = second.imap()
            content = witness.served(client, small_mailbox())
            client.logout()
            # It writes headers anew, so a few of its sizes are those of other bytes.
            yield Server(lambda **keys: second.account("work", **keys), content)
    else:
        lies = [rules.WrongSizes()] if request.param == "wrong sizes" else rules.exchange_like()
        with Proxy(place.dovecot.port, tls=proxy_tls, rules=lies) as proxy:
            yield Server(lambda **keys: place.account("work", user, port=proxy.port, **keys), from_dovecot, lies=True)


@pytest.fixture(scope="module", params=SIZES)
def sizes(request):
    return request.param


@pytest.fixture
def mounted(server, home):
    """mounted(sizes) → a cold mount of the server."""
    def do(sizes):
        home.set_account("work", server.account())
        return home.mount("work", sizes=sizes)
    return do


@pytest.fixture
def scratch(tmp_path):
    yield tmp_path
    # Copies of directories that can't be written.
    subprocess.run(["chmod", "-R", "u+rwX", tmp_path], check=True)
    shutil.rmtree(tmp_path)


def read_until_true(path):
    """Under trust the first read of a message whose size was a lie is EIO; the next one isn't."""
    found = witness.read_or_errno(path)
    return witness.read_or_errno(path) if found == errno.EIO else found


def told_sizes(mount):
    return {path: os.stat(path).st_size for messages in witness.paths(mount).values() for path in messages.values()}


def test_every_byte(server, sizes, mounted):
    tree = mounted(sizes)
    # Under trust an empty message is told as one byte, by an honest server too.
    read_one = read_until_true if sizes == "trust" else witness.read
    witness.assert_same(server.content, witness.read_tree(tree, read_one, readers=4))
    # The sizes are now the true ones, and stay so.
    for _ in range(2):
        by_path = {path: len(server.content[folder][uid])
                   for folder, messages in witness.paths(tree).items() for uid, path in messages.items()}
        assert told_sizes(tree) == by_path
        witness.assert_same(server.content, witness.read_tree(tree))
        tree.remount()


def test_a_betrayed_trust_never_gives_wrong_bytes(server, mounted):
    tree = mounted("trust")
    told = told_sizes(tree)
    found = witness.read_tree(tree, witness.read_or_errno)
    betrayed = 0
    for folder, messages in witness.paths(tree).items():
        for uid, path in messages.items():
            is_true = told[path] == len(server.content[folder][uid])
            betrayed += not is_true
            wanted = server.content[folder][uid] if is_true else errno.EIO
            assert found[folder][uid] == wanted, f"{folder}, UID {uid}: {told[path]} bytes were told"
    assert server.lies == (betrayed > 20)
    witness.assert_same(server.content, witness.read_tree(tree), "the second reading")
    assert len(tree.errors()) == betrayed


@pytest.mark.parametrize("server", ["wrong sizes"], indirect=True)
def test_trust_that_was_betrayed_is_gone_for_ever(server, mounted):
    tree = mounted("trust")
    for path in witness.paths(tree)["INBOX"].values():
        witness.read_or_errno(path)
    tree.remount()
    # Folders that were never read: no error any more.
    witness.assert_same(server.content, witness.read_tree(tree))


@pytest.mark.parametrize("program", programs.EACH_COPIER)
@pytest.mark.parametrize("server, kind", [
    ("dovecot", "auto"), ("go-imap", "auto"), ("go-imap", "exact"), ("wrong sizes", "auto"), ("wrong sizes", "exact"),
    ("like exchange", "exact")], indirect=["server"])
def test_cold_copies_are_equal(program, kind, server, mounted, scratch):
    copy = programs.COPIERS[program](mounted(kind), scratch)
    witness.assert_same(server.content, witness.read_tree(copy), f"the copy by {program}")


@pytest.mark.parametrize("server, kind", [("go-imap", "auto"), ("wrong sizes", "auto"), ("wrong sizes", "exact")],
                         indirect=["server"])
@pytest.mark.variant
def test_cold_backups_are_equal_and_the_second_finds_nothing_changed(kind, server, mounted, scratch):
    tree = mounted(kind)
    restic = programs.Restic(scratch)
    restic.backup(tree)
    restic.check()
    witness.assert_same(server.content, witness.read_tree(restic.restore()), "restic's copy")
    tree.remount()
    # Times of directories weren't known before the first run had listed them.
    assert {name: count for name, count in restic.backup(tree).items() if name.startswith("files")} == {}
    # What was read once is known: the sizes that restic sees now are those that it stored.
    borg = programs.Borg(scratch)
    borg.backup(tree)
    witness.assert_same(server.content, witness.read_tree(borg.restore()), "borg's copy")
    tree.remount()
    newest = max(os.stat(path).st_mtime for path in witness.paths(tree)["Odd"].values())
    assert {path for path in borg.backup(tree) if os.stat(tree / path).st_mtime != newest} == set()


def test_tools_see_true_sizes_at_the_first_open(server, mounted):
    tree = mounted("exact")
    for folder, messages in witness.paths(tree).items():
        for uid, path in list(messages.items())[:12]:
            content = server.content[folder][uid]
            how = uid % 3
            if how == 0:
                assert int(witness.tool("wc", "-c", path).split()[0]) == len(content)
            elif how == 1:
                assert witness.tool("tail", "-c", "200", path) == content[-200:]
            else:
                assert witness.tool("head", "-c", "200", path) == content[:200]


def test_real_world_mail_on_dovecot(place, fresh_user, mount):
    user = fresh_user()
    maildir = place.dovecot.maildir(user)
    mailboxes.fill_messages(maildir, "Real", realmail.spam_assassin())
    mailboxes.fill_messages(maildir, "Python", realmail.python_messages())
    client = place.imap(user)
    content = witness.served(client, ("Real", "Python"))
    before = {folder: Place.flags(client, folder) for folder in content}
    assert witness.count(content) > 6_000
    tree = mount(user)
    witness.assert_same(content, witness.read_tree(tree, readers=4))
    assert {folder: Place.flags(client, folder) for folder in content} == before
    client.logout()


def test_real_world_mail_on_a_server_without_extensions(home, tmp_path):
    """It can't give some of them: they are listed, and EIO, each for itself alone."""
    with GoImap(tmp_path) as second:
        second.fill({"INBOX": oddities.odd_messages(), "Real": list(realmail.spam_assassin(GOIMAP_REAL_MESSAGES)),
                     "Python": list(realmail.python_messages())})
        client = second.imap()
        content = witness.served(client, ("INBOX", "Real", "Python"))
        counts = {folder: int(client.select(folder, readonly=True)[1][0]) for folder in content}
        client.logout()
        assert witness.count(content) > GOIMAP_REAL_MESSAGES
        home.set_account("second", second.account("second"))
        tree = home.mount("second")
        found = witness.read_tree(tree, witness.read_or_errno, readers=4)
        assert {folder: len(messages) for folder, messages in found.items()} == counts
        withheld = sum(counts.values()) - witness.count(content)
        assert withheld > 0
        for messages in found.values():
            for uid in [uid for uid, result in messages.items() if result == errno.EIO]:
                del messages[uid]
        witness.assert_same(content, found)
        assert len(tree.errors()) == withheld
        # tar names them, and packs the rest.
        archive = tmp_path / "all.tar"
        said = subprocess.run(["tar", "-C", tree, "-cf", archive, "."], capture_output=True, text=True)
        assert (said.returncode, said.stderr.count("Input/output error")) == (2, withheld)
