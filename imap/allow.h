/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which commands may go to a server at all: those that read. The list is checked for every command
 * just before it is sent, whoever made it, so that no mistake above can change a mailbox or set \Seen.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum allow_who {
	ALLOW_REQUEST, /* a request's command */
	ALLOW_SESSION, /* the client's own: sign-in, EXAMINE, COMPRESS, … too */
};

/*
 * `command` without tag and CRLF. It may hold synchronizing literals, "{n}\r\n" and n octets; any
 * other CR or LF would begin a command of its own and makes it refused.
 */
bool allow_command(const char *command, size_t length, enum allow_who who);

/*
 * The next piece that can be sent without waiting: bytes from `at` up to and with the line end of
 * "{n}\r\n" or up to the end of the text. Sets *literal_out to n, or to 0 when there is none.
 * Returns 0 when the text has a line end that belongs to no literal, or a literal that is cut.
 */
size_t allow_piece(const char *text, size_t length, size_t at, size_t *literal_out);
