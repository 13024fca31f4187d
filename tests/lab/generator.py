# SPDX-License-Identifier: GPL-2.0-or-later
"""Deterministic mail: the same (seed, number) is the same message, on every machine and day.

    message = make_message(seed, number)       # varied real-looking mail; .content .internal_date .flags
    for message in odd_messages(): …           # what breaks clients; .kind names each
    make_bulk(seed, number, mean_bytes)        # cheap, for speed: 100,000 in seconds
    make_big(30 << 20)                         # one message of this very size

Message N holds the words needle-N and голка-N in its text (in the charset and encoding of that message, so
grep on raw bytes doesn't find them all) and the header X-Needle: needle-N.
mailboxes.py makes mailboxes of them.
"""

import random
from dataclasses import dataclass

from . import mime
from .mime import CRLF

FIRST_DATE = 1_420_070_400  # 2015-01-01T00:00Z
SPACING_S = 31_000          # some 3,000 messages reach three years


@dataclass(frozen=True)
class Message:
    kind: str
    content: bytes
    internal_date: int
    flags: str = ""
    emailid: str = ""  # what a scripted server with OBJECTID or X-GM-EXT-1 calls it


PEOPLE = (
    ("Олена Коваль", "olena@contoso.example"), ("Тарас Шевчук", "taras.shevchuk@пошта.example"),
    ("Ґанна Їжакевич", "hanna@kyiv.example"), ("Müller, Jürgen", "juergen.mueller@firma.example"),
    ("山田 太郎", "yamada@nihon.example"), ("王小明", "wang@beijing.example"),
    ("Δημήτρης Παπαδόπουλος", "dimitris@athina.example"), ("דוד לוי", "david@tlv.example"),
    ("Ada Lovelace", "ada@engine.example"), ("build bot", "no-reply+ci@build.example"),
    ("محمد علي", "mohamed@cairo.example"), ("김철수", "kim@seoul.example"),
)
SUBJECTS = (
    "Рахунок за листопад", "Запрошення на нараду у четвер", "Звіт: підсумки кварталу", "Re: ваш запит №{n}",
    "Quarterly report {n}", "Lunch?", "[build] job {n} failed", "Your order {n} has shipped", "会議のお知らせ",
    "お見積もりの件 ({n})", "关于合同的问题", "Πρόσκληση σε συνάντηση", "תזכורת: פגישה מחר", "Grüße aus Köln",
    "Fwd: фото з відпустки 📷", "Ціна/якість: 50% знижки!", "回复: 发票 {n}", "переклад, т. {n}: «Кобзар»",
)
SENTENCES = {
    "uk": ("Садок вишневий коло хати, хрущі над вишнями гудуть.", "Прошу надіслати рахунок до п’ятниці.",
           "Ґрунтовний звіт додаю у вкладенні.", "Зустріч перенесено на 15:30.", "Дякую за швидку відповідь!",
           "Їжак їв ожину, а євшан цвів на узбіччі."),
    "en": ("Please find the figures attached.", "The meeting moved to half past three.",
           "Let me know what you think.", "Everything went out this morning.", "See you on Thursday.",
           "The build is green again = all 100% of it."),
    "ja": ("いつもお世話になっております。", "会議は午後三時からです。", "資料を添付いたします。", "よろしくお願いします。"),
    "zh": ("请查收附件。", "会议改到下午三点。", "谢谢您的回复。", "合同已经签好了。"),
    "el": ("Η συνάντηση μεταφέρθηκε.", "Ευχαριστώ πολύ για την απάντηση."),
    "he": ("הפגישה נדחתה למחר.", "תודה רבה על התשובה המהירה."),
    "mixed": ("Emoji 🎉 and naïve café — “quotes”.", "Σ + Я + 字 = ½ €", "👩‍👩‍👧 zero width joiner"),
}
# (language, charset, transfer encodings): each of them can also write the Cyrillic needle.
TEXT_FORMS = (
    ("uk", "utf-8", ("base64", "quoted-printable", "8bit")), ("uk", "koi8-u", ("base64", "quoted-printable", "8bit")),
    ("uk", "windows-1251", ("base64", "quoted-printable", "8bit")), ("ja", "iso-2022-jp", ("7bit", "base64")),
    ("ja", "utf-8", ("base64", "8bit")), ("zh", "gb18030", ("base64", "8bit")), ("zh", "utf-8", ("quoted-printable",)),
    ("el", "utf-8", ("quoted-printable", "8bit")), ("he", "utf-8", ("base64",)), ("en", "utf-8", ("7bit", "quoted-printable")),
    ("mixed", "utf-8", ("8bit", "quoted-printable", "base64")),
)
ATTACHMENT_NAMES = (
    "рахунок №{n}.pdf", "report-{n}.csv", "фото з відпустки, дуже довга назва файлу, яка не вміщається в один рядок.jpg",
    "見積書.xlsx", "a/b\\c:{n}.txt", "naïve résumé.docx", "archive.tar.gz", "..", "🎉.png",
)
FLAG_SETS = ("", "S", "S", "S", "RS", "FS", "D", "T", "F")
ZONES = (0, 120, 180, -300, 330, 540, -480, 60)


