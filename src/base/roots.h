/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The certificates that servers are checked against: the system's, and those of a `ca_file`. The system has them as a
 * folder, of which a check reads the few that it needs, and as one bundle, which costs 40 ms of processor and a
 * megabyte: the bundle is read when the folder alone doesn't do. What was read is shared by all connections, and read
 * again when the files are others.
 *
 * Threads: any.
 */
#pragma once

#include <openssl/ssl.h>

enum roots_problem { ROOTS_FINE, ROOTS_NO_SYSTEM, ROOTS_NO_CA_FILE };

/* Where they are; each may be NULL. */
struct roots_places {
	const char *bundle;  /* the system's, PEM */
	const char *folder;  /* the system's, by hashed names (openssl-rehash) */
	const char *ca_file; /* PEM */
};

/* Peers of `tls` are checked against these from now on; it says itself whether they must be (SSL_CTX_set_verify()). */
enum roots_problem roots_use(SSL_CTX *tls, const struct roots_places *places);
/* So that roots_use() soon after has less to do. */
void roots_read_ahead(const struct roots_places *places);
