/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One account, composed: loop, sign-in, IMAP client, cache, model. Opening it needs no network and no sign-in.
 * The loop runs on its own thread from account_open() to account_close(): fork before.
 */
#pragma once

#include "imap/client.h"
#include "src/cli/settings.h"

struct account {
	struct settings *settings; /* auth's part is emptied */
	struct loop *loop;
	struct auth *auth;
	struct imap_client *client;
	struct cache *cache;
	struct mail *mail;
};

/* Takes over `settings`, also when it fails. */
int account_open(struct settings *settings, struct account **account_out, struct error *err);
void account_close(struct account *account); /* NULL is fine */

/*
 * What two settings have in common when they show the same mail in the same way: server, mailbox, and each key that
 * changes what is listed or read. A short text, fit for a file's name; g_free it.
 */
char *account_identity(const struct settings *settings);
/* How its server is spoken to; borrows from `settings`. */
struct imap_client_config account_client_config(const struct settings *settings);
/* `cache_open` with these settings. */
int account_cache_open(const struct settings *settings, struct cache **cache_out, struct error *err);