def make_message(seed, number):
    rng = random.Random(f"{seed}/{number}")
    date = FIRST_DATE + number * SPACING_S + rng.randrange(SPACING_S)
    kind, make = rng.choices(KINDS, WEIGHTS)[0]
    entity = make(rng, number)
    content = CRLF.join(_headers(rng, seed, number, date, kind)) + CRLF + entity
    return Message(kind, content, date, rng.choice(FLAG_SETS))


def _headers(rng, seed, number, date, kind):
    name, address = rng.choice(PEOPLE)
    to_name, to_address = rng.choice(PEOPLE)
    charset, encoding = rng.choice((("utf-8", "B"), ("utf-8", "Q"), ("koi8-u", "B"), ("windows-1251", "Q")))
    subject = rng.choice(SUBJECTS).format(n=number)
    if kind == "reply":
        subject = "Re: " + subject
    try:
        (name + to_name + subject).encode(charset)
    except UnicodeEncodeError:
        charset = "utf-8"
    lines = [
        b"Return-Path: <" + address.encode() + b">",
        b"Received: from mail.example (mail.example [192.0.2.%d])\r\n\tby mx.contoso.example with ESMTPS id %08x\r\n"
        b"\tfor <olena@contoso.example>; " % (number % 250, number) + mime.date_header(date),
        b"Date: " + mime.date_header(date - rng.randrange(300), rng.choice(ZONES)),
        b"From: " + _mailbox(name, address, charset, encoding),
        b"To: " + _mailbox(to_name, to_address, charset, encoding),
        b"Subject: " + mime.header_text(subject, charset, encoding),
        b"Message-ID: " + _message_id(seed, number),
        b"X-Needle: needle-%d" % number,
    ]
    if kind == "reply":
        # A thread of a few before it, the nearest last.
        earlier = [_message_id(seed, other) for other in range(max(1, number - 60), number, 20)]
        if earlier:
            lines += [b"In-Reply-To: " + earlier[-1], b"References: " + b"\r\n ".join(earlier)]
    if rng.random() < 0.1:
        lines.append(b"Cc: undisclosed-recipients:;")
    lines.append(b"MIME-Version: 1.0")
    return lines


def _message_id(seed, number):
    return f"<{number}.{seed}@lab.example>".encode()


def _mailbox(name, address, charset, encoding):
    display = f'"{name}"'.encode() if name.isascii() else mime.header_text(name, charset, encoding)
    return display + b" <" + address.encode() + b">"


def _paragraphs(rng, number, language, lines):
    sentences = SENTENCES[language]
    text = [f"needle-{number} голка-{number}", ""]
    for _ in range(lines):
        text.append(" ".join(rng.choice(sentences) for _ in range(rng.randint(1, 3))))
        if rng.random() < 0.2:
            text.append("")
    return "\r\n".join(text) + "\r\n"


