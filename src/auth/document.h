/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A small public document over HTTPS: what a provider tells about its mail servers. */
#pragma once

#include "src/base/error.h"

#include <stddef.h>
#include <stdint.h>

#define DOCUMENT_REDIRECTS_MAX 3

struct document {
	char *text; /* NUL-terminated */
	size_t length;
	char *from; /* the URL that it came from in the end, which may be another host's */
};

/*
 * GET, blocking, within `timeout_ms` for each redirect, at most AUTH_HTTP_BODY_MAX bytes, certificates verified
 * (`ca_file` may be NULL). Redirects lead to https URLs only; `url` is https, or http on loopback. ERR_GONE: anything
 * but 200.
 */
int document_fetch(
	const char *url, const char *ca_file, uint32_t timeout_ms, struct document *document_out, struct error *err);
void document_fini(struct document *document);
