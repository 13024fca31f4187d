/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which of the commands in flight an untagged response answers. Servers may carry out commands at the same time and
 * answer a later one first (RFC 3501, section 5.5; Dovecot lists folders while it sends a long message), so the oldest
 * command isn't always the one.
 */
#pragma once

#include "imap/grammar.h"

/* `command` as it was sent, without its tag, or NULL for one that is answered by nothing untagged. */
bool route_answers(const char *command, const char *tag, const struct imap_response *response);
bool route_wants_bodies(const char *command);
