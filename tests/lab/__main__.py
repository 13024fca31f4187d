# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab by hand: cd tests && python3 -m lab COMMAND --help"""

import argparse
import json
import pathlib
import sys
import tempfile
import time

from . import goimap, mailboxes, net, place, realmail, rules
from .authority import Authority, serve_forever
from .demo import Demo
from .maildir import Maildir
from .proxy import Proxy


def run_demo(options):
    outcome = getattr(Demo(options.dir), options.action)()
    if outcome:
        print(outcome)


def run_authority(options):
    authority = Authority(port=options.port)
    app = authority.directory.add_tenant(options.tenant).add_app(options.mailbox)
    authority.start()
    print(json.dumps({"url": authority.url, "tenant": options.tenant, "client_id": app.client_id,
                      "client_secret": app.secret, "control_secret": authority.control_secret}), flush=True)
    serve_forever(authority)


def run_servers(options):
    """Authority and Dovecot with a filled mailbox, until a signal; for trying things by hand."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        pathlib.Path(folder).chmod(0o755)
        here = place.Place(folder)
        mailboxes.fill(here.dovecot.maildir(place.OLENA), options.count)
        with here:
            print(here.account("lab"), flush=True)
            try:
                while True:
                    time.sleep(3600)
            except KeyboardInterrupt:
                pass


def run_proxy(options):
    lies = {"exchange": rules.exchange_like, "sizes": lambda: [rules.WrongSizes()], "none": list}[options.rules]()
    if lies and not options.no_tls:
        sys.exit("rules need --no-tls here (TLS on both sides needs certificates: use lab.proxy from Python)")
    proxy = Proxy(options.target, options.rtt_ms, options.bits_per_s, rules=lies, port=options.port).start()
    print(proxy.port, flush=True)
    try:
        while True:
            time.sleep(options.report or 3600)
            if options.report:
                print(proxy.counters, flush=True)
    except KeyboardInterrupt:
        proxy.stop()


def run_fill(options):
    maildir = Maildir(options.maildir)
    start = time.monotonic()
    if options.bulk:
        mailboxes.fill_bulk(maildir, options.count, seed=options.seed, mean_bytes=options.mean_bytes)
    else:
        mailboxes.fill(maildir, options.count, options.seed)
    print(f"{options.count} messages in {time.monotonic() - start:.1f} s")


def run_prepare(_options):
    """What tests need from outside, fetched and built ahead."""
    print(realmail.fetch())
    print(goimap.build())


def main():
    parser = argparse.ArgumentParser(prog="python3 -m lab", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="the demo mailbox in the background")
    demo.add_argument("--dir", required=True)
    demo.add_argument("action", choices=("start", "stop", "status", "serve"))
    demo.set_defaults(run=run_demo)

    authority = commands.add_parser("authority", help="an OAuth authority; prints its URL and an app as JSON")
    authority.add_argument("--port", type=int, default=0)
    authority.add_argument("--tenant", default=place.TENANT)
    authority.add_argument("--mailbox", action="append", default=[place.OLENA])
    authority.set_defaults(run=run_authority)

    servers = commands.add_parser("servers", help="authority, Dovecot, mail; prints a config group")
    servers.add_argument("--count", type=int, default=500)
    servers.set_defaults(run=run_servers)

    proxy = commands.add_parser("proxy", help="delay, bandwidth, lies; prints its port")
    proxy.add_argument("target", type=int, help=f"port on {net.LOOPBACK}")
    proxy.add_argument("--port", type=int, default=0)
    proxy.add_argument("--rtt-ms", type=float, default=0)
    proxy.add_argument("--bits-per-s", type=float)
    proxy.add_argument("--rules", choices=("none", "sizes", "exchange"), default="none")
    proxy.add_argument("--no-tls", action="store_true", help="the server speaks plain IMAP")
    proxy.add_argument("--report", type=float, metavar="SECONDS", help="print the counters")
    proxy.set_defaults(run=run_proxy)

    fill = commands.add_parser("fill", help="writes mail into a Maildir as dovecot.py lays it out")
    fill.add_argument("maildir")
    fill.add_argument("count", type=int)
    fill.add_argument("--seed", default=1)
    fill.add_argument("--bulk", action="store_true")
    fill.add_argument("--mean-bytes", type=int, default=16_384)
    fill.set_defaults(run=run_fill)

    prepare = commands.add_parser("prepare", help="fetches real-world mail and builds the second server")
    prepare.set_defaults(run=run_prepare)

    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
