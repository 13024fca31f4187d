# SPDX-License-Identifier: GPL-2.0-or-later
"""Every way to sign in, end to end: from the command to mail that is read, and each refusal with its reason."""

import os
import pathlib
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import pytest
from lab import net
from lab.leaks import find_leaks
from lab.place import EVE, OLENA, TEAM
from persons import BROWSER, Login, open_url, token_file

@pytest.fixture
def login(home):
    """login(*arguments, **environment) → a Login; ended with the test."""
    started = []

    def do(*arguments, **environment):
        started.append(Login(home, *arguments, **environment))
        return started[-1]
    yield do
    for one in started:
        one.end()


@pytest.fixture
def browser(home):
    """The value for $BROWSER; .page() is what it has seen."""
    class Browser(str):
        out = home.path / "page"

        def page(self):
            net.wait_until(self.out.exists, what="the browser's page")
            return net.wait_until(self.out.read_text, what="the page")
    script = home.path / "browser"
    script.write_text(BROWSER.format(out=str(Browser.out)))
    script.chmod(0o700)
    return Browser(script)


def reads_mail(mount):
    return len(os.listdir(mount / "INBOX")) > 0


# Authorization code

def test_browser_signs_in(home, place, truth, login, browser):
    home.set_account("work", place.person_account("work"))
    status, error = login("work", BROWSER=browser).wait()
    assert (status, error) == (0, "")
    page = browser.page()
    assert page.startswith("200\n") and "signed in" in page and "no-store" in page
    assert find_leaks(page, home.secrets()) == []
    file = token_file(home)
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    assert reads_mail(home.mount("work"))


def test_address_is_printed_for_browsers_elsewhere(home, place, truth, login):
    """As over `ssh -L`: nothing is opened here, the address and the port are told."""
    home.set_account("work", place.person_account("work"))
    port = net.free_port()
    running = login("work", "--port", str(port))
    url = running.url()
    assert f"ssh -L {port}:localhost:{port}" in running.output and "--device" in running.output
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    assert query["redirect_uri"] == f"http://localhost:{port}"
    assert (query["code_challenge_method"], query["login_hint"]) == ("S256", OLENA)
    assert open_url(url)[0] == 200
    assert running.wait() == (0, "")
    assert f"signed in as {OLENA}" in running.output


def test_port_that_is_taken(home, place, login):
    home.set_account("work", place.person_account("work"))
    with net.socket.socket() as taken:
        taken.bind((net.LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, error = login("work", "--port", str(port)).wait()
    assert status == 1 and f"localhost:{port}" in error


def test_strangers_at_the_loopback_port_get_nowhere(home, place, truth, login):
    home.set_account("work", place.person_account("work"))
    running = login("work")
    url = running.url()
    port = urllib.parse.urlsplit(dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))["redirect_uri"]).port
    base = f"http://localhost:{port}"
    assert open_url(f"{base}/favicon.ico")[0] == 404
    for query in ("", "?", "?code=x", "?code=x&state=guessed", "?error=access_denied&state=guessed", "?code=x&code=y",
                  "?code=%00&state=%zz"):
        assert open_url(f"{base}/{query}")[0] == 400, query
    for raw in (b"", b"\0" * 100, b"POST / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a" * 100_000, b"GET"):
        with net.socket.create_connection((net.LOOPBACK, port)) as client:
            try:
                client.sendall(raw)
            except OSError:
                pass
    idle = [net.socket.create_connection((net.LOOPBACK, port)) for _ in range(12)]
    assert open_url(url)[0] == 200, "and the person comes through"
    for client in idle:
        client.close()
    assert running.wait() == (0, "")


def test_loopback_listens_nowhere_else(home, place, login):
    home.set_account("work", place.person_account("work"))
    running = login("work")
    url = running.url()
    port = urllib.parse.urlsplit(dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))["redirect_uri"]).port
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in pathlib.Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, _, number = line.split()[1].partition(":")
            if int(number, 16) == port and line.split()[3] == "0A":
                addresses.add(address)
    assert addresses <= {"0100007F", "00000000000000000000000001000000"} and "0100007F" in addresses


