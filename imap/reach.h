/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The way to a server, looked at step by step for a diagnosis: name, connection, TLS. Its own connection, which sends
 * no credential and is closed again: what works here is then done by the product's transport (stream.h), which says
 * less about what it met. Blocking, within the time given.
 */
#pragma once

#include "imap/stream.h"

#include <stdbool.h>
#include <stdint.h>

#define REACH_TEXT_MAX 384u

enum reach_tls_trouble {
	REACH_TLS_FINE,
	REACH_TLS_UNTRUSTED,
	REACH_TLS_OTHER_NAME,
	REACH_TLS_EXPIRED, /* or not valid yet */
	REACH_TLS_PLAIN,   /* the server answers in plain text */
	REACH_TLS_BROKEN,
};

struct reach {
	bool offline;      /* no interface but the loopback one has an address */
	bool name_unknown; /* else, where the name fails: nobody answered */
	unsigned addresses;
	char address[64]; /* the one that took the connection */
	int connect_errno;
	enum reach_tls_trouble tls;
	char tls_version[16];             /* "TLSv1.3" */
	char certificate[REACH_TEXT_MAX]; /* for whom, by whom, until when; clean */
	char words[REACH_TEXT_MAX];       /* what the server said in plain text, STARTTLS included; clean */

	struct addrinfo *found;
	int fd;
};

void reach_init(struct reach *reach);
void reach_fini(struct reach *reach);
/* Each after the one before it. 0, ERR_UNREACHABLE, ERR_TIMEOUT, ERR_CONFIG (ca_file). */
int reach_resolve(struct reach *reach, const struct stream_target *target, uint32_t timeout_ms, struct error *err);
int reach_connect(struct reach *reach, const struct stream_target *target, uint32_t timeout_ms, struct error *err);
int reach_tls(struct reach *reach, const struct stream_target *target, uint32_t timeout_ms, struct error *err);
