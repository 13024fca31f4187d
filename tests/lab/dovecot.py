# SPDX-License-Identifier: GPL-2.0-or-later
"""A private Dovecot on loopback.

    server = Dovecot(folder, certificate, introspection_url=authority.url + "/introspect")
    server.add_password("olena@contoso.example", "secret")     # PLAIN and LOGIN; before or after start()
    server.start()            # .port (implicit TLS), .starttls_port (STARTTLS)
    server.maildir(user)      # where maildir.Maildir puts messages
    server.use_certificate(other); server.restart(); server.stop(); server.log()

Any user name has a mailbox (made at the first login). XOAUTH2 and OAUTHBEARER are checked by token
introspection. An app-only token may open several mailboxes and the mailbox is what the SASL string's
user= says; Dovecot 2.3's oauth2 passdb asks about the token only, never tells the user name, and can
compare it just with one attribute. So: username_format is a constant, which switches that comparison off,
the answer carries `mailboxes`, a regular expression, and pass_attrs turns "the user matches it" into the
allow_nets extra field: everywhere, or an address that nobody has, which refuses the login as a wrong
token is refused. So a mailbox taken from the app's list is refused at the next login.

Storage is Maildir with LAYOUT=fs, names on disk in modified UTF-7, "/" as the delimiter: directories
without DIRNAME are \\Noselect. As root everything runs as net.unprivileged_user(), which must be able to
reach `folder`.
"""

import os
import pathlib
import shutil
import socket
import ssl
import subprocess

from . import net
from .maildir import DIRNAME, Maildir

CONFIG = """
protocols = imap
listen = {address}
base_dir = {base}/run
state_dir = {base}/state
log_path = {base}/dovecot.log
info_log_path = {base}/dovecot.log
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
default_process_limit = {connections}
default_client_limit = {clients}
default_vsz_limit = 1G
first_valid_uid = 1
first_valid_gid = 1
instance_name = mailtree-lab
shutdown_clients = yes

ssl = required
ssl_cert = <{chain}
ssl_key = <{key}
ssl_dh =
ssl_min_protocol = TLSv1.2

auth_mechanisms = plain login xoauth2 oauthbearer
# A wrong password is answered at once: tests are patient enough without being made to wait.
auth_failure_delay = 0
auth_debug = {auth_debug}
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {base}/oauth2.conf
}}
passdb {{
  driver = passwd-file
  mechanisms = plain login
  args = scheme=PLAIN username_format=%u {base}/passwords
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={base}/homes/%u allow_all_users=yes
}}

mail_location = maildir:%h/Maildir:LAYOUT=fs:DIRNAME={dirname}:INBOX=%h/Maildir/INBOX/{dirname}:INDEX=%h/index
mail_plugins = {mail_plugins}
mailbox_list_index = yes
# Messages are written beside Dovecot too.
maildir_stat_dirs = no
mail_max_userip_connections = {connections}
imap_idle_notify_interval = 29 mins
namespace inbox {{
  inbox = yes
  separator = /
  prefix =
  mailbox Drafts {{
    special_use = \\Drafts
  }}
  mailbox Sent {{
    special_use = \\Sent
  }}
  mailbox Trash {{
    special_use = \\Trash
  }}
}}
protocol imap {{
  mail_plugins = {imap_plugins}
  mail_max_userip_connections = {connections}
}}
plugin {{
  quota = {quota}
}}

service anvil {{
  chroot =
  client_limit = {clients}
  # No growing delay for an address whose logins failed: all of ours come from one.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  client_limit = {clients}
}}
service stats {{
  client_limit = {clients}
}}
service imap-login {{
  chroot =
  # Each serves many connections: starting one for each costs more than the connection.
  service_count = 0
  process_min_avail = 2
  process_limit = {connections}
  inet_listener imap {{
    port = {starttls_port}
  }}
  inet_listener imaps {{
    port = {port}
    ssl = yes
  }}
}}
service imap {{
  service_count = 100
  process_limit = {connections}
}}
"""

OAUTH2_CONFIG = """
introspection_mode = post
introspection_url = {introspection_url}
active_attribute = active
active_value = true
username_attribute = username
username_format = any
pass_attrs = allow_nets=%{{if;%{{user}};~;%{{oauth2:mailboxes}};127.0.0.0/8;192.0.2.1}}
timeout_msecs = 20000
max_idle_time_msecs = 60000
debug = {debug}
"""


