/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Values that come from outside: given in the configuration, by a file, by a command. */
#pragma once

#include "src/auth/flow.h"

bool auth_source_is_set(const struct auth_source *source);

/*
 * Opens a regular file for reading and nothing else: a FIFO would hold up its reader. Warns when it holds a `secret`
 * and others can read it. The descriptor, or ERR_SIGN_IN.
 */
int auth_source_open(const char *path, const char *what, bool secret, struct error *err);

/*
 * The value, by one line's rules: the first line of the file or output, without its line end. `what` names it in
 * errors ("client_secret"). Blocking. ERR_SIGN_IN when there is none, ERR_TIMEOUT, ERR_INTERRUPTED.
 */
int auth_source_read(struct auth_flow *flow, const struct auth_source *source, const char *what,
	struct secret **value_out, struct error *err);

/*
 * `s` without white space around it. ERR_SIGN_IN, and `s` is freed, when what remains is empty or has characters that
 * no token has: those would end up inside a SASL string or an HTTP header.
 */
int auth_source_trim_token(struct secret *s, const char *what, struct secret **token_out, struct error *err);

/*
 * A number that changes when one of the files changes that this configuration reads: then a refusal is worth another
 * attempt. Never 0.
 */
uint64_t auth_source_stamp(const struct auth_config *config);
/* The same for one file. */
uint64_t auth_source_file_stamp(const char *path);
