/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who serves an address, from names and from documents of strangers. */
#include "src/cli/setup_found.h"

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "src/base/banned.h"

static void test_found_providers(void **state)
{
	assert_string_equal(found_provider_of_domain("gmail.com"), "gmail");
	assert_string_equal(found_provider_of_domain("hotmail.com"), "outlook-personal");
	assert_string_equal(found_provider_of_domain("contoso.onmicrosoft.com"), "outlook");
	assert_null(found_provider_of_domain("contoso.com"));
	assert_string_equal(found_provider_of_mx("contoso-com.mail.protection.outlook.com."), "outlook");
	assert_string_equal(found_provider_of_mx("hotmail-com.olc.protection.outlook.com"), "outlook-personal");
	assert_string_equal(found_provider_of_mx("ASPMX.L.GOOGLE.COM"), "gmail");
	assert_null(found_provider_of_mx("mx.example.org"));
	assert_null(found_provider_of_mx("evil-mail.protection.outlook.com.example"));
	assert_null(found_provider_of_mx("l.google.com.example"));
}

#define CONFIG(server, more)                                                                                           \
	"<clientConfig version='1.1'><emailProvider><incomingServer type='imap'>" server                               \
	"</incomingServer></emailProvider>" more "</clientConfig>"
#define SERVER "<hostname> imap.%EMAILDOMAIN% </hostname><port>993</port><socketType>SSL</socketType>"

static void test_found_parse(void **state)
{
	static const char document[] = CONFIG(SERVER "<username>%EMAILLOCALPART%</username>",
		"<oAuth2><scope>mail</scope><authURL>https://a.example/a</authURL><tokenURL>https://a.example/t</"
		"tokenURL>"
		"</oAuth2>");
	struct found found;

	assert_true(found_parse(document, strlen(document), "o@x.example", &found));
	assert_string_equal(found.provider, "generic");
	assert_string_equal(found.host, "imap.x.example");
	assert_int_equal(found.port, 993);
	assert_int_equal(found.tls, TLS_IMPLICIT);
	assert_string_equal(found.user, "o");
	assert_string_equal(found.token_url, "https://a.example/t");
	found_fini(&found);
	/* cut anywhere it isn't a document */
	for (size_t length = 0; length < strlen(document); length++)
		assert_false(found_parse(document, length, "o@x.example", &found));
}

static void test_found_parse_should_fail(void **state)
{
	static const char *const documents[] = {
		CONFIG("<hostname>a</hostname><port>143</port><socketType>plain</socketType>", ""),
		CONFIG("<hostname>a</hostname><port>0</port><socketType>SSL</socketType>", ""),
		CONFIG("<hostname>a@b</hostname><port>993</port><socketType>SSL</socketType>", ""),
		CONFIG("<hostname>a&#10;b</hostname><port>993</port><socketType>SSL</socketType>", ""),
		CONFIG("<port>993</port><socketType>SSL</socketType>", ""),
		CONFIG(SERVER "<username>a&#9;b</username>", ""),
		"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
	};
	static const char loose[] = CONFIG(SERVER,
		"<oAuth2><scope>s</scope><authURL>http://a.example/</authURL><tokenURL>https://a/</tokenURL></oAuth2>");
	g_autoptr(GString) deep = g_string_new(NULL), wide = g_string_new("<clientConfig><hostname>");
	struct found found;

	for (size_t i = 0; i < G_N_ELEMENTS(documents); i++)
		assert_false(found_parse(documents[i], strlen(documents[i]), "o@x.example", &found));
	for (int i = 0; i < 1000; i++) {
		g_string_append(deep, "<a>");
		g_string_append(wide, "wide ");
	}
	assert_false(found_parse(deep->str, deep->len, "o@x.example", &found));
	assert_false(found_parse(wide->str, wide->len, "o@x.example", &found));
	/* OAuth without TLS is no OAuth */
	assert_true(found_parse(loose, strlen(loose), "o@x.example", &found));
	assert_null(found.auth_url);
	found_fini(&found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found_providers),
		cmocka_unit_test(test_found_parse),
		cmocka_unit_test(test_found_parse_should_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
