/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The directory of sockets: one for each live mount, named IDENTITY-PID.sock (see account_identity()). It is the user's
 * alone; what is left of a mount that died is removed by whoever finds it.
 */
#pragma once

#include "src/cli/wire.h"

struct sockets {
	int directory_fd;
	char *path;
};

/* Makes the directory first when `make` is set. ERR_FAILED: others can get into it. 1 = it isn't there (not `make`). */
int sockets_open(const char *path, bool make, struct sockets *sockets_out, struct error *err);
void sockets_close(struct sockets *sockets);

/* A listening socket (non-blocking) under this process's name; `name_out` is g_free'd, and the file unlinked by the
 * caller. */
int sockets_listen(
	const struct sockets *sockets, const char *identity, int *fd_out, char **name_out, struct error *err);
void sockets_unlink(const struct sockets *sockets, const char *name);

/* Not 0 = don't go on. */
typedef int (*sockets_fn)(void *ctx, struct wire *wire, pid_t pid);
/* Connects to each live mount of `identity` (NULL = of all) in turn. Returns what `fn` returned last, or 0. */
int sockets_each(const struct sockets *sockets, const char *identity, sockets_fn fn, void *ctx);
