/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tokens of a person's sign-in, kept across programs: one JSON file an account, 0600 in config->state_dir (0700),
 * replaced atomically and synced before the tokens in it are used, so that a crash at any point leaves either the old
 * or the new refresh token, and what a killed process had written but not put in place is found by the next. A lock
 * file beside it makes refreshing single flight across processes.
 *
 * With token_store = secret-service the same JSON is an item of the desktop's keyring instead, which the service
 * replaces in one step. The lock file stays, and beside it is a file of zeros whose size and times change with each
 * change of the item.
 *
 * A file belongs to (token_url, client_id): with another of either its tokens count as absent, because a refresh token
 * is never shown to another endpoint. App-only tokens (client credentials) aren't kept: asking anew costs one request,
 * and what isn't on the disk can't be read from it.
 */
#pragma once

#include "src/auth/flow.h"

struct auth_tokens {
	struct secret *refresh;    /* NULL = none */
	struct secret *access;     /* NULL = none */
	int64_t access_issued_at;  /* seconds since 1970 */
	int64_t access_expires_at; /* 0 = unknown */
};
void auth_tokens_fini(struct auth_tokens *tokens);

/* The file that changes whenever the tokens do. NULL for methods that store nothing. */
char *auth_store_path(const struct auth_config *config);

/*
 * Waits for other processes up to the flow's http_timeout_ms, then finishes what one that was killed left.
 * ERR_TIMEOUT, ERR_INTERRUPTED, ERR_STORAGE.
 */
int auth_store_lock(struct auth_flow *flow, int *lock_fd_out, struct error *err);
void auth_store_unlock(int lock_fd); /* -1 is fine */

/* Before a person is asked to sign in: the store will take what comes of it. ERR_SIGN_IN, ERR_INTERRUPTED. */
int auth_store_prepare(const struct auth_flow *flow, struct error *err);
/*
 * 0 with empty tokens when there are none (or another client's). ERR_STORAGE: can't be read or isn't ours; ERR_SIGN_IN:
 * the secret service can't be used. So with the next two.
 */
int auth_store_load(const struct auth_config *config, struct auth_tokens *tokens_out, struct error *err);
/* Under the lock. ERR_STORAGE. */
int auth_store_save(const struct auth_config *config, const struct auth_tokens *tokens, struct error *err);
/* Under the lock. What isn't there is forgotten already. ERR_STORAGE. */
int auth_store_forget(const struct auth_config *config, struct error *err);
