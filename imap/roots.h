/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The certificates that servers are checked against: the system's, and those of a `ca_file`. Reading the system's
 * costs some 40 ms of processor and a megabyte, so all connections share what was read once; it is read again when
 * the files are others.
 *
 * Threads: any.
 */
#pragma once

#include <openssl/x509_vfy.h>

enum roots_problem { ROOTS_FINE, ROOTS_NO_SYSTEM, ROOTS_NO_CA_FILE };

/* A reference: X509_STORE_free() it. `bundle`, `folder` (hashed names): the system's; each may be NULL, as `ca_file`.
 * NULL: problem_out says what can't be read. */
X509_STORE *roots_get(const char *bundle, const char *folder, const char *ca_file, enum roots_problem *problem_out);
