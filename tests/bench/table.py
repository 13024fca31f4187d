# SPDX-License-Identifier: GPL-2.0-or-later
"""What was measured, and the table of it."""

import statistics

MAILTREE, BARE, MBSYNC, LOCAL = "mailtree", "bare", "mbsync", "local"
RAW = "raw"  # the mail itself in a mount, beside what is made of it
MIB = 1 << 20


class Sheet:
    """One line of the table: samples of each contender, and facts about them, each a list of numbers."""

    def __init__(self, name, title, target, without=()):
        self.name, self.title, self.target, self.without = name, title, target, without
        self.samples = {}
        self.facts = {}
        self.error = None

    def note(self, contender, seconds, **facts):
        self.samples.setdefault(contender, []).append(seconds)
        for name, value in facts.items():
            if value is not None:
                self.facts.setdefault(f"{contender}.{name}", []).append(value)

    def median(self, contender):
        values = self.samples.get(contender)
        return statistics.median(values) if values else None

    def fact(self, contender, name):
        values = self.facts.get(f"{contender}.{name}")
        return statistics.median(values) if values else None

    def ratio(self, other):
        """Of the medians: how many times as long mailtree took."""
        ours, theirs = self.median(MAILTREE), self.median(other)
        return ours / theirs if ours and theirs else None

    def data(self):
        ratios = {other: self.ratio(other) for other in (BARE, MBSYNC, LOCAL, RAW) if self.ratio(other)}
        return {"row": self.name, "title": self.title, "target": self.target.text, "met": self.target.is_met(self),
                "seconds": self.samples, "medians": {name: self.median(name) for name in self.samples},
                "ratios": ratios, "facts": self.facts, "error": self.error}


class Target:
    """Bounds on ratios, {"bare": 1.25}, and on facts, {"mailtree.peak_bytes": …}."""

    def __init__(self, text="", ratios=None, facts=None):
        self.text = text
        self._ratios, self._facts = ratios or {}, facts or {}

    def is_met(self, sheet):
        """None: there is no target, or nothing to compare with."""
        verdicts = []
        for other, most in self._ratios.items():
            ratio = sheet.ratio(other)
            verdicts.append(None if ratio is None else ratio <= most)
        for name, most in self._facts.items():
            value = sheet.fact(*name.split(".", 1))
            verdicts.append(None if value is None else value <= most)
        if not verdicts or None in verdicts:
            return None
        return all(verdicts)


HEADINGS = ("work", "bare", "mbsync", "local", "raw", "mailtree", "worst", "× bare", "× mbsync", "× local", "× raw", "MiB", "at rest",
            "CPU s", "wire MB", "trips", "target", "met")
# Columns that most runs have nothing for.
RARE = ("raw", "× raw", "at rest")


def _seconds(value):
    if value is None:
        return ""
    return f"{value * 1000:.0f} ms" if value < 0.1 else f"{value:.2f} s"


def _number(value, unit=1, form=".2f"):
    return "" if value is None else format(value / unit, form)


def short(sheet):
    """For who watches."""
    parts = [f"{name} {_seconds(sheet.median(name))}" for name in (BARE, MBSYNC, LOCAL, RAW, MAILTREE) if sheet.median(name)]
    return f"{sheet.name}: {', '.join(parts)}" + (f", failed: {sheet.error}" if sheet.error else "")


def line_of(sheet):
    met = {True: "yes", False: "**no**", None: ""}[sheet.target.is_met(sheet)]
    if sheet.error:
        met = f"failed: {sheet.error.splitlines()[0][:70]}"
    seconds = [_seconds(sheet.median(name)) for name in (BARE, MBSYNC, LOCAL, RAW, MAILTREE)]
    ratios = [_number(sheet.ratio(name)) for name in (BARE, MBSYNC, LOCAL, RAW)]
    facts = [_number(sheet.fact(MAILTREE, name), unit, form) for name, unit, form in (
        ("peak_bytes", MIB, ".0f"), ("rest_bytes", MIB, ".0f"), ("cpu_s", 1, ".2f"), ("wire_bytes", 1e6, ".1f"),
        ("round_trips", 1, ".0f"))]
    worst = _seconds(sheet.fact(MAILTREE, "worst_s"))
    return (sheet.title, *seconds, worst, *ratios, *facts, sheet.target.text, met)


def render(sheets):
    """In Markdown, and aligned."""
    lines = [HEADINGS, *map(line_of, sheets)]
    shown = [at for at, name in enumerate(HEADINGS) if name not in RARE or any(line[at] for line in lines[1:])]
    lines = [tuple(line[at] for at in shown) for line in lines]
    widths = [max(len(line[at]) for line in lines) for at in range(len(shown))]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines)
