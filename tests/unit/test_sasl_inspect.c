/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Initial responses with every fault that programs make, alone and together; requests to REST interfaces. */
#include "src/auth/sasl_inspect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "src/base/banned.h"

#define NOW 1700000000
#define OPAQUE "EwBAA8l6BAAUO9chh8cJscQLmU+LSWpbnr0vmwwAAQOPAQUE"
#define USER "user=olena@contoso.example"

/* Claims of tokens that the cases name by @NAME@. */
static const struct {
	const char *name, *claims;
} tokens[] = {
	{"@person@",
		"{\"aud\":\"https://outlook.office.com\",\"iss\":\"https://sts.windows.net/t/\",\"exp\":1700003000,"
		"\"scp\":\"IMAP.AccessAsUser.All openid\",\"upn\":\"olena@contoso.example\"}"},
	{"@eve@", "{\"aud\":\"https://outlook.office.com\",\"iss\":\"https://sts.windows.net/t/\",\"exp\":1700003000,"
		  "\"scp\":\"IMAP.AccessAsUser.All\",\"upn\":\"eve@contoso.example\"}"},
	{"@graph@",
		"{\"aud\":\"https://graph.microsoft.com\",\"iss\":\"https://sts.windows.net/t/\",\"exp\":1700003000,"
		"\"scp\":\"IMAP.AccessAsUser.All Mail.Read\",\"upn\":\"olena@contoso.example\"}"},
	{"@over@", "{\"aud\":\"https://outlook.office.com\",\"iss\":\"https://sts.windows.net/t/\",\"exp\":1699990000,"
		   "\"scp\":\"IMAP.AccessAsUser.All\",\"upn\":\"olena@contoso.example\"}"},
	{"@app@",
		"{\"aud\":\"https://outlook.office365.com\",\"iss\":\"https://sts.windows.net/t/\",\"exp\":1700003000,"
		"\"roles\":[\"IMAP.AccessAsApp\"],\"idtyp\":\"app\"}"},
	{"@norole@", "{\"aud\":\"https://outlook.office365.com\",\"iss\":\"https://sts.windows.net/t/\","
		     "\"exp\":1700003000,\"idtyp\":\"app\"}"},
};

enum encoding { RAW, ONCE, TWICE, THRICE, WRAPPED, URL_SAFE, UNPADDED, UTF16, QUOTED, SPACED };

#define GOOD USER "\1auth=Bearer " OPAQUE "\1\1"

