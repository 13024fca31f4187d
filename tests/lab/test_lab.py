# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's own tests: what the other tests build on does what it says. pytest tests/lab"""

import base64
import hashlib
import imaplib
import itertools
import json
import pathlib
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lab import clients, generator, grants, home, mailboxes, mutf7, net, oddities, realmail, rules, scripted  # noqa: E402
from lab.certs import CertificateAuthority  # noqa: E402
from lab.demo import Demo  # noqa: E402
from lab.dialogue import Dialogue  # noqa: E402
from lab.goimap import GoImap, append  # noqa: E402
from lab.leaks import find_leaks  # noqa: E402
from lab.maildir import served_bytes  # noqa: E402
from lab.place import EVE, OLENA, SCOPE_OF_PERSON, TEAM, Place, quote  # noqa: E402
from lab.proxy import Proxy, ProxyTls  # noqa: E402


def folder_of_ours():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lab-"))
    # As root the servers run as somebody else.
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def place():
    folder = folder_of_ours()
    here = Place(folder)
    try:
        here.truth = mailboxes.fill(here.dovecot.maildir(OLENA), 300)
        with here:
            yield here
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def calm_authority(request):
    yield
    if "place" in request.fixturenames:
        here = request.getfixturevalue("place")
        here.authority.set_fault(None)
        here.authority.set_delay(0)
        here.authority.set_lifetime(3600)


@pytest.fixture
def tls(place):
    return ProxyTls(place.ca.server_context(place.certificate), place.ca.client_context())


def assert_same(client, truth, folders):
    for folder in folders:
        expected = {uid: served_bytes(message.content) for uid, message in truth[folder].items()}
        assert Place.fetch_all(client, folder) == expected, folder


# Authority

@pytest.mark.parametrize("form, error, code", [
    ({"client_secret": "wrong"}, "invalid_client", 7000215),
    ({"scope": "https://outlook.office365.com/IMAP.AccessAsApp"}, "invalid_scope", 1002012),
    ({"scope": "https://example.com/.default"}, "invalid_resource", 500011),
    ({"client_id": "nobody"}, "unauthorized_client", 700016),
    ({"grant_type": "password"}, "unsupported_grant_type", 70003),
    ({"grant_type": ""}, "invalid_request", 900144),
])
def test_token_errors_have_microsofts_shape(place, form, error, code):
    answer = place.token(**form)
    assert (answer["error"], answer["error_codes"]) == (error, [code])
    assert answer["error_description"].startswith(f"AADSTS{code}: ")
    assert {"timestamp", "trace_id", "correlation_id"} <= answer.keys()


def test_unknown_tenant(place):
    url = f"{place.authority.url}/nowhere.example/oauth2/v2.0/token"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url, b"grant_type=client_credentials")
    assert caught.value.code == 400 and json.load(caught.value)["error_codes"] == [90002]


def test_expired_secret(place):
    place.app.secrets[0].expires_at = time.time() - 1
    try:
        assert place.token()["error_codes"] == [7000222]
    finally:
        place.app.secrets[0].expires_at = None


def test_tokens_are_long_and_counted(place):
    before = place.authority.counters()["token:client_credentials"]
    answer = place.token()
    assert len(answer["access_token"]) > 1000 and answer["expires_in"] == 3600
    assert place.authority.counters()["token:client_credentials"] == before + 1


def test_fault_a_number_of_times(place):
    place.authority.set_fault("503", times=2)
    assert [place.token().get("error") for _ in range(3)] == ["temporarily_unavailable"] * 2 + [None]


def test_slow_and_silent(place):
    place.authority.set_delay(0.3)
    start = time.monotonic()
    assert "access_token" in place.token()
    assert 0.3 <= time.monotonic() - start < 5
    place.authority.set_delay(0)
    place.authority.set_fault("stall")
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(f"{place.authority.url}/{place.tenant.name}/oauth2/v2.0/token", b"", timeout=0.3)


