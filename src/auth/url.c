/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/auth.h"

#include <arpa/inet.h>
#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

#define URL_BYTES_MAX 2048

bool auth_host_is_loopback(const char *host)
{
	char bare[INET6_ADDRSTRLEN];
	size_t length = strlen(host);
	struct in_addr v4;
	struct in6_addr v6;

	if (g_ascii_strcasecmp(host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, host, &v4) == 1)
		return (ntohl(v4.s_addr) >> 24) == 127;
	if (length > 2 && host[0] == '[' && host[length - 1] == ']') {
		host++;
		length -= 2;
	}
	if (length >= sizeof(bare))
		return false;
	memcpy(bare, host, length);
	bare[length] = '\0';
	return inet_pton(AF_INET6, bare, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

int auth_url_check(const char *url, struct error *err)
{
	g_autoptr(GUri) uri = NULL;

	if (strlen(url) > URL_BYTES_MAX)
		return error_set(err, ERR_CONFIG, "the URL is too long");
	/* what two parsers could read in two ways: ours decides on the host, libcurl's connects to it */
	for (const char *at = url; *at; at++)
		if (*at <= ' ' || *at > '~' || strchr("\\\"<>^`{|}@", *at))
			return error_set(err, ERR_CONFIG, "the URL contains a character that isn't allowed there");
	uri = g_uri_parse(url, G_URI_FLAGS_NONE, NULL);
	if (!uri || !g_uri_get_host(uri) || !*g_uri_get_host(uri))
		return error_set(err, ERR_CONFIG, "`%s` isn't an https URL", url);
	if (strcmp(g_uri_get_scheme(uri), "https") == 0)
		return 0;
	if (strcmp(g_uri_get_scheme(uri), "http") == 0) {
		if (auth_host_is_loopback(g_uri_get_host(uri)))
			return 0;
		return error_set(
			err, ERR_CONFIG, "`%s` would send secrets unencrypted: https only, http on loopback", url);
	}
	return error_set(err, ERR_CONFIG, "`%s` isn't an https URL", url);
}
