# SPDX-License-Identifier: GPL-2.0-or-later
"""The bench: mailtree beside the bare protocol, mbsync and a local Maildir, in one run. scripts/bench starts it.

    __main__.py   options, the runs, the table
    rows.py       what is measured: one function a kind of work, one Row a line of the table
    stage.py      servers, mailboxes, lines with a delay, homes for mailtree
    line.c        a line of a length and a width; test_line.py tries it
    invented.py   a server of a million messages that nobody has written
    rivals.py     runs the bare protocol, mbsync and local programs
    bare.py       the bare protocol, a program of its own
    cats.py       single messages, a program of its own
    measure.py    time, processor, memory of a child or of the daemon
    table.py      medians, ratios, the table

Only ratios of one run mean something: the numbers themselves are the machine's. Nothing here is a test.
"""