def _text_part(rng, number, subtype="plain", form=None, wrap="{}"):
    language, charset, encodings = form or rng.choice(TEXT_FORMS)
    text = wrap.format(_paragraphs(rng, number, language, rng.randint(1, 25)))
    # gb18030 writes everything; what another legacy charset lacks becomes a question mark.
    data = text.encode(charset, "replace")
    content_type = f"text/{subtype}; charset={charset}".encode()
    return mime.part(content_type, data, rng.choice(encodings).encode())


def _plain(rng, number):
    return _text_part(rng, number)


def _reply(rng, number):
    language, charset, encodings = rng.choice(TEXT_FORMS[:3])
    text = _paragraphs(rng, number, language, 3) + "".join(
        f"> {line}\r\n" for line in _paragraphs(rng, number - 1, language, 4).splitlines())
    return mime.part(f"text/plain; charset={charset}".encode(), text.encode(charset, "replace"),
                     rng.choice(encodings).encode())


HTML = ("<!DOCTYPE html><html><head><meta charset=utf-8><style>p {{ margin: 0 }}</style></head>\r\n<body>"
        "<h1>&#1055;&#1088;&#1080;&#1074;&#1110;&#1090; &amp; hello</h1>\r\n<p>{}</p>\r\n"
        "<table><tr><td>1&nbsp;000,00&nbsp;₴</td></tr></table><script>alert('no')</script></body></html>\r\n")


def _html_only(rng, number):
    form = rng.choice((("uk", "utf-8", ("base64", "quoted-printable", "8bit")), ("mixed", "utf-8", ("8bit",))))
    return _text_part(rng, number, "html", form, HTML)


def _alternative(rng, number):
    form = ("uk", "utf-8", ("base64", "quoted-printable"))
    return mime.multipart(b"alternative", b"=_alt_%d" % number, [
        _text_part(rng, number, "plain", form), _text_part(rng, number, "html", form, HTML)])


def _attachment(rng, number):
    name = rng.choice(ATTACHMENT_NAMES).format(n=number)
    data = rng.randbytes(rng.choice((0, 1, 100, 3_000, 40_000)))
    style = rng.randrange(3)
    if style == 0:
        parameter = mime.parameter_2231("filename", name)
    elif style == 1:
        parameter = b'filename="' + mime.encoded_words(name) + b'"'
    else:
        parameter = b'filename="' + name.encode().replace(b"\\", b"\\\\") + b'"'
    return mime.part(b"application/octet-stream", data, b"base64",
                     [b"Content-Disposition: attachment;\r\n " + parameter])


def _mixed(rng, number):
    body = _alternative(rng, number) if rng.random() < 0.3 else _text_part(rng, number)
    parts = [body] + [_attachment(rng, number) for _ in range(rng.randint(1, 3))]
    return mime.multipart(b"mixed", b"----=_Part_%d.%d" % (number, rng.randrange(10**9)), parts,
                          b"This is a multi-part message in MIME format.\r\n")


def _related(rng, number):
    picture = mime.part(b"image/png", rng.randbytes(900), b"base64",
                        [b"Content-ID: <logo%d@lab.example>" % number, b"Content-Disposition: inline"])
    html = _text_part(rng, number, "html", ("uk", "utf-8", ("quoted-printable",)),
                      HTML.replace("<h1>", f"<img src=cid:logo{number}@lab.example><h1>"))
    return mime.multipart(b'related; type="text/html"', b"rel-%d" % number, [html, picture])


def _forwarded(rng, number):
    inner_number = number + 500_000
    inner = CRLF.join(_headers(rng, "inner", inner_number, FIRST_DATE, "plain")) + CRLF + (
        _mixed(rng, inner_number) if rng.random() < 0.3 else _plain(rng, inner_number))
    wrapped = mime.part(b"message/rfc822", inner, None, [b"Content-Disposition: attachment"])
    return mime.multipart(b"mixed", b"fwd%d" % number, [_text_part(rng, number), wrapped])


