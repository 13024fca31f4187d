# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of the end-to-end tests: real servers on loopback, the built binary, real mounts.

    place     (session) authority + Dovecot (lab.place.Place), running
    truth     (session) {folder: {uid: Message}}: OLENA's mailbox of more than 2,000 varied messages.
              Tests don't change it; a test that changes mail uses fresh_user or its own Place.
    fresh_user() → address  a mailbox that is nobody else's, which the app may open; fill it by mailboxes.*
    home      a lab.home.Home: config, cache and mounts of this test alone
    mount     mount(*options, user=OLENA, account="work", keys={…}, **home.mount's) → path; writes the config first
    proxy     proxy(target_port=None, **Proxy's) → a started Proxy in front of Dovecot, stopped at the end
    proxy_tls (session) for proxies that rewrite
    goimap    (session) the second server, filled with the same mail

The binary is $MAILTREE_BIN or build/mailtree. Never as root: it sees neither mode bits nor fusermount3's limits.
"""

import itertools
import os
import pathlib
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lab import mailboxes  # noqa: E402
from lab.goimap import GoImap  # noqa: E402
from lab.home import Home, default_binary  # noqa: E402
from lab.place import OLENA, TENANT, Place  # noqa: E402
from lab.proxy import Proxy, ProxyTls  # noqa: E402

MESSAGES = 2_200


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes minutes; runs with --long only")


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="run the tests that take minutes, too")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--long"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="needs --long"))


def pytest_sessionstart(session):
    if os.geteuid() == 0:
        pytest.exit("end-to-end tests run as an ordinary user: see scripts/test", 2)
    if not session.config.option.collectonly and not default_binary().exists():
        pytest.exit(f"{default_binary()} is missing: build it, or set MAILTREE_BIN", 2)


@pytest.fixture(scope="session")
def place():
    # Short, for Dovecot's sockets.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lab-"))
    try:
        with Place(folder) as started:
            yield started
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def truth(place):
    return mailboxes.fill(place.dovecot.maildir(OLENA), MESSAGES)


@pytest.fixture(scope="session")
def fresh_user(place):
    numbers = itertools.count(1)

    def make():
        user = f"user{next(numbers)}@{TENANT}"
        place.app.mailboxes.add(user)
        place.dovecot.add_password(user, place.password(user))
        return user
    return make


@pytest.fixture(scope="session")
def goimap(tmp_path_factory, truth):
    with GoImap(tmp_path_factory.mktemp("goimap")) as server:
        server.fill({folder: messages.values() for folder, messages in truth.items()})
        yield server


@pytest.fixture
def home():
    with Home() as made:
        yield made


@pytest.fixture
def mount(place, home):
    def do(*options, user=OLENA, account="work", keys=None, **more):
        home.write_config(place.account(account, user, **(keys or {})))
        return home.mount(account, *options, **more)
    return do


@pytest.fixture(scope="session")
def proxy_tls(place):
    return ProxyTls(place.ca.server_context(place.certificate), place.ca.client_context())


@pytest.fixture
def proxy(place):
    started = []

    def do(target_port=None, **options):
        made = Proxy(target_port or place.dovecot.port, **options).start()
        started.append(made)
        return made
    yield do
    for made in started:
        made.stop()
