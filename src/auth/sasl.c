/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/auth.h"

#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

static struct secret *encode(GString *plain)
{
	struct secret *s = secret_new_take(g_base64_encode((const guchar *)plain->str, plain->len));

	secret_wipe(plain->str, plain->len);
	g_string_free(plain, TRUE);
	return s;
}

/* Sized at once: a buffer that grows leaves copies of the secret behind. */
static GString *plain_new(const char *user, const struct secret *secret)
{
	return g_string_sized_new(strlen(user) * 3 + secret_length(secret) + 512);
}

struct secret *auth_sasl_xoauth2(const char *user, const struct secret *token)
{
	GString *plain = plain_new(user, token);

	g_string_append_printf(plain, "user=%s\001auth=Bearer ", user);
	g_string_append(plain, secret_text(token));
	g_string_append(plain, "\001\001");
	return encode(plain);
}

struct secret *auth_sasl_oauthbearer(const char *user, const char *host, uint16_t port, const struct secret *token)
{
	GString *plain = plain_new(user, token);

	/* RFC 7628 section 3.1 with the GS2 header of RFC 5801 section 4: `,` and `=` are escaped in a name */
	g_string_append(plain, "n,a=");
	for (const char *at = user; *at; at++) {
		if (*at == ',')
			g_string_append(plain, "=2C");
		else if (*at == '=')
			g_string_append(plain, "=3D");
		else
			g_string_append_c(plain, *at);
	}
	g_string_append_printf(plain, ",\001host=%.255s\001port=%u\001auth=Bearer ", host, port);
	g_string_append(plain, secret_text(token));
	g_string_append(plain, "\001\001");
	return encode(plain);
}

struct secret *auth_sasl_plain(const char *user, const struct secret *password)
{
	GString *plain = plain_new(user, password);

	/* RFC 4616: no authorization identity */
	g_string_append_c(plain, '\0');
	g_string_append(plain, user);
	g_string_append_c(plain, '\0');
	g_string_append_len(plain, secret_text(password), (gssize)secret_length(password));
	return encode(plain);
}
