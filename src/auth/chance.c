/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/chance.h"

#include <glib.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <string.h>

#include "src/base/banned.h"

#define CHANCE_BYTES 32

char *auth_base64url(const void *bytes, size_t length)
{
	char *text = g_base64_encode(bytes, length);
	char *end = text + strlen(text);

	for (char *at = text; *at; at++)
		*at = *at == '+' ? '-' : *at == '/' ? '_' : *at;
	while (end > text && end[-1] == '=')
		*--end = '\0';
	return text;
}

int auth_chance_new(struct secret **value_out, struct error *err)
{
	unsigned char bytes[CHANCE_BYTES];

	if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
		ERR_clear_error();
		return error_set(err, ERR_FAILED, "OpenSSL has no random numbers");
	}
	*value_out = secret_new_take(auth_base64url(bytes, sizeof(bytes)));
	secret_wipe(bytes, sizeof(bytes));
	return 0;
}

char *auth_chance_challenge(const struct secret *verifier)
{
	unsigned char digest[SHA256_DIGEST_LENGTH];

	SHA256((const unsigned char *)secret_text(verifier), secret_length(verifier), digest);
	return auth_base64url(digest, sizeof(digest));
}