def _report(rng, number):
    status = b"Reporting-MTA: dns; mx.contoso.example\r\n\r\nFinal-Recipient: rfc822; nobody@gone.example\r\n" \
             b"Action: failed\r\nStatus: 5.1.1\r\n"
    return mime.multipart(b"report; report-type=delivery-status", b"rep%d" % number, [
        _text_part(rng, number, form=("en", "utf-8", ("7bit", "8bit"))), mime.part(b"message/delivery-status", status),
        mime.part(b"text/rfc822-headers", b"Subject: needle-%d\r\nTo: nobody@gone.example\r\n" % number)])


def _invitation(rng, number):
    calendar = (f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nUID:{number}\r\n"
                f"SUMMARY:Нарада {number}\r\nDTSTART:20240101T100000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")
    return mime.multipart(b"alternative", b"cal%d" % number, [
        _text_part(rng, number),
        mime.part(b"text/calendar; charset=utf-8; method=REQUEST", calendar.encode(), b"base64")])


KINDS = (("plain", _plain), ("reply", _reply), ("html", _html_only), ("alternative", _alternative),
         ("mixed", _mixed), ("related", _related), ("forwarded", _forwarded), ("report", _report),
         ("invitation", _invitation))
WEIGHTS = (34, 18, 12, 12, 12, 4, 4, 2, 2)

# Bulk

_BULK_BLOCK_BYTES = 1 << 20
_bulk_block = None


def make_bulk(seed, number, mean_bytes=16_384):
    """Between a quarter and four times mean_bytes; the mean of many is mean_bytes."""
    global _bulk_block
    if _bulk_block is None:
        rng = random.Random("bulk")
        words = [rng.randbytes(rng.randint(1, 6)).hex() for _ in range(4_000)]
        lines = b"".join(" ".join(rng.choices(words, k=8)).encode()[:76] + CRLF for _ in range(16_000))
        _bulk_block = (lines * (1 + 2 * _BULK_BLOCK_BYTES // len(lines)))[:2 * _BULK_BLOCK_BYTES]
    rng = random.Random(f"{seed}/bulk/{number}")
    date = FIRST_DATE + number * 600
    name, address = PEOPLE[number % len(PEOPLE)]
    head = b"".join((
        b"Date: ", mime.date_header(date), b"\r\nFrom: ", mime.header_text(name), b" <", address.encode(),
        b">\r\nTo: <olena@contoso.example>\r\nSubject: ",
        mime.header_text(SUBJECTS[number % len(SUBJECTS)].format(n=number)),
        b"\r\nMessage-ID: <bulk.%d.%s@lab.example>\r\nX-Needle: needle-%d\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: text/plain\r\n\r\nneedle-%d\r\n" % (number, str(seed).encode(), number, number)))
    # 0.25 · 16^x has the mean 1.353 over x in [0, 1].
    wanted = int(mean_bytes * 0.25 * 16 ** rng.random() / 1.353) - len(head) - 2
    body = []
    while wanted > 0:
        start = rng.randrange(_BULK_BLOCK_BYTES)
        piece = _bulk_block[start:start + min(wanted, _BULK_BLOCK_BYTES)]
        # A cut between CR and LF would leave a bare one, and the size would no longer be exact.
        body.append(piece.strip(CRLF))
        wanted -= len(piece)
    return Message("bulk", head + CRLF.join(body) + CRLF, date, "S")


def make_big(size_bytes, kind="big"):
    """One message of exactly this size: an attachment in base64."""
    head = (b"Date: Wed, 01 Jan 2020 00:00:00 +0000\r\nFrom: Big <big@lab.example>\r\nSubject: big %d\r\n"
            b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\n" % size_bytes)
    line = b"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0" + CRLF
    lines, rest = divmod(size_bytes - len(head), len(line))
    return Message(kind, head + line * lines + b"=" * rest, 1_577_836_800, "S")
