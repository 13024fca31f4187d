# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of the end-to-end tests: real servers on loopback, the built binary, real mounts.

    place     (session) authority + Dovecot (lab.place.Place), running
    truth     (session) {folder: {uid: Message}}: OLENA's mailbox of more than 2,000 varied messages, half as many
              under sanitizers. Tests don't change it; a test that changes mail uses fresh_user or its own Place.
    fresh_user() → address  a mailbox that is nobody else's, which the app may open; fill it by mailboxes.*
    home      a lab.home.Home: config, cache and mounts of this test alone; checked at the end for processes and
              mounts left, sanitizers' reports, and secrets in what mailtree wrote
    module_home (module) the same for all tests of one module: module_home.set_account(…), .mount(…)
    mount     mount(user=OLENA, account="work", keys={…}, text=None, daemon=False, debug=False, **options) → lab.home.Mount:
              a path with .status() .errors() .remount(**options) .unmount(). `keys` go to the account's group of the
              config file over those of place.account(), `text` is the whole group instead (a server.account("work")),
              the rest are mount options: mount(sizes="exact", xattr=True, keys={"timeout": 3})
    proxy     proxy(target_port=None, **Proxy's) → a started Proxy in front of Dovecot, stopped at the end
    proxy_tls (session) for proxies that rewrite
    scripted  scripted(model=None, handlers=None, **Scripted's) → a started lab.scripted.Scripted, stopped at the end
    goimap    (session) the second server, with the same mail in goimap.truth: {folder: {uid: bytes}}, as imaplib reads it
    unknown_ca (session) a certificate authority that nobody trusts
    wait_for  wait_for(condition, timeout_s=20, what=…) → the first true value of condition()

MAILTREE_TEST_SEED: where the seeds of test_chaos.py and test_crashes.py begin (0). MAILTREE_TEST_SMALL_DISK: a file system
that tests may fill, which scripts/test mounts as root.

@pytest.mark.long: runs with --long only. @pytest.mark.plain: not under sanitizers (memory, time). @pytest.mark.variant: one
more of a kind (another program that asks for the same); under sanitizers with --long only. @pytest.mark.slow: begins
early, so that nobody waits for it alone at the end. A skip for any other reason than --long counts as failed. The binary
is $MAILTREE_BUILD/mailtree, else build/mailtree. Never as root: it sees neither mode bits nor fusermount3's limits;
scripts/test starts the suite as the user mailtree-test.
"""

import collections
import itertools
import os
import pathlib
import shutil
import signal
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lab import mailboxes, net  # noqa: E402
from lab.certs import CertificateAuthority  # noqa: E402
from lab.goimap import GoImap  # noqa: E402
from lab.home import Home, default_binary  # noqa: E402
from lab.place import OLENA, TENANT, Place  # noqa: E402
from lab.proxy import Proxy, ProxyTls  # noqa: E402
from lab.scripted import Scripted  # noqa: E402

ROWS_THIN = 6
# Of a row that differs little from one before it.
REPEATS = pytest.StashKey[bool]()


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes minutes; runs with --long only")
    config.addinivalue_line("markers", "plain: measures what sanitizers change; doesn't run under them")
    config.addinivalue_line("markers", "variant: one more of a kind; under sanitizers with --long only")
    config.addinivalue_line("markers", "slow: takes long, and begins early")


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="run the tests that take minutes, too")
    parser.addoption("--thin", action="store_true", help="of a table, only some rows of those that run under sanitizers")


# Before xdist, which writes the groups into the names.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="needs --long"))
    mark_repeats(items)
    if config.getoption("--thin"):
        thin_out(config, items)
    together = collections.Counter()
    for item in items:
        if shares(item):
            item.add_marker(pytest.mark.xdist_group(item.module.__name__))
            together[item.module] += 1
    # What can't be divided first, and of that the most.
    items.sort(key=lambda item: (-together[item.module], item.module.__name__) if shares(item) else
               (1, "") if item.get_closest_marker("slow") else (2, ""))


def shares(item):
    """Whether it stays on one worker with the others of its module: with a mount of theirs, or a server that is slow to fill."""
    fixtures = item._fixtureinfo.name2fixturedefs
    return "goimap" in fixtures or any(definition.scope in ("module", "class") for made in fixtures.values() for definition in made)


def mark_repeats(items):
    """All rows of a table but the first and every sixth from there on; none that runs in one build alone."""
    rows = collections.Counter()
    for item in items:
        if hasattr(item, "callspec") and not any(map(item.get_closest_marker, ("plain", "variant", "long"))):
            table = item.nodeid.partition("[")[0]
            item.stash[REPEATS] = rows[table] % ROWS_THIN != 0
            rows[table] += 1


def thin_out(config, items):
    gone = [item for item in items if item.stash.get(REPEATS, False)]
    items[:] = [item for item in items if not item.stash.get(REPEATS, False)]
    config.hook.pytest_deselected(items=gone)


def pytest_sessionstart(session):
    # A shell's background job begins with SIGINT ignored, and so would the programs that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.geteuid() == 0:
        pytest.exit("end-to-end tests run as an ordinary user: see scripts/test", 2)
    if not session.config.option.collectonly and not default_binary().exists():
        pytest.exit(f"{default_binary()} is missing: build it, or set MAILTREE_BUILD", 2)


@pytest.fixture(scope="session")
def place():
    # Short, for Dovecot's sockets.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lab-"))
    try:
        with Place(folder) as started:
            yield started
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def calm_authority(request):
    """No test leaves its faults to the next."""
    yield
    if "place" in request.fixturenames:
        authority = request.getfixturevalue("place").authority
        authority.set_fault(None)
        authority.set_delay(0)
        authority.set_lifetime(3600)
        authority.set_person("hint")
        authority.sign_ins.rotation = "overlap"
        authority.clock_skew_s = 0


@pytest.fixture(scope="session")
def truth(place):
    return mailboxes.fill(place.dovecot.maildir(OLENA), mailboxes.MANY)


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
        client = server.imap()
        server.truth = {folder: Place.fetch_all(client, folder) for folder in truth}
        client.logout()
        yield server


def make_home(place, leaks=True):
    known = set(place.authority.secret_texts())

    def secrets():
        texts = [text for text in place.authority.secret_texts() if text not in known]
        found = {f"a token or code ({number})": text for number, text in enumerate(texts)}
        found |= {f"the password of {user}": place.password(user) for user in (OLENA,)}
        found |= {f"client secret {number}": secret.value for number, secret in enumerate(place.app.secrets)}
        return found | {"the second server's password": Scripted.PASSWORD}
    return Home(secrets=secrets, leaks=leaks)


@pytest.fixture
def home(place, request):
    with make_home(place, leaks=not request.node.stash.get(REPEATS, False)) as made:
        yield made


@pytest.fixture(scope="module")
def module_home(place):
    with make_home(place) as made:
        yield made


@pytest.fixture
def mount(place, home):
    def do(user=OLENA, account="work", keys=None, text=None, daemon=False, debug=False, **options):
        group = account.partition(":")[0]
        home.set_account(group, text or place.account(group, user, **(keys or {})))
        return home.mount(account, daemon=daemon, debug=debug, **options)
    return do


@pytest.fixture(scope="session")
def proxy_tls(place):
    return ProxyTls(place.ca.server_context(place.certificate), place.ca.client_context())


@pytest.fixture(scope="session")
def unknown_ca(tmp_path_factory):
    return CertificateAuthority(tmp_path_factory.mktemp("unknown-ca"), "nobody knows it")


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


@pytest.fixture
def scripted():
    started = []

    def do(model=None, handlers=None, **options):
        made = Scripted(model, handlers, **options).start()
        started.append(made)
        return made
    yield do
    for made in started:
        made.stop()


@pytest.fixture
def wait_for():
    return net.wait_until
