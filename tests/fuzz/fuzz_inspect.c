/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Initial responses, requests and tokens of others: whatever they are, what is said of them can be printed. */
#include "src/auth/sasl_inspect.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "src/base/banned.h"

#define NOW 1700000000
#define SECRET_MIN 24 /* bytes of a token that would tell it from a word */

static void check_text(const char *text)
{
	g_assert_nonnull(text);
	g_assert_true(g_utf8_validate(text, -1, NULL));
	for (const char *at = text; *at; at++)
		g_assert_false(g_ascii_iscntrl(*at));
}

/* What stands behind "Bearer " in the input isn't in the text. */
static void check_secrecy(const char *text, const char *input, size_t size)
{
	static const char word[] = "Bearer ";

	for (size_t i = 0; i + sizeof(word) - 1 + SECRET_MIN <= size; i++) {
		char token[SECRET_MIN + 1] = "";

		if (memcmp(input + i, word, sizeof(word) - 1) != 0)
			continue;
		memcpy(token, input + i + sizeof(word) - 1, SECRET_MIN);
		if (strlen(token) == SECRET_MIN)
			g_assert_null(strstr(text, token));
	}
}

static void check_inspection(const char *input, size_t size)
{
	struct auth_inspection found;

	auth_inspect(input, size, NOW, &found);
	g_assert_cmpuint(found.layers->len, >, 0);
	for (guint i = 0; i < found.layers->len; i++) {
		const struct auth_layer *layer = found.layers->pdata[i];

		check_text(layer->detail);
		check_secrecy(layer->detail, input, size);
	}
	for (guint i = 0; i < found.faults->len; i++) {
		const struct auth_cause *fault = found.faults->pdata[i];

		check_text(fault->evidence);
		check_text(fault->check);
		check_text(fault->fix);
		check_secrecy(fault->evidence, input, size);
	}
	auth_inspection_fini(&found);
}

/* Through the base64 that most inputs of a fuzzer would never have. */
static void check_encoded(const char *input, size_t size)
{
	g_autofree char *encoded = g_base64_encode((const guchar *)input, size);

	check_inspection(encoded, strlen(encoded));
}

static void check_claims(const char *json, size_t size)
{
	g_autofree char *body = g_base64_encode((const guchar *)json, size);
	g_autofree char *token = g_strdup_printf("e30.%s.c2ln", body), *about = NULL;
	struct auth_claims claims;

	auth_claims_read(json, size, &claims);
	auth_claims_read(token, strlen(token), &claims);
	about = auth_claims_describe(&claims, size, NOW);
	check_text(about);
	auth_token_is_response(json, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = size ? (const char *)data : "";

	check_inspection(text, size);
	check_encoded(text, size);
	check_claims(text, size);
	return 0;
}
