# SPDX-License-Identifier: GPL-2.0-or-later
"""Hours of work on a bad line: memory and descriptors stay flat, what is read is right.

    cd tests && python3 -m soak --binary ../build/mailtree --minutes 60
"""
