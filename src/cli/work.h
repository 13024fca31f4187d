/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What commands ask of an account's model, the same whether it lives in their own process or in that of a mount:
 * a request, and an answer of records. A record is one JSON object, or for `cat` a piece of the message.
 */
#pragma once

#include "src/cli/wait.h"

#include <stddef.h>
#include <stdint.h>

#define WORK_FOLDER_BYTES_MAX 16384u /* a path of folders in a request */

enum work_command {
	WORK_MOUNTPOINT, /* {mountpoint}: answered from memory, also when the server is silent */
	WORK_STATUS,     /* status.json */
	WORK_LS,         /* folders, or the messages of one: the contract's JSON */
	WORK_CAT,        /* one message's octets */
	WORK_SEARCH,     /* messages that the server finds, as of LS */
	WORK_WARM,       /* bodies into the cache; a record of how far it is, now and then, and at the end */
	WORK_RETRY,      /* no record: backoffs and refusals are forgotten, as by SIGHUP */
	WORK_COMMANDS,
};
const char *work_command_name(enum work_command command);

struct work_request {
	enum work_command command;
	const char *folder; /* path as in the mount; NULL or "" = none. Borrowed */
	uint32_t uid;
	const char *query; /* of SEARCH: query.h. Borrowed */
};

/* Takes a record; not 0 = don't go on, with the reason. */
struct sink {
	int (*record)(void *ctx, const char *bytes, size_t length, struct error *err);
	void *ctx;
};

struct work {
	struct wait *wait;
	struct mail *mail;
	const char *mountpoint; /* NULL = not mounted */
	bool names_uid, maildir;
};

int work_run(const struct work *work, const struct work_request *request, const struct sink *sink, struct error *err);
