# SPDX-License-Identifier: GPL-2.0-or-later
"""Small things that every server here needs: ports, waiting for conditions, ending a child."""

import os
import pwd
import signal
import socket
import subprocess
import time

LOOPBACK = "127.0.0.1"
# How much longer than usual things may take: sanitizers, valgrind, a busy machine.
SLOWNESS = float(os.environ.get("MAILTREE_TEST_SLOWNESS") or 1)


def free_port():
    """A port that nobody listens on now. Somebody could take it before its user binds it:
    whoever can bind port 0 itself should do that instead."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def wait_until(condition, timeout_s=20.0, what="a condition", interval_s=0.02):
    """Returns the first true value of condition(); raises TimeoutError that names `what`. For what has to
    happen at last: the time allowed is SLOWNESS times timeout_s."""
    timeout_s *= SLOWNESS
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise TimeoutError(f"waited {timeout_s:g} s for {what}")
        time.sleep(interval_s)


def port_answers(port, host=LOOPBACK):
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def end_child(child, timeout_s=10.0, leads_group=False):
    """Ends one subprocess.Popen: TERM, and KILL when it doesn't listen. `leads_group`: it was started with
    start_new_session, and its children are told to end, too."""
    if child is None or child.poll() is not None:
        return
    if leads_group:
        os.killpg(child.pid, signal.SIGTERM)
    else:
        child.send_signal(signal.SIGTERM)
    try:
        child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def unprivileged_user():
    """The account that servers run as: ours, or, for root, $MAILTREE_LAB_USER, mailtree-test or nobody.
    Dovecot refuses to serve mail as root."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    for name in (os.environ.get("MAILTREE_LAB_USER"), "mailtree-test", "nobody"):
        try:
            if name:
                return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("no unprivileged user to run servers as")