class Dovecot:
    def __init__(self, folder, certificate, introspection_url, port=None, starttls_port=None,
                 with_quota=False, debug=False, connections=500):
        self.base = pathlib.Path(folder)
        self.port = port or net.free_port()
        self.starttls_port = starttls_port or net.free_port()
        self._certificate = certificate
        self._introspection_url = introspection_url
        self._with_quota = with_quota
        self._debug = debug
        self._connections = connections
        self._user = net.unprivileged_user()
        self._child = None
        self.base.mkdir(parents=True, exist_ok=True)
        (self.base / "homes").mkdir(exist_ok=True)
        (self.base / "passwords").touch(mode=0o600)

    # Life

    def start(self, timeout_s=30.0):
        self._write_config()
        self._own_everything()
        identity = {}
        if os.geteuid() == 0:
            identity = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        # Ends with us even when we are killed; the demo's, which must live longer, has a process of its own above it.
        command = ["setpriv", "--pdeathsig", "TERM", program(), "-F", "-c", str(self._config_file())]
        with open(self.base / "start.log", "ab") as log:
            self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                           cwd="/", start_new_session=True, **identity)
        try:
            net.wait_until(self._answers, timeout_s, "Dovecot's greeting")
        except TimeoutError:
            self.stop()
            raise RuntimeError(f"Dovecot didn't start:\n{self.log()[-4000:]}") from None
        return self

    def stop(self):
        # A login process that is told by the master alone waits six seconds when it is young.
        net.end_child(self._child, leads_group=True)
        self._child = None

    def restart(self):
        """Stops and starts again, on the same ports, with the same mail."""
        self.stop()
        return self.start()

    def use_certificate(self, certificate):
        """From the next start on: of an unknown authority, expired, for another name …"""
        self._certificate = certificate

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    @property
    def pid(self):
        return self._child.pid if self._child else None

    def log(self):
        texts = [path.read_text(errors="replace") for path in (self.base / "start.log",
                                                               self.base / "dovecot.log") if path.exists()]
        return "".join(texts)

    # People and mail

    def add_password(self, user, password):
        path = self.base / "passwords"
        lines = [line for line in path.read_text().splitlines() if not line.startswith(f"{user}:")]
        path.write_text("".join(f"{line}\n" for line in [*lines, f"{user}:{{PLAIN}}{password}"]))

    def maildir(self, user):
        """The Maildir of a mailbox. As root, call own_mail() after writing into it."""
        return Maildir(self.base / "homes" / user / "Maildir")

    def own_mail(self):
        self._own_everything()

    def forget_mail(self, user):
        shutil.rmtree(self.base / "homes" / user, ignore_errors=True)

    def doveadm(self, *arguments, **options):
        """Runs doveadm on this server: doveadm("mailbox", "rename", "-u", user, "A", "B")."""
        identity = {"user": self._user.pw_uid, "group": self._user.pw_gid} if os.geteuid() == 0 else {}
        return subprocess.run(["doveadm", "-c", str(self._config_file()), *arguments], check=True,
                              capture_output=True, cwd="/", **identity, **options).stdout

    # Inside

    def _config_file(self):
        return self.base / "dovecot.conf"

    def _write_config(self):
        chain, key = self.base / "server.pem", self.base / "server.key"
        shutil.copyfile(self._certificate.chain, chain)
        key.touch(mode=0o600)
        shutil.copyfile(self._certificate.key, key)
        quota = "quota" if self._with_quota else ""
        config = CONFIG.format(
            address=net.LOOPBACK, base=self.base, user=self._user.pw_name, uid=self._user.pw_uid,
            gid=self._user.pw_gid, group=_group_name(self._user.pw_gid), chain=chain, key=key,
            port=self.port, starttls_port=self.starttls_port, dirname=DIRNAME,
            connections=self._connections, clients=self._connections * 4,
            auth_debug="yes" if self._debug else "no",
            mail_plugins=f"$mail_plugins zlib {quota}".rstrip(),
            imap_plugins=f"$mail_plugins imap_zlib {'imap_quota' if quota else ''}".rstrip(),
            quota="maildir:User quota" if quota else "")
        if quota:
            config += "plugin {\n  quota_rule = *:storage=4G\n}\n"
        self._config_file().write_text(config)
        oauth2 = OAUTH2_CONFIG.format(introspection_url=self._introspection_url,
                                      debug="yes" if self._debug else "no")
        (self.base / "oauth2.conf").write_text(oauth2)

    def _own_everything(self):
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", f"{self._user.pw_uid}:{self._user.pw_gid}", str(self.base)],
                           check=True)

    def _answers(self):
        if self._child.poll() is not None:
            raise TimeoutError
        # A whole TLS handshake and greeting: the master listens before its login processes can answer.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with socket.create_connection((net.LOOPBACK, self.port), timeout=5) as plain:
                with context.wrap_socket(plain) as stream:
                    return stream.recv(4096).startswith(b"* OK")
        except OSError:
            return False


def program():
    """Where Debian puts it is not in an ordinary user's PATH."""
    return shutil.which("dovecot") or shutil.which("dovecot", path="/usr/sbin:/usr/local/sbin")


def _group_name(gid):
    import grp
    return grp.getgrgid(gid).gr_name