def test_control_by_http(place):
    def control(secret, **request):
        call = urllib.request.Request(f"{place.authority.url}/control", json.dumps(request).encode(),
                                      {"Authorization": f"Bearer {secret}"})
        return json.load(urllib.request.urlopen(call))
    control(place.authority.control_secret, action="set_lifetime", seconds=7)
    assert place.token()["expires_in"] == 7
    with pytest.raises(urllib.error.HTTPError):
        control("wrong", action="revoke_all")


# Dovecot

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
REDIRECT = "http://localhost:1"


def public_token(place, **form):
    """The token endpoint's answer to the public app."""
    return place.token(**({"client_id": place.public_app.client_id, "client_secret": None, "scope": None} | form))


def authorize(place, **changes):
    """The parameters that the browser brings back, or the page's text."""
    query = {"client_id": place.public_app.client_id, "response_type": "code", "redirect_uri": REDIRECT, "state": "s" * 43,
             "scope": SCOPE_OF_PERSON, "code_challenge": CHALLENGE, "code_challenge_method": "S256", "login_hint": OLENA}
    target, page = place.authority.answer_authorize(place.tenant.name, query | changes)
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(target).query)) if target else page


def redeem(place, code, **changes):
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, "code_verifier": VERIFIER}
    return public_token(place, **(form | changes))


def test_authorize_is_strict(place):
    assert authorize(place)["state"] == "s" * 43
    for changes in ({"code_challenge_method": "plain"}, {"code_challenge": "short"}, {"state": "short"}):
        assert authorize(place, **changes)["error"] == "invalid_request"
    assert authorize(place, login_hint="nobody@nowhere.example")["error"] == "access_denied"
    for redirect in ("http://localhost:1/", "http://127.0.0.1:1", "https://localhost", "http://localhost.example", ""):
        assert "AADSTS50011" in authorize(place, redirect_uri=redirect)
    assert "AADSTS700016" in authorize(place, client_id="nobody")


def test_codes_are_bound_and_good_once(place):
    assert redeem(place, authorize(place)["code"], code_verifier="w" * 43)["error_codes"] == [501481]
    assert redeem(place, authorize(place)["code"], code_verifier=None)["error_codes"] == [501481]
    assert redeem(place, authorize(place)["code"], redirect_uri="http://localhost:2")["error_codes"] == [500112]
    assert redeem(place, authorize(place)["code"], client_secret="x")["error_codes"] == [700025]
    code = authorize(place)["code"]
    assert redeem(place, code, client_id=place.app.client_id, client_secret=place.app.secret)["error_codes"] == [70000]
    answer = redeem(place, code)
    assert {"access_token", "refresh_token", "id_token"} <= answer.keys()
    assert redeem(place, code)["error_codes"] == [54005]
    # whoever showed it twice: what came of it has ended
    assert refresh(place, answer["refresh_token"])["error_codes"] == [50173]


def refresh(place, token):
    return public_token(place, grant_type="refresh_token", refresh_token=token)


def test_rotation_and_reuse(place):
    first = redeem(place, authorize(place)["code"])["refresh_token"]
    second = refresh(place, first)["refresh_token"]
    again = refresh(place, first)["refresh_token"]
    assert len({first, second, again}) == 3, "an answer that was lost is made good"
    third = refresh(place, again)["refresh_token"]
    assert refresh(place, first)["error_codes"] == [70000], "its successor has been used"
    assert refresh(place, third)["error_codes"] == [50173], "and so all have ended"
    place.authority.sign_ins.rotation = "strict"
    try:
        first = redeem(place, authorize(place)["code"])["refresh_token"]
        assert "refresh_token" in refresh(place, first)
        assert refresh(place, first)["error_codes"] == [70000]
    finally:
        place.authority.sign_ins.rotation = "overlap"


