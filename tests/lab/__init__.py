# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab: real servers and fault tools on loopback, for the demo, the tests and the bench.

    place.py       an authority, Dovecot and a certificate authority in one folder: what most tests start
    home.py        a home for mailtree itself: config, mounts, and the proof that nothing is left behind
    leaks.py       finds secrets in logs, however they are written

    authority.py   an OAuth authority that speaks Microsoft identity v2.0; directory.py: whom it knows,
                   tokens.py: what it gave out, people.py: sign-ins of persons and their refresh tokens,
                   clients.py: how clients prove themselves, oautherror.py: its errors, grants/: one file a grant
    certs.py       a private certificate authority, and certificates that are wrong in chosen ways
    dovecot.py     a private Dovecot: TLS, STARTTLS, XOAUTH2, OAUTHBEARER, PLAIN, LOGIN
    goimap.py      a second server of another make, without extensions
    scripted.py    an IMAP server that does whatever a test says; imapmodel.py: its mail as Python data

    proxy.py       delay, bandwidth, cut, stall, refuse; dialogue.py follows IMAP in it, rules.py: the lies,
                   faults.py: faults at random from a seed

    generator.py   deterministic messages (mime.py writes them), oddities.py: those that break clients
    mailboxes.py   folders and whole mailboxes of them: fill(), fill_bulk()
    maildir.py     puts messages into Dovecot's Maildirs without asking it
    realmail.py    the real-world messages

    demo.py        the servers of scripts/demo, in the background
    test_lab.py    its own tests

Import it with tests/ on sys.path (`import lab`), or run it: `cd tests && python3 -m lab --help`.
Everything listens on 127.0.0.1 only, works as an ordinary user, and as root drops to one.
"""
