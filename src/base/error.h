/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Errors: one list of codes, one place where each becomes an errno and an exit status.
 *
 * What can fail returns 0 or a negative code, with `struct error *` as its last argument for the
 * detail. The detail is written where the cause is known (error_set), context is put in front on
 * the way up (error_prefix), and it is printed once, at the top. `struct error *` may be NULL
 * everywhere. "Need more bytes" and "not found" are results of their functions, not errors.
 *
 * Texts may quote a server; error_set() replaces control characters and current secrets
 * (secret.h), so that every text is safe to print on a terminal.
 */
#pragma once

#include <glib.h>

enum error_code {
	ERR_SIGN_IN = -1,      /* sign-in needed or refused: EACCES, exit 3 */
	ERR_UNREACHABLE = -2,  /* no network, no server, connection lost: ENETUNREACH, exit 4 */
	ERR_TIMEOUT = -3,      /* silence past the deadline: ETIMEDOUT, exit 4 */
	ERR_THROTTLED = -4,    /* the server asks for more patience than allowed: ETIMEDOUT, exit 4 */
	ERR_BROKEN = -5,       /* the server can't deliver this message: EIO */
	ERR_PROTOCOL = -6,     /* the server broke the protocol or a limit of ours: EIO */
	ERR_GONE = -7,         /* not on the server (any more): ENOENT */
	ERR_READ_ONLY = -8,    /* a change without `write`: EROFS */
	ERR_QUOTA = -9,        /* daily_bytes used up: EDQUOT */
	ERR_INTERRUPTED = -10, /* the waiting program was interrupted: EINTR */
	ERR_STORAGE = -11,     /* the local disk failed or is full: EIO */
	ERR_INVALID = -12,     /* a wrong query or argument: EINVAL */
	ERR_CONFIG = -13,      /* the configuration is wrong: EINVAL, exit 5 */
	ERR_USAGE = -14,       /* the command line is wrong: EINVAL, exit 2 */
	ERR_RENUMBERED = -15,  /* UIDVALIDITY is another than expected: ESTALE */
	ERR_REFUSED = -16,     /* the server answered NO or BAD to a command: EIO */
	ERR_FAILED = -17,      /* anything else: EIO, exit 1 */
};
#define ERR_LAST ERR_FAILED

#define ERROR_TEXT_MAX 768

struct error {
	int code;                  /* enum error_code, 0 = none */
	char text[ERROR_TEXT_MAX]; /* WHAT: WHY, one line, UTF-8 */
	char hint[256];            /* WHAT TO DO, may be empty */
};

/* Sets code and text, clears the hint. Returns `code`, so that `return error_set(…)` reads well. */
int error_set(struct error *err, int code, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* Says what the user can do about it. */
void error_hint(struct error *err, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Puts "context: " in front of the text. */
void error_prefix(struct error *err, const char *format, ...) G_GNUC_PRINTF(2, 3);
void error_copy(struct error *to, const struct error *from);

/* The table. Unknown codes give EIO, 1 and "failed". */
int error_errno(int code);
int error_exit_status(int code);
const char *error_name(int code); /* "sign-in", for JSON */
