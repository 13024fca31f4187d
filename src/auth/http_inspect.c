/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A request to a REST interface, with the token meant for IMAP or without a person behind it. */
#include "src/auth/inspect_parts.h"

#include <string.h>

#include "src/base/banned.h"

#define HOST_MAX 128u

static const struct {
	const char *host;
	bool graph;
} interfaces[] = {
	{"graph.microsoft.com", true},
	{"graph.microsoft.us", true},
	{"dod-graph.microsoft.us", true},
	{"microsoftgraph.chinacloudapi.cn", true},
	{"outlook.office.com/api", false},
	{"outlook.office365.com/api", false},
};

static bool is_boundary(char c)
{
	return c == '\0' || !(g_ascii_isalnum(c) || c == '-' || c == '_');
}

/* /me as a path's part: "/v1.0/me/messages", "/me?$select=". */
static bool asks_me(const char *text, size_t length)
{
	for (size_t i = 0; i + 3 <= length; i++)
		if (inspect_begins(text + i, length - i, "/me") && is_boundary(i + 3 < length ? text[i + 3] : '\0'))
			return true;
	return false;
}

static const char *line_end(const char *text, const char *end)
{
	while (text < end && *text != '\r' && *text != '\n')
		text++;
	return text;
}

static void bearer_inspect(struct inspector *in, const char *text, size_t length)
{
	const char *end = text + length, *at = inspect_find(text, length, "authorization:"), *stop;

	if (!at) {
		inspect_fault(in, "auth-missing", "there is no Authorization: Bearer");
		return;
	}
	stop = line_end(at, end);
	at += strlen("authorization:");
	while (at < stop && *at == ' ')
		at++;
	if (!inspect_begins(at, (size_t)(stop - at), "bearer ")) {
		inspect_fault(in, "bearer-missing", "Authorization isn't followed by it");
		return;
	}
	at += strlen("bearer ");
	while (stop > at && strchr(" \t\"'\\", stop[-1]))
		stop--;
	/* curl's -H '…' may have more behind it */
	for (const char *mark = at; mark < stop; mark++)
		if (*mark == '"' || *mark == '\'')
			stop = mark;
	inspect_layer(in, "auth", "a bearer token");
	auth_claims_read(at, (size_t)(stop - at), &in->claims);
	if (in->claims.readable) {
		g_autofree char *about = auth_claims_describe(&in->claims, (size_t)(stop - at), in->evidence.now);

		in->evidence.claims = &in->claims;
		inspect_layer(in, "token", "%s", about);
	} else {
		inspect_layer(in, "token", "%zu bytes that can't be read from here", (size_t)(stop - at));
	}
}

/* One request line: "GET /v1.0/me HTTP/1.1" or a whole address. */
static const char *target_find(const char *text, size_t length, bool *graph_out)
{
	for (size_t i = 0; i < G_N_ELEMENTS(interfaces); i++)
		if (inspect_find(text, length, interfaces[i].host)) {
			*graph_out = interfaces[i].graph;
			return interfaces[i].host;
		}
	/* the host stands on a line of its own, and the path begins with the version */
	*graph_out = true;
	if (inspect_find(text, length, "host: outlook.office") && inspect_find(text, length, " /api/")) {
		*graph_out = false;
		return "outlook.office.com/api";
	}
	return NULL;
}

static void use_check(struct inspector *in, const char *host, bool graph, const char *text, size_t length)
{
	const struct auth_claims *claims = &in->claims;

	if (!graph)
		inspect_fault(in, "outlook-rest-retired", "the request goes to %s", host);
	if (claims->readable && graph && auth_claims_are_exchange(claims))
		inspect_fault(in, "imap-token-for-rest", "the token is for %s, the request goes to %s",
			claims->audience, host);
	else if (claims->readable && !graph && (claims->imap_app || claims->imap_user) && !claims->mail_scopes)
		inspect_fault(
			in, "imap-token-for-rest", "the token allows IMAP alone: %s%s", claims->scopes, claims->roles);
	if (claims->readable && claims->is_app && asks_me(text, length))
		inspect_fault(in, "me-with-app-token", "the token has no person in it");
	if (inspect_find(text, length, "/me request is only valid with delegated"))
		inspect_fault(in, "me-with-app-token", "the answer says so itself");
	if (claims->readable && claims->expires_at && claims->expires_at <= in->evidence.now)
		inspect_fault(in, "token-expired", "exp: it ended %" G_GINT64_FORMAT " s ago",
			in->evidence.now - claims->expires_at);
}

static bool is_request(const char *text, size_t length)
{
	static const char *const methods[] = {"GET ", "POST ", "PATCH ", "PUT ", "DELETE ", "HEAD ", "curl "};

	for (size_t i = 0; i < G_N_ELEMENTS(methods); i++)
		if (inspect_begins(text, length, methods[i]))
			return true;
	return inspect_find(text, length, "authorization:") != NULL;
}

bool inspect_http(struct inspector *in, const char *text, size_t length)
{
	const char *host;
	bool graph;

	if (!is_request(text, length))
		return false;
	host = target_find(text, length, &graph);
	inspect_layer(in, "input", "an HTTP request of %zu bytes%s%s", length, host ? " to " : "", host ? host : "");
	bearer_inspect(in, text, length);
	use_check(in, host ? host : "a REST interface", graph, text, length);
	inspect_layer(in, "use", "what the token is used for");
	return true;
}
