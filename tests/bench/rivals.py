# SPDX-License-Identifier: GPL-2.0-or-later
"""Those beside mailtree: the bare protocol, mbsync."""

import json
import pathlib
import sys

from . import measure
from .stage import PASSWORD

BARE = pathlib.Path(__file__).with_name("bare.py")
EXAMINE = "EXAMINE INBOX"
# What names, dates and sizes are made of: the same items that mailtree asks for.
METADATA = ("UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE"
            " BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT MESSAGE-ID)])")
ENVELOPES = "UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)"
BODIES = "UID FETCH %s (UID BODY.PEEK[])"

MBSYNC = """
IMAPAccount bench
Host localhost
Port {port}
User {user}
Pass {password}
SSLType IMAPS
CertificateFile {ca_file}
Timeout 120

IMAPStore far
Account bench

MaildirStore near
Inbox {folder}/INBOX

Channel bench
Far :far:
Near :near:
Patterns INBOX
Sync Pull New
Create Near
SyncState *
"""


def bare(stage, mailbox, port, before, lanes=((),)):
    """(seconds, bytes, seconds of each command in `before`)"""
    job = {"port": port, "ca_file": str(stage.ca.pem), "user": mailbox.user, "password": PASSWORD, "before": before,
           "lanes": lanes}
    ran = measure.run([sys.executable, BARE], stdin=json.dumps(job).encode())
    outcome = json.loads(ran.output)
    return outcome["seconds"], outcome["bytes"], outcome["commands"]


def bare_bodies(stage, mailbox, port, connections=1):
    """The listing, then the bodies, shared out when there are several connections."""
    step = -(-mailbox.messages // connections)
    starts = range(1, mailbox.messages + 1, step)
    sets = [f"{start}:{min(start + step - 1, mailbox.messages)}" for start in starts]
    lanes = [([EXAMINE] if number else []) + [BODIES % text] for number, text in enumerate(sets)]
    seconds, received, _ = bare(stage, mailbox, port, [EXAMINE, METADATA], lanes)
    if received < mailbox.bytes:
        raise measure.Failed(f"the bare protocol read {received} octets of {mailbox.bytes}")
    return seconds, received


def mbsync(stage, mailbox, port):
    """A pull into an empty Maildir; measure.Ran."""
    folder = stage.new_folder("mbsync")
    config = folder / "mbsyncrc"
    config.write_text(MBSYNC.format(port=port, user=mailbox.user, password=PASSWORD, ca_file=stage.ca.pem,
                                    folder=folder))
    ran = measure.run_counted(["mbsync", "-c", config, "-a"], env={"HOME": str(folder)})
    found = sum(1 for part in ("cur", "new") for _ in (folder / "INBOX" / part).iterdir())
    if found != mailbox.messages:
        raise measure.Failed(f"mbsync left {found} of {mailbox.messages} messages")
    return ran