static const struct {
	const char *name;
	enum encoding encoding;
	const char *text;
	const char *faults; /* ids in their order; "?" marks what isn't certain */
} cases[] = {
	{"right", ONCE, GOOD, ""},
	{"right, with a JWT", ONCE, USER "\1auth=Bearer @person@\1\1", ""},
	{"right, OAUTHBEARER", ONCE, "n,a=olena@contoso.example,\1host=h\1port=993\1auth=Bearer " OPAQUE "\1\1", ""},
	{"right, OAUTHBEARER without host", ONCE, "n,a=olena@contoso.example,\1auth=Bearer " OPAQUE "\1\1", ""},
	{"as a command", RAW, "a1 AUTHENTICATE XOAUTH2 dXNlcj1hQGIuYwFhdXRoPUJlYXJlciBFd0FBQUEBAQ==\r\n", ""},
	/* base64 */
	{"twice", TWICE, GOOD, "encoded-twice"},
	{"thrice", THRICE, GOOD, "encoded-twice"},
	{"wrapped", WRAPPED, GOOD, "whitespace"},
	{"quoted", QUOTED, GOOD, "quotes"},
	{"spaces around", SPACED, GOOD, "whitespace"},
	{"url-safe", URL_SAFE, USER "\1auth=Bearer " OPAQUE "~~~?\?\?>>>\1\1", "url-safe-base64 token-form"},
	{"no padding", UNPADDED, "user=a@b.cd\1auth=Bearer " OPAQUE "\1\1", "missing-padding"},
	{"not encoded", RAW, GOOD, "not-encoded?"},
	{"UTF-16", UTF16, GOOD, "utf-16"},
	{"parts encoded each", RAW, "dXNlcj0BAQ==YXV0aD0=", "broken-base64"},
	{"no base64 at all", RAW, "!!!! hello !!!!", "broken-base64"},
	{"base64 of something else", ONCE, "hello, world, this is it", "broken-base64"},
	{"nothing", RAW, "", "empty-response"},
	{"a line end", RAW, "\n", "empty-response"},
	/* the separator */
	{"\\1 as text", ONCE, USER "\\1auth=Bearer " OPAQUE "\\1\\1", "separator-as-text"},
	{"\\\\1 as text, twice", TWICE, USER "\\\\1auth=Bearer " OPAQUE "\\\\1\\\\1",
		"encoded-twice separator-as-text"},
	{"\\x01 as text", ONCE, USER "\\x01auth=Bearer " OPAQUE "\\x01\\x01", "separator-as-text"},
	{"^A as text", ONCE, USER "^Aauth=Bearer " OPAQUE "^A^A", "separator-as-text"},
	{"\\u0001 as text", ONCE, USER "\\u0001auth=Bearer " OPAQUE "\\u0001\\u0001", "separator-as-text"},
	{"\\x01A in JavaScript", ONCE, USER "\1Aauth=Bearer " OPAQUE "\1A\1A", "separator-hex-slip"},
	{"^A in the middle, bytes at the end", ONCE, USER "^Aauth=Bearer " OPAQUE "\1\1", "separator-as-text"},
	{"a space", ONCE, USER " auth=Bearer " OPAQUE "\1\1", "wrong-separator"},
	{"a line end between", ONCE, USER "\nauth=Bearer " OPAQUE "\1\1", "wrong-separator"},
	{"nothing between", ONCE, USER "auth=Bearer " OPAQUE "\1\1", "missing-separator"},
	{"one terminator", ONCE, USER "\1auth=Bearer " OPAQUE "\1", "missing-terminator"},
	{"no terminator", ONCE, USER "\1auth=Bearer " OPAQUE, "missing-terminator"},
	{"three terminators", ONCE, USER "\1auth=Bearer " OPAQUE "\1\1\1", "extra-terminator"},
	{"echo's line end", ONCE, GOOD "\n", "trailing-bytes"},
	/* user */
	{"no user", ONCE, "auth=Bearer " OPAQUE "\1\1", "user-missing"},
	{"empty user", ONCE, "user=\1auth=Bearer " OPAQUE "\1\1", "user-missing"},
	{"user with brackets", ONCE, "user=<olena@contoso.example>\1auth=Bearer " OPAQUE "\1\1", "user-form"},
	{"capital User", ONCE, "User=olena@contoso.example\1auth=Bearer " OPAQUE "\1\1", "key-case"},
	{"OAUTHBEARER without user", ONCE, "n,,\1auth=Bearer " OPAQUE "\1\1", "user-missing"},
	{"OAUTHBEARER without comma", ONCE, "n,a=olena@contoso.example\1auth=Bearer " OPAQUE "\1\1", "gs2-header"},
	{"form of the other", RAW,
		"AUTHENTICATE OAUTHBEARER dXNlcj1hQGIuYwFhdXRoPUJlYXJlciBFd0FBQUEBAQ==", "mechanism-mismatch"},
	/* Bearer */
	{"no Bearer", ONCE, USER "\1auth=" OPAQUE "\1\1", "bearer-missing"},
	{"bearer", ONCE, USER "\1auth=bearer " OPAQUE "\1\1", "bearer-case"},
	{"two spaces", ONCE, USER "\1auth=Bearer  " OPAQUE "\1\1", "bearer-spacing"},
	{"no space", ONCE, USER "\1auth=Bearer" OPAQUE "\1\1", "bearer-spacing"},
	{"no auth", ONCE, USER "\1\1", "auth-missing"},
	{"capital AUTH", ONCE, USER "\1AUTH=Bearer " OPAQUE "\1\1", "key-case"},
	/* token */
	{"no token", ONCE, USER "\1auth=Bearer \1\1", "token-missing"},
	{"JSON", ONCE, USER "\1auth=Bearer {\"access_token\":\"" OPAQUE "\"}\1\1", "token-form"},
	{"quotation marks", ONCE, USER "\1auth=Bearer \"" OPAQUE "\"\1\1", "token-form"},
	{"refresh token", ONCE, USER "\1auth=Bearer 0.AXEAfOPAQUEOPAQUEOPAQUE\1\1", "refresh-token?"},
	{"Graph", ONCE, USER "\1auth=Bearer @graph@\1\1", "token-for-other-resource"},
	{"expired", ONCE, USER "\1auth=Bearer @over@\1\1", "token-expired"},
	{"somebody else's", ONCE, USER "\1auth=Bearer @eve@\1\1", "token-for-other-user?"},
	{"app", ONCE, USER "\1auth=Bearer @app@\1\1", ""},
	{"app without role", ONCE, USER "\1auth=Bearer @norole@\1\1", "token-lacks-permission no-admin-consent?"},
	{"a token alone", RAW, "@person@", "user-missing auth-missing"},
	{"a token alone, encoded", ONCE, "@person@", "user-missing auth-missing"},
	/* many at once */
	{"many", TWICE, "User= \\\\1auth=bearer" OPAQUE "\\\\1",
		"encoded-twice separator-as-text key-case user-form bearer-case bearer-spacing missing-terminator"},
	/* REST */
	{"/me with an app's token", RAW,
		"GET /v1.0/me/messages HTTP/1.1\r\nHost: graph.microsoft.com\r\nAuthorization: Bearer @app@\r\n\r\n",
		"imap-token-for-rest me-with-app-token"},
	{"IMAP token for Graph", RAW,
		"GET https://graph.microsoft.com/v1.0/me/messages HTTP/1.1\r\nAuthorization: Bearer @person@\r\n\r\n",
		"imap-token-for-rest"},
	{"IMAP token for old REST", RAW,
		"curl -H 'Authorization: Bearer @person@' https://outlook.office.com/api/v2.0/me/messages\n",
		"outlook-rest-retired imap-token-for-rest"},
	{"Graph token for Graph", RAW,
		"GET https://graph.microsoft.com/v1.0/me HTTP/1.1\r\nAuthorization: Bearer @graph@\r\n\r\n", ""},
	{"users, not me", RAW,
		"GET https://graph.microsoft.com/v1.0/users/megan/messages HTTP/1.1\r\nAuthorization: Bearer "
		"@app@\r\n\r\n",
		"imap-token-for-rest"},
	{"request without Bearer", RAW, "GET https://graph.microsoft.com/v1.0/me HTTP/1.1\r\n\r\n", "auth-missing"},
};

