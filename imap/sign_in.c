/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "imap/sign_in.h"
#include "imap/grammar.h"
#include "src/base/log.h"

#include <string.h>

#include "src/base/banned.h"

static struct secret *initial_response(
	enum imap_sasl sasl, const struct imap_client_config *config, const struct credential *credential)
{
	switch (sasl) {
	case IMAP_SASL_XOAUTH2:
		return auth_sasl_xoauth2(config->user, credential->secret);
	case IMAP_SASL_OAUTHBEARER:
		return auth_sasl_oauthbearer(config->user, config->host, config->port, credential->secret);
	default:
		return auth_sasl_plain(config->user, credential->secret);
	}
}

/* LOGIN user password, each quoted where the grammar allows it, else as a literal (RFC 3501 section 6.2.3). */
static void login_append(GString *out, const char *text, size_t length)
{
	g_string_append_c(out, ' ');
	if (imap_quote(out, text, length))
		return;
	g_string_append_printf(out, "{%zu}\r\n", length);
	g_string_append_len(out, text, (gssize)length);
}

GString *sign_in_command(const struct offer *offer, const struct imap_client_config *config,
	const struct credential *credential, struct sign_in *sign_in_out, struct error *err)
{
	const struct secret *secret = credential->secret;
	GString *text;

	*sign_in_out = (struct sign_in){0};
	if (offer_choose(offer, config->sasl, credential->kind, &sign_in_out->sasl, err) != 0)
		return NULL;
	/* sized at once: a buffer that grows leaves copies of the secret behind */
	text = g_string_sized_new(secret_length(secret) * 3 + strlen(config->user) * 3 + 512);
	if (sign_in_out->sasl == IMAP_SASL_LOGIN) {
		g_string_append(text, "LOGIN");
		login_append(text, config->user, strlen(config->user));
		login_append(text, secret_text(secret), secret_length(secret));
		sign_in_out->response_sent = true;
		return text;
	}
	g_string_append_printf(text, "AUTHENTICATE %s", offer_sasl_name(sign_in_out->sasl));
	if (offer->sasl_ir) {
		struct secret *initial = initial_response(sign_in_out->sasl, config, credential);

		g_string_append_c(text, ' ');
		g_string_append(text, secret_text(initial));
		secret_unref(initial);
		sign_in_out->response_sent = true;
	}
	return text;
}

void sign_in_wipe(GString *command)
{
	secret_wipe(command->str, command->len);
	g_string_free(command, TRUE);
}

struct secret *sign_in_answer(
	struct sign_in *sign_in, const struct imap_client_config *config, const struct credential *credential)
{
	if (!sign_in->response_sent) {
		sign_in->response_sent = true;
		return initial_response(sign_in->sasl, config, credential);
	}
	switch (sign_in->sasl) {
	case IMAP_SASL_XOAUTH2:
		return secret_new("", 0);
	case IMAP_SASL_OAUTHBEARER:
		return secret_new("AQ==", 4);
	default:
		/* PLAIN has nothing more to say: cancel (RFC 3501 section 6.2.2) */
		return secret_new("*", 1);
	}
}

void sign_in_challenge_read(const char *base64, char *out, size_t size)
{
	gsize length = 0;
	g_autofree guchar *bytes = g_base64_decode(base64, &length);

	g_snprintf(out, (gulong)size, "%.*s", (int)MIN(length, size), bytes);
	log_clean(out);
	secret_scrub(out, size);
}
