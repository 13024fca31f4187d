# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guides tell to type works: each block marked `sh` is run, those of one guide in one shell, in a home of its own."""

import re
import subprocess

import pytest
from lab import mailboxes, net
from lab.home import PROJECT

pytestmark = pytest.mark.plain
GUIDES = ("backup", "migration", "server")
MESSAGES = 150


@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.slow
def test_guide(guide, home, place, fresh_user):
    user = fresh_user()
    mailboxes.fill(place.dovecot.maildir(user), MESSAGES)
    home.set_account("work", place.account("work", user))
    (home.path / "bin").mkdir()
    (home.path / "bin" / "mailtree").symlink_to(home.binary)
    blocks = re.findall(r"^```sh\n(.*?)^```$", (PROJECT / "docs" / f"{guide}.md").read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    script = "set -eu; umask 077; cd\n" + "".join(blocks)
    environment = home.environment(PATH=f"{home.path}/bin:/usr/bin:/bin", LC_ALL="C.UTF-8", BORG_BASE_DIR=f"{home.path}/borg",
                                   RESTIC_CACHE_DIR=f"{home.path}/restic-cache")
    result = subprocess.run(["bash", "-xc", script], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, timeout=150 * net.SLOWNESS)
    if result.returncode:
        home.run("umount", home.path / "Mail")
    assert result.returncode == 0, result.stdout[-3000:]
    subprocess.run(["chmod", "-R", "u+rwX", home.path], check=True)


def test_configurations_in_guides_load(home):
    """Each [GROUP] of the README, the guides and the manual has keys that exist, and all that it needs."""
    texts = [PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")]
    blocks = [block for path in texts for block in re.findall(r"^```ini\n(\[[a-z]+\]\n.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)]
    assert len(blocks) >= 4
    for block in blocks:
        home.write_config(block)
        result = home.run("cache", re.match(r"\[(.*)\]", block)[1], "stats")
        assert result.returncode == 0, block + result.stderr