static char *jwt(const char *claims)
{
	g_autofree char *body = g_base64_encode((const guchar *)claims, strlen(claims));

	for (char *at = body; *at; at++)
		*at = *at == '+' ? '-' : *at == '/' ? '_' : *at == '=' ? '\0' : *at;
	return g_strdup_printf("eyJhbGciOiJSUzI1NiJ9.%s.c2lnbmF0dXJlLXNpZ25hdHVyZQ", body);
}

static char *replace(const char *text, const char *what, const char *by)
{
	g_auto(GStrv) parts = g_strsplit(text, what, -1);

	return g_strjoinv(by, parts);
}

static char *with_tokens(const char *text)
{
	char *out = g_strdup(text);

	for (size_t i = 0; i < G_N_ELEMENTS(tokens); i++) {
		g_autofree char *token = jwt(tokens[i].claims), *before = out;

		out = replace(before, tokens[i].name, token);
	}
	return out;
}

static char *base64(const char *text)
{
	return g_base64_encode((const guchar *)text, strlen(text));
}

static char *utf16(const char *text)
{
	g_autofree guchar *wide = g_malloc0(strlen(text) * 2);

	for (size_t i = 0; text[i]; i++)
		wide[2 * i] = (guchar)text[i];
	return g_base64_encode(wide, strlen(text) * 2);
}