@pytest.mark.parametrize("change, words", [
    ({"person": None}, ["access_denied", "65004"]),
    ({"scope": "https://outlook.office.com/IMAP.AccessAsUser.All https://graph.microsoft.com/Mail.Read"}, ["700022"]),
    ({"lost": True}, ["invalid_client", "7000218"]),
], ids=["declined", "scopes-of-two-resources", "not-a-public-client"])
def test_refusals_in_the_browser_are_told(home, place, login, browser, change, words):
    keys = {"scope": change["scope"]} if "scope" in change else {}
    if "lost" in change:
        keys["client_id"] = place.app.client_id
    home.set_account("work", place.person_account("work", **keys))
    if "person" in change:
        place.authority.set_person(change["person"])
    status, error = login("work", BROWSER=browser).wait()
    assert status == 3
    assert error.startswith("mailtree: login: [work]: ") and error.count("\n") == 1
    page = browser.page()
    assert page.startswith("400\n") and "sign-in failed" in page
    for word in words:
        assert word in error and word in page
    assert not token_file(home).exists()


def test_unregistered_redirect_is_shown_by_the_authority(home, place, login):
    home.set_account("work", place.person_account("work"))
    place.public_app.redirect_uris[:] = ["http://localhost/other"]
    try:
        status, page = open_url(login("work").url())
    finally:
        place.public_app.redirect_uris[:] = ["http://localhost"]
    assert status == 400 and "AADSTS50011" in page


def test_confidential_client(home, place, truth, login, browser):
    home.set_account("work", place.person_account("work", client_id=place.app.client_id,
                                                  client_secret_file=place.secret_file()))
    assert login("work", BROWSER=browser).wait() == (0, "")
    assert reads_mail(home.mount("work"))


def test_another_person_signs_in(home, place, login, browser):
    """The mailbox is TEAM's, the person is Olena, who may open it: both are told."""
    home.set_account("work", place.person_account("work", TEAM))
    place.authority.set_person(place.people[OLENA])
    running = login("work", BROWSER=browser)
    assert running.wait() == (0, "")
    assert f"signed in as {OLENA}" in running.output and f"{OLENA} needs access" in running.output
    os.listdir(home.mount("work") / "INBOX")


def test_without_a_refresh_token_a_warning(home, place, login, browser):
    home.set_account("work", place.person_account("work", scope="https://outlook.office.com/IMAP.AccessAsUser.All"))
    running = login("work", BROWSER=browser)
    assert running.wait() == (0, "")
    assert "offline_access" in running.output


def test_provider_parameters_of_the_authorization_url(home, place, login):
    """As gmail's preset has them: a query that auth_url brings stays."""
    home.set_account("work", place.person_account(
        "work", auth_url=f"{place.authority.url}/{place.tenant.name}/oauth2/v2.0/authorize?access_type=offline&prompt=consent"))
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(login("work").url()).query)
    assert (query["access_type"], query["prompt"], query["response_type"]) == (["offline"], ["consent"], ["code"])


# Device code

@pytest.mark.parametrize("words, auth", [(["--device"], "authorization-code"), ([], "device-code")], ids=["asked", "configured"])
def test_device_code_signs_in(home, place, truth, login, words, auth):
    home.set_account("work", place.person_account("work", auth=auth))
    running = login("work", *words)
    url = running.url()
    device = place.authority.devices()[-1]
    assert url == f"{place.authority.url}/device" and f"  {device.user_code}\n" in running.output
    net.wait_until(lambda: device.polls, what="the first poll, which finds nothing")
    device.decide(place.people[OLENA])
    assert running.wait() == (0, "")
    assert f"signed in as {OLENA}" in running.output
    assert device.too_fast == 0
    assert reads_mail(home.mount("work"))


