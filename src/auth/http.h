/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One POST of a form to an OAuth endpoint, or one GET, blocking: for helper threads and commands.
 *
 * The endpoint, and whoever sits in between, is an adversary: TLS 1.2 or better with the certificate
 * verified, no redirect followed, at most AUTH_HTTP_BODY_MAX bytes read, one deadline over it all.
 */
#pragma once

#include "src/base/error.h"

#include <stddef.h>
#include <stdint.h>

struct auth_http_request {
	const char *url;  /* passed auth_url_check() */
	const char *form; /* NULL = GET */
	size_t form_length;
	const char *ca_file; /* NULL = the system's roots alone */
	uint32_t timeout_ms;
	int cancel_fd; /* readable = give up; -1 = none */
};

struct auth_http_reply {
	long status;
	char *body; /* NUL-terminated */
	size_t length;
	char content_type[64];
	int64_t retry_after_s; /* 0 = not told */
	char *location;        /* where a redirect wants to go, absolute; NULL = none */
};

/*
 * 0 for any complete answer, whatever its status. ERR_UNREACHABLE: no connection, or TLS or HTTP broken;
 * ERR_TIMEOUT; ERR_INTERRUPTED: cancelled; ERR_CONFIG: ca_file can't be used.
 */
int auth_http_run(const struct auth_http_request *request, struct auth_http_reply *reply_out, struct error *err);
void auth_http_reply_fini(struct auth_http_reply *reply); /* wipes the body */