static char *encoded(enum encoding encoding, const char *text)
{
	g_autofree char *once = base64(text), *twice = base64(once);

	switch (encoding) {
	case RAW:
		return g_strdup(text);
	case ONCE:
		return g_steal_pointer(&once);
	case TWICE:
		return g_steal_pointer(&twice);
	case THRICE:
		return base64(twice);
	case WRAPPED:
		return g_strdup_printf("%.40s\r\n%s\r\n", once, once + 40);
	case URL_SAFE:
		for (char *at = once; *at; at++)
			*at = *at == '+' ? '-' : *at == '/' ? '_' : *at;
		return g_steal_pointer(&once);
	case UNPADDED:
		assert_int_equal(once[strlen(once) - 1], '=');
		*strchr(once, '=') = '\0';
		return g_steal_pointer(&once);
	case UTF16:
		return utf16(text);
	case QUOTED:
		return g_strdup_printf("\"%s\"\n", once);
	case SPACED:
		return g_strdup_printf(" %s \n", once);
	}
	return NULL;
}

static char *faults_text(const GPtrArray *faults)
{
	GString *text = g_string_new(NULL);

	for (guint i = 0; i < faults->len; i++) {
		const struct auth_cause *fault = faults->pdata[i];

		g_string_append_printf(text, "%s%s%s", i ? " " : "", fault->id, fault->certain ? "" : "?");
	}
	return g_string_free(text, FALSE);
}

/* No text has a piece of a token in it. */
static void check_secrecy(const char *name, const char *text)
{
	static const char *const pieces[] = {"OPAQUE", "EwBAA8", "eyJ", "c2lnbmF0"};

	for (size_t i = 0; i < G_N_ELEMENTS(pieces); i++)
		if (strstr(text, pieces[i]))
			fail_msg("%s: a token is in: %s", name, text);
	assert_true(g_utf8_validate(text, -1, NULL));
}

static void check_texts(const char *name, const struct auth_inspection *found)
{
	for (guint i = 0; i < found->layers->len; i++)
		check_secrecy(name, ((const struct auth_layer *)found->layers->pdata[i])->detail);
	for (guint i = 0; i < found->faults->len; i++) {
		const struct auth_cause *fault = found->faults->pdata[i];

		check_secrecy(name, fault->evidence);
		check_secrecy(name, fault->check);
		check_secrecy(name, fault->fix);
	}
}

static void test_cases(void **state)
{
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *text = with_tokens(cases[i].text), *input = encoded(cases[i].encoding, text),
				*faults = NULL;
		struct auth_inspection found;

		auth_inspect(input, strlen(input), NOW, &found);
		faults = faults_text(found.faults);
		if (strcmp(faults, cases[i].faults) != 0)
			fail_msg("%s: %s instead of %s", cases[i].name, faults, cases[i].faults);
		check_texts(cases[i].name, &found);
		auth_inspection_fini(&found);
	}
}

/* Cut anywhere it ends, without a token in what is said. */
static void test_cuts(void **state)
{
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *text = with_tokens(cases[i].text), *input = encoded(cases[i].encoding, text);

		for (size_t length = 0; length <= strlen(input); length++) {
			/* of its own size: what reads beyond the end is seen */
			g_autofree char *cut = g_memdup2(input, length);
			struct auth_inspection found;

			auth_inspect(cut ? cut : "", length, NOW, &found);
			check_texts(cases[i].name, &found);
			auth_inspection_fini(&found);
		}
	}
}

