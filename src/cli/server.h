/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A live mount's ear for other commands: a socket in the runtime directory (wire.h tells what is spoken).
 *
 * Threads: one accepts and watches, one for each client, at most SERVER_CLIENTS_MAX; a client more is hung up on and
 * does its work itself. A client that goes away takes its request with it. All threads end in server_stop().
 */
#pragma once

#include "src/cli/work.h"

#define SERVER_CLIENTS_MAX 8u

struct server;

struct server_config {
	const char *runtime_dir; /* made 0700 */
	const char *identity;    /* account_identity() */
	const char *mountpoint;
	bool names_uid, maildir;
};

/* Copies the config, borrows `mail`. ERR_FAILED: the socket can't be made. */
int server_start(struct mail *mail, const struct server_config *config, struct server **server_out, struct error *err);
/* Ends what is under way. The model's loop must still run. NULL is fine. */
void server_stop(struct server *server);
