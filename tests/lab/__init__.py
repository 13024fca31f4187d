# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab: real servers and fault tools on loopback, for the demo, the tests and the bench.

    authority.py   an OAuth authority that speaks Microsoft identity v2.0 (grants/: one file a grant)
    certs.py       a private certificate authority, and certificates that are wrong in chosen ways
    dovecot.py     a private Dovecot: TLS, STARTTLS, XOAUTH2, OAUTHBEARER, PLAIN, LOGIN
    goimap.py      a second server of another make, without extensions
    scripted.py    an IMAP server that does whatever a test says
    proxy.py       delay, bandwidth, cut, stall; proxyrules.py rewrites the IMAP dialogue
    generator.py   deterministic messages; mailboxes.py: the folders and mailboxes made of them
    maildir.py     puts messages into Dovecot's Maildirs without asking it
    realmail.py    the real-world messages
    place.py       authority + Dovecot + demo mailbox in one folder: what most tests start

Import it with tests/ on sys.path (`import lab`), or run it: `cd tests && python3 -m lab --help`.
Everything listens on 127.0.0.1 only, works as an ordinary user, and as root drops to one.
"""