def test_device_polls_slower_when_told(home, place, login):
    home.set_account("work", place.person_account("work", auth="device-code"))
    running = login("work")
    running.url()
    device = place.authority.devices()[-1]
    device.slow_downs = 1
    device.decide(place.people[OLENA])
    assert running.wait() == (0, "")
    assert (device.polls, device.too_fast) == (2, 0), "five seconds more were waited"


@pytest.mark.parametrize("end", ["declined", "expired"])
def test_device_code_that_comes_to_nothing(home, place, login, end):
    home.set_account("work", place.person_account("work", auth="device-code"))
    if end == "expired":
        place.authority.device_life_s = 2.5
    try:
        running = login("work")
        running.url()
    finally:
        place.authority.device_life_s = 900.0
    if end == "declined":
        place.authority.devices()[-1].decide(None)
    status, error = running.wait()
    assert status == 3
    assert ("declined" if end == "declined" else "in time") in error
    assert not token_file(home).exists()


def test_device_code_survives_a_bad_line(home, place, login):
    home.set_account("work", place.person_account("work", auth="device-code"))
    running = login("work")
    running.url()
    device = place.authority.devices()[-1]
    place.authority.set_fault("hang-up", times=1)
    net.wait_until(lambda: place.authority.counters().get("fault:hang-up"), what="the poll that fails")
    device.decide(place.people[OLENA])
    assert running.wait() == (0, "")


@pytest.mark.parametrize("fault, status", [("html", 4), ("not-json", 4), ("huge", 4), ("hang-up", 4), ("503", 4)])
def test_device_endpoint_that_isnt_one(home, place, login, fault, status):
    home.set_account("work", place.person_account("work", auth="device-code"))
    place.authority.set_fault(fault)
    assert login("work").wait()[0] == status


def test_device_needs_an_endpoint(home, place, login):
    url = f"{place.authority.url}/{place.tenant.name}/oauth2/v2.0"
    home.set_account("work", place.person_account("work", authority=None, tenant=None, auth_url=f"{url}/authorize",
                                                  token_url=f"{url}/token"))
    status, error = login("work", "--device").wait()
    assert status == 5 and "device_url" in error


# Mounts and commands

def test_nobody_has_signed_in(home, place, truth):
    home.set_account("work", place.person_account("work"))
    for words in (["ls", "work"], ["token", "work"], ["cat", "work", "INBOX", "1"]):
        result = home.run(*words)
        assert (result.returncode, result.stdout) == (3, "")
        assert result.stderr.endswith("(run `mailtree login work`)\n")


@pytest.mark.parametrize("way", ["browser", "device"])
def test_a_mount_goes_on_after_login(home, place, truth, login, browser, wait_for, way):
    notes = home.path / "notes"
    home.set_account("work", place.person_account(
        "work", notify_command=f'printf "%s\\n" "$1" >> {notes}; exit 0;'))
    mount = home.mount("work")
    for _ in range(3):
        with pytest.raises(PermissionError):
            os.listdir(mount / "INBOX")
    status = mount.status()
    assert status["state"] == "sign-in-needed" and not status["signed_in"]
    assert status["last_error"]["kind"] == "sign-in" and status["last_error"]["hint"] == "run `mailtree login work`"
    assert "mailtree login work" in home.log()
    wait_for(notes.exists, what="notify_command")
    if way == "browser":
        running = login("work", BROWSER=browser)
    else:
        running = login("work", "--device")
        running.url()
        place.authority.devices()[-1].decide(place.people[OLENA])
    assert running.wait() == (0, "")
    assert "Its mounts go on." in running.output
    assert reads_mail(mount), "at once, without a remount"
    assert (mount.status()["state"], mount.status()["signed_in"]) == ("connected", True)
    assert len(notes.read_text().splitlines()) == 1, "a person is told once"


