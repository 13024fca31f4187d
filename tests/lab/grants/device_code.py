# SPDX-License-Identifier: GPL-2.0-or-later
"""The device authorization grant (RFC 8628).

    begin(authority, tenant, form)                   the device endpoint's answer
    authority.devices()                              those that wait, the newest last
    device.decide(person)                            the person enters the code and signs in; None: declines

Polling sooner than `interval` after the last poll gives slow_down and makes the interval 5 seconds longer.
"""

import secrets
import time
from dataclasses import dataclass, field

from .. import clients, people
from ..oautherror import OAuthError, aadsts

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
USER_CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
SLOW_DOWN_S = 5
# What timers may be early by.
EARLY_S = 0.05


@dataclass
class Device:
    code: str
    user_code: str
    tenant: object
    app: object
    scopes: people.Scopes
    interval_s: float
    expires_at: float
    last_poll: float = field(default_factory=time.monotonic)
    polls: int = 0
    too_fast: int = 0
    slow_downs: int = 0  # to be answered whatever the pace is
    decision: object = None
    is_decided: bool = False

    def decide(self, person):
        self.decision, self.is_decided = person, True


def begin(authority, tenant, form):
    app = clients.find_app(tenant, form)
    clients.check_of_person(authority, tenant, app, form)
    code = "D" + secrets.token_urlsafe(180)
    user_code = "".join(secrets.choice(USER_CODE_LETTERS) for _ in range(9))
    device = Device(code, user_code, tenant, app, people.read_scopes(form.get("scope", "")), authority.device_interval_s,
                    authority.now() + authority.device_life_s)
    authority.add_device(device)
    url = f"{authority.url}/device"
    return {"device_code": code, "user_code": user_code, "verification_uri": url, "expires_in": int(authority.device_life_s),
            "interval": int(authority.device_interval_s), "message":
            f"To sign in, use a web browser to open the page {url} and enter the code {user_code} to authenticate."}


def answer(authority, tenant, form):
    if not form.get("device_code"):
        raise aadsts(900144, parameter="device_code")
    app = clients.find_app(tenant, form)
    clients.check_of_person(authority, tenant, app, form)
    device = authority.find_device(form["device_code"])
    if device is None or device.app is not app or device.tenant is not tenant:
        raise aadsts(70018)
    if authority.now() >= device.expires_at:
        raise aadsts(70019)
    now = time.monotonic()
    waited, device.last_poll = now - device.last_poll, now
    device.polls += 1
    if waited < device.interval_s - EARLY_S:
        device.too_fast += 1
        authority.count("polled too fast")
    if waited < device.interval_s - EARLY_S or device.slow_downs:
        device.slow_downs = max(0, device.slow_downs - 1)
        device.interval_s += SLOW_DOWN_S
        raise OAuthError(400, "slow_down", "The device polls too often.")
    if not device.is_decided:
        raise aadsts(70016)
    authority.remove_device(device)
    if device.decision is None:
        raise OAuthError(400, "authorization_declined", "The end user denied the authorization request.")
    return people.token_answer(authority, authority.sign_ins.begin(tenant, app, device.decision, device.scopes))