/* As much as is taken of what costs most: a hang would be seen. */
static void test_large(void **state)
{
	static const char *const patterns[] = {"\\1", "\1", "\1A", " auth=Bearer ", "auth=Bearer", "user=", "QUFB", "=",
		"a.b.", "dXNlcj0B", "Authorization: Bearer /me ", "\\x01 "};

	for (size_t i = 0; i < G_N_ELEMENTS(patterns); i++) {
		GString *text = g_string_new("user=a@b.c");
		struct auth_inspection found;

		while (text->len < AUTH_INSPECT_BYTES_MAX)
			g_string_append(text, patterns[i]);
		auth_inspect(text->str, text->len, NOW, &found);
		assert_true(found.layers->len > 0);
		auth_inspection_fini(&found);
		/* and without what tells it apart from base64 */
		auth_inspect(text->str + 10, text->len - 10, NOW, &found);
		assert_true(found.layers->len > 0);
		auth_inspection_fini(&found);
		g_string_free(text, TRUE);
	}
}

static void test_layers(void **state)
{
	g_autofree char *input = base64(GOOD);
	static const char *const names[] = {"input", "base64", "form", "user", "auth", "token"};
	struct auth_inspection found;

	auth_inspect(input, strlen(input), NOW, &found);
	assert_int_equal(found.layers->len, G_N_ELEMENTS(names));
	for (guint i = 0; i < found.layers->len; i++) {
		const struct auth_layer *layer = found.layers->pdata[i];

		assert_string_equal(layer->name, names[i]);
		assert_true(layer->ok);
	}
	auth_inspection_fini(&found);
}

static void test_token_is_response(void **state)
{
	g_autofree char *response = base64(GOOD), *twice = base64(response);

	assert_true(auth_token_is_response(response, strlen(response)));
	assert_true(auth_token_is_response(twice, strlen(twice)));
	assert_false(auth_token_is_response(OPAQUE, strlen(OPAQUE)));
	for (size_t i = 0; i < G_N_ELEMENTS(tokens); i++) {
		g_autofree char *token = jwt(tokens[i].claims);

		assert_false(auth_token_is_response(token, strlen(token)));
	}
}

/* Claims: what can't be read is no error, and what is read is fit to be printed. */
static void test_claims(void **state)
{
	static const char *const odd[] = {
		"", ".", "..", "...", "a.b.c", "a.!!!.c", "eyJ9.e30.x", "a.W10.b", "a.bnVsbA.b"};
	struct auth_claims claims;

	for (size_t i = 0; i < G_N_ELEMENTS(odd); i++) {
		g_autofree char *about = NULL;

		auth_claims_read(odd[i], strlen(odd[i]), &claims);
		about = auth_claims_describe(&claims, strlen(odd[i]), NOW);
		assert_true(*about);
	}
	{
		g_autofree char *token = jwt(
			"{\"aud\":[\"a\",7,\"b\"],\"upn\":\"x\\u001b[31m\",\"exp\":\"soon\",\"nbf\":-1,"
			"\"scp\":{},\"roles\":[[\"IMAP.AccessAsApp\"]]}");

		auth_claims_read(token, strlen(token), &claims);
		assert_true(claims.readable);
		assert_string_equal(claims.audience, "a b");
		assert_string_equal(claims.user, "x?[31m");
		assert_int_equal(claims.expires_at, 0);
		assert_int_equal(claims.not_before, 0);
		assert_false(claims.imap_app);
	}
	{
		g_autofree char *token = jwt("{\"aud\":\"00000002-0000-0ff1-ce00-000000000000\",\"preferred_username\":"
					     "\"o@c.example\",\"unique_name\":\"live.com#z\"}");

		auth_claims_read(token, strlen(token), &claims);
		assert_true(auth_claims_are_exchange(&claims));
		assert_string_equal(claims.user, "o@c.example");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_layers),
		cmocka_unit_test(test_token_is_response),
		cmocka_unit_test(test_claims),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
