/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is said of each cause. */
#pragma once

#include <stddef.h>

/*
 * In the texts {account}, {user}, {host}, {port}, {client}, {object} and {tenant} stand for what is configured or what
 * the token says, {hint} for what the error itself suggests.
 */
struct auth_cause_entry {
	const char *id, *title, *check, *fix;
};

/* NULL when there is none. */
const struct auth_cause_entry *auth_cause_entry_find(const char *id);
/* All of them, for tests and documentation. */
const struct auth_cause_entry *auth_cause_entries(size_t *count_out);
