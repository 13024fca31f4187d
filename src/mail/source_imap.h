/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What source_imap.c and sync_imap.c share. */
#pragma once

#include "imap/client.h"
#include "src/mail/mail.h"
#include "src/mail/source.h"

/* A command's line without tag: below the client's limit, with room for the tag. */
#define SOURCE_COMMAND_BYTES (CLIENT_COMMAND_BYTES_MAX - 64u)

struct source_imap {
	struct mail_source base;
	struct imap_client *client;
	struct auth *auth;
	source_told_fn told; /* of the watch */
	void *told_ctx;
	/* under way: a mount may end before they do */
	GQueue lists;      /* struct list_run */
	GQueue syncs;      /* struct run */
	GQueue searches;   /* struct search_run */
	bool search_ascii; /* this server searches for nothing else */
};

#define SOURCE_EMAILID_BYTES 260u /* RFC 8474: at most 255, and a mark that keeps Gmail's apart from the standard's */
/* The item to ask for, with a space in front; "" = this server has none. */
const char *source_imap_emailid_item(uint32_t capabilities);
/* What a response tells of it; NULL = nothing of use. */
const char *source_imap_emailid(const struct imap_fetch *fetch, char buffer[SOURCE_EMAILID_BYTES]);

void source_imap_sync(struct mail_source *source, struct source_sync_job *job);
void source_imap_search(struct mail_source *source, struct source_search_job *job);
/* Their jobs aren't told. */
void source_imap_syncs_forget(struct source_imap *source);
void source_imap_searches_forget(struct source_imap *source);