def test_nothing_opens_a_browser_at_mount_time(home, place, truth, browser):
    home.set_account("work", place.person_account("work"))
    point = home.path / "mnt" / "m"
    point.mkdir()
    before = place.authority.counters().get("authorize", 0)
    process = subprocess.Popen([home.binary, "mount", "work", point, "-f"], env=home.environment(BROWSER=browser, DISPLAY=":0"),
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        net.wait_until(lambda: os.path.ismount(point), what="the mount")
        with pytest.raises(PermissionError):
            os.listdir(point / "INBOX")
        assert place.authority.counters().get("authorize", 0) == before
        assert not browser.out.exists()
    finally:
        home.run("umount", point)
        assert process.wait(20 * net.SLOWNESS) == 0


def test_logout(home, place, truth, login, browser, wait_for):
    home.set_account("work", place.person_account("work"))
    assert login("work", BROWSER=browser).wait()[0] == 0
    mount = home.mount("work")
    assert reads_mail(mount)
    assert "signed out" in home.run("logout", "work", check=True).stdout
    assert not list(token_file(home).parent.glob("*.token*"))
    assert home.run("token", "work").returncode == 3
    assert "nobody was signed in" in home.run("logout", "work", check=True).stdout
    # the mount has no token for its next connection either
    mount.unmount()
    mount.start()
    wait_for(lambda: mount.status() is not None)
    with pytest.raises(PermissionError):
        os.listdir(mount / "Sent")
    assert home.run("logout", "nobody").returncode == 5


@pytest.mark.parametrize("command", ["login", "logout"])
def test_accounts_without_persons(home, place, command):
    home.set_account("work", place.account("work"))
    result = home.run(command, "work")
    assert result.returncode == 5 and "authorization-code" in result.stderr


def test_tokens_belong_to_their_account(home, place, login, browser):
    home.set_account("work", place.person_account("work"))
    assert login(f"work:{EVE}", BROWSER=browser).wait()[0] == 0
    assert home.run("token", "work").returncode == 3
    assert home.run("token", f"work:{EVE}").returncode == 0


# Certificates

@pytest.fixture(scope="module")
def key_pair(tmp_path_factory, place):
    """An RSA certificate that the app has, and a second one that it hasn't."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("app", "other"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=mailtree", "-days", "2",
                        "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"], check=True, capture_output=True)
    place.app.certificates.append((folder / "app.pem").read_bytes())
    yield folder
    place.app.certificates.clear()


def certificate_account(place, folder, name="app", **keys):
    return place.account("work", client_secret_file=None, certificate=folder / f"{name}.pem",
                         certificate_key=folder / f"{name}.key", **keys)


@pytest.mark.parametrize("algorithm", ["PS256", "RS256"])
@pytest.mark.parametrize("skew_s", [0, 240, -240])
def test_certificate(home, place, key_pair, algorithm, skew_s):
    place.authority.clock_skew_s = skew_s
    home.set_account("work", certificate_account(place, key_pair, assertion_alg=algorithm))
    for _ in range(2):
        assert home.run("token", "work").returncode == 0, "each assertion is another one"


def test_certificate_opens_mail(mount, place, truth, key_pair):
    assert reads_mail(mount(text=certificate_account(place, key_pair)))


def test_certificate_that_isnt_the_apps(home, place, key_pair):
    home.set_account("work", certificate_account(place, key_pair, "other"))
    result = home.run("token", "work")
    assert result.returncode == 3 and "AADSTS700027" in result.stderr


# Secrets that are wrong

@pytest.mark.parametrize("secret, code", [("no~such", 7000215), ("id", 7000215)])
def test_wrong_secret(home, place, secret, code):
    file = home.path / "secret"
    file.touch(mode=0o600)
    file.write_text(place.app.secrets[0].key_id if secret == "id" else secret)
    home.set_account("work", place.account("work", client_secret_file=file))
    result = home.run("token", "work")
    assert result.returncode == 3 and f"AADSTS{code}" in result.stderr