def test_device_polling_rules(place):
    def poll(code, **changes):
        return public_token(place, **({"grant_type": grants.device_code.GRANT_TYPE, "device_code": code} | changes))
    form = {"client_id": place.public_app.client_id, "scope": SCOPE_OF_PERSON}
    status, answer = place.authority.answer_device(place.tenant.name, form)
    assert status == 200 and answer["interval"] == 1
    device = place.authority.find_device(answer["device_code"])
    assert poll(device.code)["error"] == "slow_down"
    assert device.interval_s == 6
    device.interval_s = 0
    assert poll(device.code)["error"] == "authorization_pending"
    assert poll(device.code, client_id=place.app.client_id, client_secret=place.app.secret)["error"] == "bad_verification_code"
    device.decide(place.people[OLENA])
    assert "refresh_token" in poll(device.code)
    assert poll(device.code)["error"] == "bad_verification_code"


def test_assertions_are_checked(place, tmp_path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=a", "-keyout", tmp_path / "key",
                    "-out", tmp_path / "pem"], check=True, capture_output=True)
    key = serialization.load_pem_private_key((tmp_path / "key").read_bytes(), None)
    pem = (tmp_path / "pem").read_bytes()
    thumbprint = x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256())

    def encode(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def ask(header=None, spoil=False, algorithm="PS256", **changes):
        now = int(time.time())
        claims = {"aud": f"{place.authority.url}/{place.tenant.name}/oauth2/v2.0/token", "iss": place.app.client_id,
                  "sub": place.app.client_id, "jti": str(uuid.uuid4()), "nbf": now, "exp": now + 600} | changes
        head = {"alg": algorithm, "typ": "JWT", "x5t#S256": encode(thumbprint)} | (header or {})
        body = f"{encode(json.dumps(head).encode())}.{encode(json.dumps(claims).encode())}"
        signature = key.sign(body.encode(), clients.PADDINGS[algorithm], hashes.SHA256())
        text = f"{body}.{encode(signature[:-1] + bytes([signature[-1] ^ 1]) if spoil else signature)}"
        answer = place.token(client_secret=None, client_assertion_type=clients.ASSERTION_TYPE, client_assertion=text)
        return answer.get("error_codes", "fine")

    assert ask() == [700027], "the app doesn't have it yet"
    place.app.certificates.append(pem)
    try:
        assert ask() == "fine" and ask(algorithm="RS256") == "fine"
        assert ask(spoil=True) == [700027]
        assert ask(header={"x5t#S256": encode(bytes(32))}) == [700027]
        assert ask(header={"x5t#S256": base64.urlsafe_b64encode(thumbprint).decode()}) == [700027]
        assert ask(header={"alg": "none"}) == [50027]
        assert ask(aud="https://elsewhere.example/token") == [700023]
        assert ask(sub="somebody") == [700021]
        assert ask(exp=int(time.time()) - 301, nbf=int(time.time()) - 600) == [700024]
        assert ask(nbf=int(time.time()) + 400, exp=int(time.time()) + 900) == [700024]
        assert ask(exp=int(time.time()) + 86400) == [50027]
        assert ask(jti="once") == "fine" and ask(jti="once") == []
    finally:
        place.app.certificates.clear()


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_app_opens_the_mailboxes_that_it_may(place, mechanism):
    token = place.token()["access_token"]
    for user in (OLENA, TEAM):
        assert place.sign_in(place.connect(), user, token, mechanism)[0] == "OK"
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        place.sign_in(place.connect(), EVE, token, mechanism)


def test_revoked_token_is_refused(place):
    token = place.token()["access_token"]
    place.authority.revoke_all()
    with pytest.raises(imaplib.IMAP4.error):
        place.sign_in(place.connect(), OLENA, token)
    assert place.sign_in(place.connect(), OLENA)[0] == "OK"


def test_expired_token_is_refused(place):
    place.authority.set_lifetime(0.2)
    token = place.token()["access_token"]
    time.sleep(0.3)
    with pytest.raises(imaplib.IMAP4.error):
        place.sign_in(place.connect(), OLENA, token)


def test_token_for_another_resource_is_refused(place):
    token = place.token(scope="https://graph.microsoft.com/.default")["access_token"]
    with pytest.raises(imaplib.IMAP4.error):
        place.sign_in(place.connect(), OLENA, token)


def test_passwords_and_starttls(place):
    client = imaplib.IMAP4(net.LOOPBACK, place.dovecot.starttls_port)
    client.starttls(place.ca.client_context())
    assert client.login(OLENA, place.password(OLENA))[0] == "OK"
    text = f"\0{TEAM}\0{place.password(TEAM)}".encode()
    assert place.connect().authenticate("PLAIN", lambda _: text)[0] == "OK"


def test_served_bytes_are_those_generated(place):
    client = place.imap()
    assert_same(client, place.truth, [name for name, messages in place.truth.items() if messages])
    assert client.select("Projects")[0] == "NO", "a folder that holds folders only"
    assert client.select(quote("Empty"), readonly=True) == ("OK", [b"0"])


def test_dates_are_those_generated(place):
    client = place.imap()
    client.select("INBOX", readonly=True)
    for line in client.uid("FETCH", "1:20", "(UID INTERNALDATE)")[1]:
        uid = int(re.search(rb"UID (\d+)", line)[1])
        date = place.truth["INBOX"][uid].internal_date
        assert time.strftime("%d-%b-%Y %H:%M:%S", time.gmtime(date)).lstrip("0").encode() in line


def test_restart_keeps_ports_and_mail(place):
    port = place.dovecot.port
    place.dovecot.restart()
    assert place.dovecot.port == port
    assert_same(place.imap(), place.truth, ["INBOX"])


def test_unknown_and_expired_certificates(place, tmp_path):
    unknown = CertificateAuthority(tmp_path / "unknown", "nobody knows it").issue("imap")
    try:
        for certificate, reason in ((unknown, "unable to get local issuer"), (place.ca.issue("old", expired=True), "expired"),
                                    (place.ca.issue("other", names=["mail.example"]), "IP address mismatch")):
            place.dovecot.use_certificate(certificate)
            place.dovecot.restart()
            with pytest.raises(ssl.SSLCertVerificationError, match=reason):
                place.connect()
    finally:
        place.dovecot.use_certificate(place.certificate)
        place.dovecot.restart()
    assert place.imap().noop()[0] == "OK"


def test_a_big_message_and_a_folder_of_many(place):
    maildir, count = place.dovecot.maildir(TEAM), 20_000
    start = time.monotonic()
    mailboxes.fill_bulk(maildir, count, "Many", mean_bytes=600)
    # 100,000 in half a minute, on a slow disk.
    assert time.monotonic() - start < 6 * net.SLOWNESS
    big = generator.make_big(30 << 20)
    mailboxes.fill_messages(maildir, "Big", [big])
    place.dovecot.own_mail()
    try:
        client = place.imap(TEAM)
        assert client.select("Many", readonly=True)[1] == [b"%d" % count]
        assert client.uid("SEARCH", "UID", f"{count}:*")[1] == [b"%d" % count]
        assert place.fetch_all(client, "Big") == {1: big.content}
        client.logout()
    finally:
        place.dovecot.forget_mail(TEAM)


def test_real_mail_comes_back_from_dovecot(place):
    messages = [*realmail.python_messages(), *realmail.spam_assassin()]
    assert len(messages) > 6_000
    truth = mailboxes.fill_messages(place.dovecot.maildir(TEAM), "Real", messages)
    place.dovecot.own_mail()
    try:
        client = place.imap(TEAM)
        bodies = place.fetch_all(client, "Real")
        # Other people's mail: no comparison that prints it.
        assert sorted(bodies) == sorted(truth)
        assert [uid for uid, message in truth.items() if bodies[uid] != served_bytes(message.content)] == []
        client.logout()
    finally:
        place.dovecot.forget_mail(TEAM)


# Generator

def test_same_seed_same_mail():
    first = [generator.make_message(5, number) for number in range(1, 60)]
    assert first == [generator.make_message(5, number) for number in range(1, 60)]
    assert first != [generator.make_message(6, number) for number in range(1, 60)]
    assert oddities.odd_messages() == oddities.odd_messages()


def test_generated_mail_is_varied_and_wire_clean():
    messages = [generator.make_message(1, number) for number in range(1, 800)]
    everything = b"".join(message.content for message in messages)
    for wanted in (b"koi8-u", b"windows-1251", b"iso-2022-jp", b"gb18030", b"8bit", b"quoted-printable", b"base64",
                   b"message/rfc822", b"filename*0*=", b"References:", b"text/html", b"=?utf-8?"):
        assert wanted in everything
    for message in messages:
        assert served_bytes(message.content) == message.content, "lone LFs and NULs are for oddities.py"
        assert b"X-Needle: needle-" in message.content


def test_bulk_has_its_mean_size_and_big_its_size():
    sizes = [len(generator.make_bulk(1, number).content) for number in range(2_000)]
    assert 15_000 < sum(sizes) / len(sizes) < 18_000
    assert len(generator.make_big(3_000_001).content) == 3_000_001


def test_mutf7_both_ways():
    for name in ("INBOX", "Вхідні", "R&D", "日本語/受信", "🎉 x", "&-&"):
        assert mutf7.decode(mutf7.encode(name)) == name
    assert mutf7.encode("~peter/mail/台北/日本語") == "~peter/mail/&U,BTFw-/&ZeVnLIqe-"


# Proxy

def test_proxy_lies_about_sizes_and_leaves_bytes_alone(place, tls):
    with Proxy(place.dovecot.port, tls=tls, rules=[rules.WrongSizes()]) as proxy:
        client = place.imap(port=proxy.port)
        assert_same(client, place.truth, ["INBOX", "Odd"])
        client.select("INBOX", readonly=True)
        truth = place.truth["INBOX"]
        kinds = set()
        for line in client.uid("FETCH", "1:*", "(RFC822.SIZE)")[1]:
            uid, size = (int(number) for number in re.search(rb"UID (\d+) RFC822.SIZE (\d+)", line).groups())
            kinds.add((size > len(truth[uid].content)) - (size < len(truth[uid].content)))
            assert size == rules.WrongSizes.default_lie(uid, len(truth[uid].content))
        assert kinds == {-1, 0, 1}


def test_dialogue_is_the_same_at_every_cut():
    stream = (b'* 1 FETCH (UID 1 RFC822.SIZE 10 ENVELOPE ("RFC822.SIZE 10" {15}\r\nRFC822.SIZE 77\n) BODY[] {31}\r\n'
              b"* 2 FETCH (UID 2 RFC822.SIZE 9)\r\n)\r\n* OK {3}\r\nA1 OK {4}\r\n* 2 FETCH (UID 2 RFC822.SIZE 20)\r\n")

    def rewritten(pieces):
        dialogue = Dialogue([rules.WrongSizes(lambda uid, size: size + 1000)], None, None)
        return b"".join(dialogue.from_server(piece) for piece in pieces)
    whole = rewritten([stream])
    assert whole == stream.replace(b"UID 1 RFC822.SIZE 10", b"UID 1 RFC822.SIZE 1010").replace(
        b"RFC822.SIZE 20", b"RFC822.SIZE 1020")
    for cut in range(1, len(stream)):
        assert rewritten([stream[:cut], stream[cut:]]) == whole
    assert rewritten([stream[at:at + 1] for at in range(len(stream))]) == whole


def test_exchange_like(place, tls):
    limits = rules.exchange_like(connections=2)
    with Proxy(place.dovecot.port, tls=tls, rules=limits) as proxy:
        client = place.imap(port=proxy.port)
        words = client.capability()[1][-1].split()
        assert b"AUTH=XOAUTH2" in words and b"CONDSTORE" not in words and b"COMPRESS=DEFLATE" not in words
        assert_same(client, place.truth, ["INBOX"])
        client.send(b"P1 NOOP\r\nP2 NOOP\r\n")
        assert b"P2 BAD Command Error. 10\r\n" in {client.readline() for _ in range(2)}
        second, third = place.imap(port=proxy.port), place.imap(port=proxy.port)
        assert second.namespace()[0] == "OK"
        with pytest.raises(imaplib.IMAP4.error, match="not connected"):
            third.namespace()
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATE failed"):
            place.sign_in(place.connect(proxy.port), OLENA, "no token")


def test_faults_of_single_messages(place, tls):
    faults = [rules.RefuseBodies({3: b"NO [SERVERBUG] sorry", 5: b"BAD Command Error. 10"}), rules.OmitBodies({1}),
              rules.StandIn({2})]
    with Proxy(place.dovecot.port, tls=tls, rules=faults) as proxy:
        client = place.imap(port=proxy.port)
        client.select("INBOX", readonly=True)
        assert client.uid("FETCH", "1", "(BODY.PEEK[])") == ("OK", [None])
        assert b"Microsoft Exchange Server" in client.uid("FETCH", "2", "(BODY.PEEK[])")[1][0][1]
        assert client.uid("FETCH", "4:6", "(UID FLAGS)")[0] == "OK", "only bodies fail"
        assert client.uid("FETCH", "2:4", "(BODY.PEEK[])") == ("NO", [b"[SERVERBUG] sorry"])
        with pytest.raises(imaplib.IMAP4.error, match="Command Error"):
            client.uid("FETCH", "4:6", "(BODY.PEEK[])")
        client.untagged_responses.clear()
        assert client.uid("FETCH", "4", "(BODY.PEEK[])")[1][0][1] == place.truth["INBOX"][4].content


def test_throttle_and_close_after(place, tls):
    throttle = rules.Throttle(after=2, backoff_ms=300)
    with Proxy(place.dovecot.port, tls=tls, rules=[throttle]) as proxy:
        client = place.imap(port=proxy.port)
        client.noop(), client.noop()
        for _ in range(2):
            with pytest.raises(imaplib.IMAP4.error, match="Suggested Backoff Time"):
                client.noop()
        time.sleep(0.35)
        assert client.noop()[0] == "OK" and (throttle.spells, throttle.ignored) == (1, 1)
    with Proxy(place.dovecot.port, tls=tls, rules=[rules.CloseAfter(3)]) as proxy:
        client = place.imap(port=proxy.port)
        client.select("INBOX", readonly=True)
        with pytest.raises(imaplib.IMAP4.abort):
            client.uid("FETCH", "1:9", "(BODY.PEEK[])")
        assert len([item for item in client.untagged_responses["FETCH"] if isinstance(item, tuple)]) == 3


def test_session_ends_when_its_token_does(place, tls):
    with Proxy(place.dovecot.port, tls=tls, rules=[rules.SessionLifetime(0.2)]) as proxy:
        client = place.imap(port=proxy.port)
        client.noop()
        time.sleep(0.25)
        with pytest.raises(imaplib.IMAP4.abort, match="AccessTokenExpired"):
            client.noop()


def test_distance_and_counters(place):
    with Proxy(place.dovecot.port, rtt_ms=60) as proxy:
        client = place.imap(port=proxy.port)
        client.noop()
        trips = proxy.counters.round_trips
        start = time.monotonic()
        for _ in range(3):
            client.noop()
        assert 0.18 <= time.monotonic() - start < 1.0
        assert proxy.counters.round_trips == trips + 3
        assert proxy.counters.connections == 1 and proxy.counters.bytes_down > 1000


def test_bandwidth(place):
    with Proxy(place.dovecot.port, bits_per_s=8e6) as proxy:
        client = place.imap(port=proxy.port)
        start, before = time.monotonic(), proxy.counters.bytes_down
        place.fetch_all(client, "INBOX")
        rate = (proxy.counters.bytes_down - before) / (time.monotonic() - start)
        assert 600_000 < rate <= 1_100_000


@pytest.mark.parametrize("with_tls", [False, True])
def test_split(place, tls, with_tls):
    with Proxy(place.dovecot.port, tls=tls if with_tls else None, split_bytes=1) as proxy:
        client = place.imap(port=proxy.port)
        if with_tls:
            client.send(b"S NOOP\r\n")
            assert client.sock.recv(1000) == b"S", "each byte comes by itself"
        else:
            assert client.noop()[0] == "OK"


def test_cut_refuse_stall(place):
    with Proxy(place.dovecot.port) as proxy:
        proxy.cut_next(after_bytes=200)
        with pytest.raises((OSError, imaplib.IMAP4.abort)):
            place.imap(port=proxy.port)
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            place.connect(proxy.port)
        proxy.listen()
        client = place.imap(port=proxy.port)
        proxy.stall()
        client.sock.settimeout(0.3)
        with pytest.raises((OSError, imaplib.IMAP4.abort)):
            client.noop()
        proxy.resume()
        client = place.imap(port=proxy.port)
        proxy.cut_all(reset=True)
        with pytest.raises((OSError, imaplib.IMAP4.abort)):
            client.noop()


def test_lost_connections_are_silent_and_new_ones_live(place):
    with Proxy(place.dovecot.port) as proxy:
        lost = place.imap(port=proxy.port)
        proxy.lose_all()
        lost.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            lost.noop()
        assert place.imap(port=proxy.port).noop()[0] == "OK"


# The other servers

def test_scripted_model_answers_as_generated():
    odd = oddities.odd_messages()
    with scripted.Scripted(scripted.Model({"INBOX": odd, "A/Б": {7: b"Subject: x\r\n\r\ny"}})) as server:
        client = imaplib.IMAP4(net.LOOPBACK, server.port)
        client.login("olena", "secret")
        assert Place.fetch_all(client, "INBOX") == {uid: message.content for uid, message in enumerate(odd, 1)}
        assert Place.fetch_all(client, "A/Б") == {7: b"Subject: x\r\n\r\ny"}
        assert server.connections == 1 and server.lines[1].split()[1] == b"LOGIN"


def test_scripted_ids():
    message = generator.Message("plain", b"Subject: x\r\n\r\ny", 0, emailid="17")
    with scripted.Scripted(scripted.Model({"INBOX": [message, b"Subject: z\r\n\r\n"]})) as server:
        client = scripted_client(server)
        assert client.uid("FETCH", "1:2", "(EMAILID X-GM-MSGID)")[1] == [
            b"1 (UID 1 EMAILID (17) X-GM-MSGID 17)", b"2 (UID 2 EMAILID NIL X-GM-MSGID NIL)"]


def test_scripted_handlers():
    handlers = {"NAMESPACE": [scripted.NOT_CONNECTED, None], "AUTHENTICATE": scripted.echo_authenticate}
    with scripted.Scripted(handlers=handlers, split=1) as server:
        client = imaplib.IMAP4(net.LOOPBACK, server.port)
        client.login("olena", "secret")
        with pytest.raises(imaplib.IMAP4.error, match="not connected"):
            client.namespace()
        client = imaplib.IMAP4(net.LOOPBACK, server.port)
        client.login("olena", "secret")
        assert client.namespace()[0] == "OK"
        client.send(b"Z AUTHENTICATE XOAUTH2 c2VjcmV0\r\n")
        assert b"c2VjcmV0" in client.readline()


def scripted_client(server):
    client = imaplib.IMAP4(net.LOOPBACK, server.port)
    client.login("olena", scripted.Scripted.PASSWORD)
    client.select("INBOX", readonly=True)
    return client


def test_scripted_quirks():
    model = scripted.Model({"INBOX": [b"Subject: x\r\n\r\ntext\r\n"]})
    fetch = scripted.for_bodies
    with scripted.Scripted(model, {"UID FETCH": fetch(scripted.bye_in_literal)}) as server:
        client = scripted_client(server)
        assert client.uid("FETCH", "1", "(RFC822.SIZE)") == ("OK", [b"1 (UID 1 RFC822.SIZE 20)"]), "only bodies fail"
        with pytest.raises(imaplib.IMAP4.abort):
            client.uid("FETCH", "1", "(BODY.PEEK[])")
    for difference in (1, -1):
        with scripted.Scripted(model, {"UID FETCH": scripted.wrong_literal(difference)}) as server:
            client = scripted_client(server)
            client.sock.settimeout(2)
            try:
                answer = client.uid("FETCH", "1", "(BODY.PEEK[])")[1]
                assert answer[0][1] != model.folders["INBOX"].messages[1].content
            except imaplib.IMAP4.abort:
                pass
    with scripted.Scripted(model, {"UID FETCH": fetch(scripted.OK_WITHOUT_DATA)}) as server:
        assert scripted_client(server).uid("FETCH", "1", "(BODY.PEEK[])") == ("OK", [None])
    with scripted.Scripted(model, {"UID FETCH": fetch(scripted.THROTTLED)}) as server:
        with pytest.raises(imaplib.IMAP4.error, match="Suggested Backoff"):
            scripted_client(server).uid("FETCH", "1", "(BODY.PEEK[])")


def test_goimap_serves_what_was_appended(tmp_path):
    messages = [generator.make_message(1, number) for number in range(1, 50)]
    with GoImap(tmp_path) as server:
        server.fill({"Пошта": messages})
        client = server.imap()
        assert Place.fetch_all(client, "Пошта") == {uid: message.content for uid, message in enumerate(messages, 1)}
        assert append(client, "INBOX", messages[0])[0] == "OK"
        assert b"CONDSTORE" not in client.capability()[1][0]


def test_demo_starts_and_stops_what_it_started():
    folder = folder_of_ours()
    try:
        demo = Demo(folder)
        demo.start()
        config = (folder / "config").read_text()
        assert "[demo]" in config and (folder / "config").stat().st_mode & 0o777 == 0o600
        assert demo.start() == demo.status()
        demo.stop()
        assert "aren't running" in demo.status() == demo.stop()
        demo.start()
        assert (folder / "config").read_text() == config, "ports and secrets outlive a restart"
        demo.stop()
    finally:
        Demo(folder).stop()
        shutil.rmtree(folder)


# The home

@pytest.mark.parametrize("secret", ["S~abc/+d\u00e9f ghi?", 'the "password" \\1', "eyJ0eXAi.eyJhdWQi.c2ln-_nature"])
def test_leaks_are_found_however_they_are_written(secret):
    data = secret.encode()
    texts = [secret, urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret), json.dumps({"a": secret})]
    for before, after in itertools.product(("", "u", "us", "user=a\1auth="), ("", "x", "xy", "\1\1")):
        inside = before.encode() + data + after.encode()
        texts += [base64.b64encode(inside).decode(), base64.urlsafe_b64encode(inside).decode().rstrip("=")]
    for text in texts:
        assert find_leaks(f"AUTHENTICATE {text} end", {"it": secret}), text
    assert find_leaks("nothing to see, only " + secret[:-3], {"it": secret}) == []


def test_options_of_a_mount():
    assert home.option_words({}) == home.option_words({"write": False, "uid": None}) == []
    assert home.option_words({"sizes": "exact", "xattr": True, "poll": 0, "folders": "a,b"}) == [
        "-o", "sizes=exact,xattr,poll=0,folders=a\\,b"]


FAKE = """#!/bin/sh
case $1 in
mount) echo "token=$FAKE_TOKEN" >&2; echo report >"$HOME/sanitizer.1"; exit 7 ;;
say) echo "$2" >&2 ;;
esac
"""


def test_home_complains(tmp_path):
    binary = tmp_path / "mailtree"
    binary.write_text(FAKE.replace("$FAKE_TOKEN", "T0ken-value"))
    binary.chmod(0o755)
    with pytest.raises(AssertionError) as caught:
        with home.Home(binary, {"the token": "T0ken-value", "the secret": "S3cret-value"}) as made:
            made.run("say", base64.b64encode(b"xS3cret-value").decode())
            with pytest.raises(AssertionError, match="ended with 7"):
                made.mount("work")
    text = str(caught.value)
    assert "the secret, in base64, in standard error of mailtree say" in text
    assert "the token, raw, in the log" in text and "report" in text
    assert not made.path.exists()
