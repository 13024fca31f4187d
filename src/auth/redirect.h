/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a browser asks of the loopback address when the authority has sent it back (RFC 6749 section 4.1.2). Pure. */
#pragma once

#include "src/base/error.h"
#include "src/base/secret.h"

#define REDIRECT_LINE_MAX 16384u /* codes of 1 to 2 KiB are seen */
#define REDIRECT_PARAMETERS_MAX 32u

enum redirect {
	REDIRECT_CODE,    /* the code has come */
	REDIRECT_ERROR,   /* the authority says no, in `err` (ERR_SIGN_IN) */
	REDIRECT_FOREIGN, /* the state isn't ours: another sign-in's, or somebody guesses */
	REDIRECT_OTHER,   /* another path, such as /favicon.ico */
	REDIRECT_BROKEN,  /* not a request that a browser sends */
};

/* `line` is an HTTP request's first, without its end. `*code_out` is set with REDIRECT_CODE alone. */
enum redirect auth_redirect_parse(
	const char *line, const struct secret *state, struct secret **code_out, struct error *err);
