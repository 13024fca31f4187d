/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who serves an address: by its domain, by the domain's MX, or by the mail autoconfiguration that the domain publishes
 * (Mozilla's format, version 1.1) over HTTPS. What comes from the network is a proposal, for a person to confirm.
 */
#pragma once

#include "src/cli/settings.h"

#include <stdbool.h>

struct found {
	const char *provider; /* "outlook" … ; "generic" = by the following */
	char *host;           /* NULL = nothing was found */
	uint16_t port;
	enum settings_tls tls; /* never none */
	char *user;
	char *auth_url, *token_url, *scope; /* OAuth; all or none */
	char *from;                         /* where this was told, for the person */
};
void found_fini(struct found *found);

/* By the name alone: "gmail", "outlook", "outlook-personal"; NULL = unknown. `domain` is lower case. */
const char *found_provider_of_domain(const char *domain);
const char *found_provider_of_mx(const char *exchange);
/* Asks DNS; NULL = unknown. */
const char *found_by_mx(const char *domain);

/*
 * Reads a document for `email`. False: it isn't one, or names no server that is encrypted, or a host or URL in it
 * can't be right. Documents longer than AUTH_HTTP_BODY_MAX aren't fetched.
 */
bool found_parse(const char *text, size_t length, const char *email, struct found *found_out);
/* Fetches and reads; false with the reason in `err`. */
bool found_by_url(const char *url, const char *ca_file, const char *email, struct found *found_out, struct error *err);
/* The domain's own places, in turn. */
bool found_by_domain(const char *domain, const char *ca_file, const char *email, struct found *found_out);
