/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/document.h"
#include "src/auth/auth.h"
#include "src/auth/http.h"

#include <string.h>

#include "src/base/banned.h"

/* Nobody leads us from https to loopback's http. */
static int redirect_check(const char *from, const char *to, struct error *err)
{
	if (g_str_has_prefix(from, "https:") && !g_str_has_prefix(to, "https:"))
		return error_set(err, ERR_UNREACHABLE, "it leads to `%.200s`, which isn't https", to);
	return auth_url_check(to, err);
}

int document_fetch(
	const char *url, const char *ca_file, uint32_t timeout_ms, struct document *document_out, struct error *err)
{
	g_autofree char *at = g_strdup(url);
	int rc = auth_url_check(url, err);

	*document_out = (struct document){0};
	for (int redirects = 0; rc == 0; redirects++) {
		const struct auth_http_request request = {
			.url = at, .ca_file = ca_file, .timeout_ms = timeout_ms, .cancel_fd = -1};
		struct auth_http_reply reply;

		rc = auth_http_run(&request, &reply, err);
		if (rc == 0 && reply.status == 200) {
			*document_out = (struct document){
				g_steal_pointer(&reply.body), reply.length, g_steal_pointer(&at)};
			auth_http_reply_fini(&reply);
			return 0;
		}
		if (rc == 0 && (!reply.location || redirects == DOCUMENT_REDIRECTS_MAX))
			rc = error_set(err, ERR_GONE, "HTTP status %ld", reply.status);
		if (rc == 0)
			rc = redirect_check(at, reply.location, err);
		if (rc == 0) {
			g_free(at);
			at = g_steal_pointer(&reply.location);
		}
		auth_http_reply_fini(&reply);
	}
	return rc;
}

void document_fini(struct document *document)
{
	g_free(document->text);
	g_free(document->from);
	*document = (struct document){0};
}
