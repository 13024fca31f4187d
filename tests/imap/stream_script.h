/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A byte stream whose other end is a script: one for each connection, in the order of opening. A script is lines:
 *
 *	S: text     the server sends the text and CRLF; "$x" in it is the tag captured as x
 *	S- text     the same without CRLF, C escapes decoded
 *	B n         the server sends n octets 'x'
 *	C: x glob   a tagged line must come from the client and match; its tag is captured as the letter x
 *	C+ glob     an untagged line must come
 *	W ms        the server takes its time
 *	N           nothing has come that no step has asked for
 *	D           from here on both sides are deflated (RFC 4978)
 *	X           the server hangs up
 *	F text      (first line) the connection can't be made
 *	H           (first line) it is never made
 *
 * At its end a script is silent. `chunk` cuts what the client reads, and what it may write at once.
 */
#pragma once

#include "imap/stream.h"

#include <glib.h>

#define SCRIPTS_MAX 16u

struct script_server {
	struct stream_factory factory; /* hand this to the client */
	const char *scripts[SCRIPTS_MAX];
	unsigned opened; /* connections so far */
	unsigned alive, most_alive;
	unsigned ended; /* scripts that came to their end */
	size_t chunk;   /* 0 = all at once */
	GString *wrong; /* what didn't go by the script */
	GString *log;   /* all that clients sent */
};

void script_server_init(struct script_server *server, size_t chunk);
void script_server_fini(struct script_server *server);
