# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole mailboxes, written straight into a Maildir, deterministic by seed.

    truth = fill(dovecot.maildir(user), count=3000)      # varied mail over many folders + the odd ones
    truth["INBOX"][17]                                    # generator.Message of UID 17
    fill_bulk(dovecot.maildir(user), 10_000)              # bulk mail in one folder, for speed
    fill_odd(…), fill_messages(maildir, "Folder", messages)

The truth is a dict folder name → {uid: Message}; maildir.served_bytes(message.content) is what is served.
As root call dovecot.own_mail() afterwards.
"""

import random

from . import generator, net
from .oddities import odd_messages

# For tests of a whole mailbox. Under sanitizers each takes many times as long.
MANY = 2_200 if net.SLOWNESS == 1 else 1_100

# (folder, share of the messages). "/" is the delimiter.
FOLDERS = (
    ("INBOX", 40), ("INBOX/Підтека", 2), ("Projects/Alpha", 8), ("Projects/Alpha/Deep/Deeper/Найглибше", 2),
    ("Projects/Бета", 6), ("Архів", 4), ("Архів/2023/Січень", 4), ("Архів/2023/Лютий", 3), ("日本語/受信", 4),
    ("🎉 Свято", 2), ("Sent", 8), ("Drafts", 2), ("Trash", 3), ("Sent Items", 1), ("a%2Fb", 1), ("100% &co", 1),
    ("dots.in.name.", 1), ("trailing space ", 1), (" leading space", 1), ("tilde~12345678", 1), ("cur", 1), ("new", 1),
    ('quote"back\\slash', 1), ("star*percent%", 1), ("Σίσυφος", 1), ("עברית", 1),
)
EMPTY_FOLDERS = ("Empty", "Empty/Also empty")
# Cannot be opened, only their children can: "Projects" and "日本語" above are such too.
PARENT_ONLY = ("Containers/Only/Leaf",)


def fill(maildir, count=3000, seed=1, with_odd=True):
    rng = random.Random(f"folders/{seed}")
    names, shares = zip(*FOLDERS)
    numbers = {name: [] for name in names}
    for number in range(1, count + 1):
        numbers[rng.choices(names, shares)[0]].append(number)
    truth = {}
    for name in names:
        messages = (generator.make_message(seed, number) for number in numbers[name])
        truth[name] = fill_messages(maildir, name, messages)
    for name in (*EMPTY_FOLDERS, *PARENT_ONLY):
        truth[name] = fill_messages(maildir, name, ())
    if with_odd:
        truth["Odd"] = fill_odd(maildir, "Odd")
    return truth


def fill_odd(maildir, folder="Odd"):
    return fill_messages(maildir, folder, odd_messages())


def fill_messages(maildir, folder, messages):
    with maildir.folder(folder) as box:
        return {box.add(message.content, message.internal_date, message.flags): message for message in messages}


def fill_bulk(maildir, count, folder="INBOX", seed=1, mean_bytes=16_384):
    """Returns the sum of bytes; `mean_bytes=1 << 20, count=2048` is a mailbox of 2 GB."""
    total = 0
    with maildir.folder(folder) as box:
        for number in range(1, count + 1):
            message = generator.make_bulk(seed, number, mean_bytes)
            box.add(message.content, message.internal_date, message.flags)
            total += len(message.content)
    return total
