/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Evidence and the causes that follow from it, in their order; what the table says of them. */
#include "src/auth/aadsts.h"
#include "src/auth/causes.h"
#include "src/auth/causes_table.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "src/base/banned.h"

#define NOW 1700000000
#define OBJECT "11111111-2222-3333-4444-555555555555"
#define APP "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
#define MICROSOFT .issuer = "https://sts.windows.net/t/"
#define EXCHANGE .audience = "https://outlook.office365.com"
#define GOOD_TIMES .expires_at = NOW + 3000, .not_before = NOW - 600
#define REFUSED "NO AUTHENTICATE failed."
#define NOT_CONNECTED "BAD User is authenticated but not connected."

static const struct auth_claims app = {.readable = true,
	MICROSOFT,
	EXCHANGE,
	GOOD_TIMES,
	.is_app = true,
	.imap_app = true,
	.app = APP,
	.object = OBJECT};
static const struct auth_claims app_without_role = {
	.readable = true, MICROSOFT, EXCHANGE, GOOD_TIMES, .is_app = true, .app = APP, .object = OBJECT};
static const struct auth_claims person = {
	.readable = true, MICROSOFT, EXCHANGE, GOOD_TIMES, .user = "olena@contoso.example", .imap_user = true};
static const struct auth_claims person_without_scope = {
	.readable = true, MICROSOFT, EXCHANGE, GOOD_TIMES, .user = "olena@contoso.example", .scopes = "Mail.Read"};
static const struct auth_claims stranger = {
	.readable = true, MICROSOFT, EXCHANGE, GOOD_TIMES, .user = "eve@other.example", .imap_user = true};
static const struct auth_claims graph = {.readable = true,
	MICROSOFT,
	GOOD_TIMES,
	.audience = "https://graph.microsoft.com",
	.user = "olena@contoso.example",
	.scopes = "IMAP.AccessAsUser.All",
	.imap_user = true};
static const struct auth_claims expired = {.readable = true,
	MICROSOFT,
	EXCHANGE,
	.expires_at = NOW - 3000,
	.user = "olena@contoso.example",
	.imap_user = true};
static const struct auth_claims late = {.readable = true,
	MICROSOFT,
	EXCHANGE,
	.expires_at = NOW - 60,
	.user = "olena@contoso.example",
	.imap_user = true};
static const struct auth_claims early = {.readable = true,
	MICROSOFT,
	EXCHANGE,
	.expires_at = NOW + 9000,
	.not_before = NOW + 4000,
	.user = "olena@contoso.example",
	.imap_user = true};
static const struct auth_claims opaque = {0};

/* "!" marks what is certain. */
static const struct {
	const char *name;
	struct auth_evidence evidence;
	const char *causes;
} cases[] = {
	{"nothing is wrong", {.stage = AUTH_STAGE_MAIL, .claims = &app}, ""},
	{"configuration", {.stage = AUTH_STAGE_CONFIG, .error = "config:3: sizs: no such key"}, "configuration!"},
	/* the network */
	{"no interface", {.stage = AUTH_STAGE_RESOLVE, .offline = true, .name = AUTH_NAME_NO_ANSWER}, "no-network!"},
	{"no name server", {.stage = AUTH_STAGE_RESOLVE, .name = AUTH_NAME_NO_ANSWER}, "no-network wrong-host"},
	{"no such name", {.stage = AUTH_STAGE_RESOLVE, .name = AUTH_NAME_UNKNOWN}, "wrong-host no-network"},
	{"no route", {.stage = AUTH_STAGE_CONNECT, .connect_errno = ENETUNREACH}, "no-network firewall"},
	{"refused", {.stage = AUTH_STAGE_CONNECT, .connect_errno = ECONNREFUSED}, "wrong-host server-down firewall"},
	{"silence", {.stage = AUTH_STAGE_CONNECT, .connect_errno = ETIMEDOUT},
		"firewall wrong-host server-down no-network"},
	/* TLS */
	{"unknown issuer of Exchange",
		{.stage = AUTH_STAGE_TLS, .tls = AUTH_TLS_UNTRUSTED, .host = "outlook.office365.com"},
		"tls-intercepted missing-roots"},
	{"unknown issuer by preset",
		{.stage = AUTH_STAGE_TLS, .tls = AUTH_TLS_UNTRUSTED, .host = "10.0.0.1", .provider = "gmail"},
		"tls-intercepted missing-roots"},
	{"unknown issuer of somebody",
		{.stage = AUTH_STAGE_TLS, .tls = AUTH_TLS_UNTRUSTED, .host = "mail.example", .provider = "generic"},
		"private-authority tls-intercepted missing-roots"},
	{"another name", {.stage = AUTH_STAGE_TLS, .tls = AUTH_TLS_OTHER_NAME}, "wrong-host tls-intercepted"},
	{"expired certificate", {.stage = AUTH_STAGE_TLS, .tls = AUTH_TLS_EXPIRED}, "certificate-expired clock-wrong"},
	{"plain text", {.stage = AUTH_STAGE_TLS, .tls = AUTH_TLS_PLAIN}, "tls-mode!"},
	{"broken handshake", {.stage = AUTH_STAGE_TLS, .tls = AUTH_TLS_BROKEN}, "tls-failed tls-mode tls-intercepted"},
	/* the greeting */
	{"no greeting", {.stage = AUTH_STAGE_GREETING}, "tls-mode wrong-host server-down firewall"},
	{"another protocol", {.stage = AUTH_STAGE_GREETING, .words = "220 mail.example ESMTP"}, "wrong-host!"},
	{"bye", {.stage = AUTH_STAGE_GREETING, .words = "BYE go away"}, "server-down too-many-connections wrong-host"},
	{"unavailable", {.stage = AUTH_STAGE_GREETING, .words = "Server Unavailable. 15"}, "server-down!"},
	{"too many", {.stage = AUTH_STAGE_GREETING, .words = "BYE Too many simultaneous connections. (Failure)"},
		"too-many-connections!"},
	/* the token endpoint */
	{"wrong secret",
		{.token_code = ERR_SIGN_IN,
			.token_error = "invalid_client: AADSTS7000215: Invalid client secret provided."},
		"wrong-client-secret!"},
	{"the secret's ID",
		{.token_code = ERR_SIGN_IN,
			.token_error = "AADSTS7000215: Invalid client secret.",
			.secret_is_guid = true},
		"client-secret-id wrong-client-secret!"},
	{"expired secret", {.token_code = ERR_SIGN_IN, .token_error = "AADSTS7000222: expired"},
		"expired-client-secret!"},
	{"app not in tenant", {.token_code = ERR_SIGN_IN, .token_error = "AADSTS700016: not found"},
		"app-not-in-tenant!"},
	{"no consent", {.token_code = ERR_SIGN_IN, .token_error = "AADSTS65001: no consent"}, "no-admin-consent!"},
	{"missing /.default", {.token_code = ERR_SIGN_IN, .token_error = "AADSTS1002012: scope"}, "wrong-scope!"},
	{"two resources", {.token_code = ERR_SIGN_IN, .token_error = "AADSTS700022: scopes"}, "wrong-scope!"},
	{"a code of the table without a cause", {.token_code = ERR_SIGN_IN, .token_error = "AADSTS50011: redirect"},
		"aadsts-50011!"},
	{"an unknown code", {.token_code = ERR_SIGN_IN, .token_error = "invalid_grant: AADSTS424242: Strange."},
		"aadsts-424242"},
	{"nobody has signed in",
		{.token_code = ERR_SIGN_IN, .method = AUTH_DEVICE_CODE, .token_error = "nobody has signed in yet"},
		"sign-in-needed!"},
	{"endpoint out of reach", {.token_code = ERR_UNREACHABLE, .token_error = "Couldn't connect to server"},
		"authority-unreachable!"},
	{"endpoint and no network", {.token_code = ERR_UNREACHABLE, .offline = true, .token_error = "Couldn't resolve"},
		"no-network!"},
	{"endpoint intercepted",
		{.token_code = ERR_UNREACHABLE, .token_error = "x: its certificate can't be verified: y"},
		"tls-intercepted"},
	{"not an endpoint", {.token_code = ERR_SIGN_IN, .token_error = "HTTP 404: this isn't a token endpoint"},
		"wrong-authority!"},
	{"Google's refusal", {.token_code = ERR_SIGN_IN, .token_error = "invalid_grant: Token has been revoked."},
		"sign-in-again"},
	{"command fails",
		{.token_code = ERR_SIGN_IN, .method = AUTH_TOKEN_COMMAND, .token_error = "token_command ended with 1"},
		"token-source!"},
	{"file's token is over",
		{.token_code = ERR_SIGN_IN,
			.method = AUTH_TOKEN_FILE,
			.token_error = "token_file: its token expired 9 s ago"},
		"token-expired!"},
	{"no token and no server",
		{.stage = AUTH_STAGE_CONNECT,
			.connect_errno = ECONNREFUSED,
			.token_code = ERR_SIGN_IN,
			.token_error = "AADSTS7000222: x"},
		"wrong-host server-down firewall expired-client-secret!"},
	/* what the token proves */
	{"a Graph token", {.stage = AUTH_STAGE_SIGN_IN, .words = REFUSED, .claims = &graph},
		"token-for-other-resource!"},
	{"no role", {.stage = AUTH_STAGE_SIGN_IN, .words = REFUSED, .claims = &app_without_role},
		"token-lacks-permission! no-admin-consent"},
	{"no scope", {.stage = AUTH_STAGE_SIGN_IN, .words = REFUSED, .claims = &person_without_scope},
		"token-lacks-permission!"},
	{"expired", {.stage = AUTH_STAGE_SIGN_IN, .words = REFUSED, .claims = &expired}, "token-expired!"},
	{"expired a moment ago",
		{.stage = AUTH_STAGE_SIGN_IN, .words = REFUSED, .claims = &late, .user = "olena@contoso.example"},
		"token-expired imap-disabled no-mailbox blocked-by-policy token-revoked"},
	{"a clock that is slow",
		{.stage = AUTH_STAGE_SIGN_IN, .words = REFUSED, .claims = &early, .user = "olena@contoso.example"},
		"clock-wrong imap-disabled no-mailbox blocked-by-policy token-revoked"},
	{"a response for a token",
		{.stage = AUTH_STAGE_SIGN_IN, .words = REFUSED, .claims = &opaque, .token_is_response = true},
		"token-is-response!"},
	/* the same words, many causes */
	{"app refused",
		{.stage = AUTH_STAGE_SIGN_IN, .words = REFUSED, .claims = &app, .user = "olena@contoso.example"},
		"wrong-object-id app-without-mailbox-permission no-mailbox imap-disabled"},
	{"app not connected",
		{.stage = AUTH_STAGE_FIRST, .words = NOT_CONNECTED, .claims = &app, .user = "olena@contoso.example"},
		"app-without-mailbox-permission wrong-object-id imap-disabled no-mailbox too-many-connections "
		"throttled "
		"server-fault"},
	{"person refused",
		{.stage = AUTH_STAGE_SIGN_IN, .words = REFUSED, .claims = &person, .user = "OLENA@contoso.example"},
		"imap-disabled no-mailbox blocked-by-policy token-revoked"},
	{"person not connected",
		{.stage = AUTH_STAGE_FIRST, .words = NOT_CONNECTED, .claims = &person, .user = "olena@contoso.example"},
		"imap-disabled no-mailbox too-many-connections throttled server-fault"},
	{"shared mailbox",
		{.stage = AUTH_STAGE_SIGN_IN, .words = REFUSED, .claims = &person, .user = "team@contoso.example"},
		"shared-mailbox-rights token-for-other-user imap-disabled no-mailbox"},
	{"somebody else",
		{.stage = AUTH_STAGE_SIGN_IN, .words = REFUSED, .claims = &stranger, .user = "olena@contoso.example"},
		"token-for-other-user shared-mailbox-rights"},
	{"old way to write a shared mailbox",
		{.stage = AUTH_STAGE_SIGN_IN,
			.words = REFUSED,
			.claims = &person,
			.user = "olena@contoso.example\\team"},
		"shared-mailbox-syntax token-for-other-user shared-mailbox-rights"},
	{"opaque token",
		{.stage = AUTH_STAGE_SIGN_IN,
			.words = REFUSED,
			.claims = &opaque,
			.method = AUTH_TOKEN_FILE,
			.provider = "outlook-personal",
			.user = "olena@outlook.com"},
		"token-for-other-user token-expired token-for-other-resource token-lacks-permission imap-disabled"},
	{"password at Exchange",
		{.stage = AUTH_STAGE_SIGN_IN,
			.words = "NO LOGIN failed.",
			.method = AUTH_PASSWORD,
			.host = "outlook.office365.com"},
		"basic-auth-retired wrong-password"},
	{"password at Exchange, in plain words",
		{.stage = AUTH_STAGE_SIGN_IN, .words = "NO Basic authentication is disabled.", .method = AUTH_PASSWORD},
		"basic-auth-retired!"},
	{"password elsewhere",
		{.stage = AUTH_STAGE_SIGN_IN,
			.words = "NO [AUTHENTICATIONFAILED] Authentication failed.",
			.method = AUTH_PASSWORD},
		"wrong-password app-password-needed basic-auth-retired imap-disabled"},
	{"Gmail wants an app password",
		{.stage = AUTH_STAGE_SIGN_IN,
			.words = "NO [ALERT] Application-specific password required",
			.method = AUTH_PASSWORD},
		"app-password-needed!"},
	{"no password is offered",
		{.stage = AUTH_STAGE_SIGN_IN, .offer_known = true, .offers_bearer = true, .method = AUTH_PASSWORD},
		"basic-auth-retired!"},
	{"no token is offered",
		{.stage = AUTH_STAGE_SIGN_IN, .offer_known = true, .offers_password = true, .claims = &app},
		"mechanism-not-offered!"},
	{"cut while signing in",
		{.stage = AUTH_STAGE_SIGN_IN, .claims = &app, .offer_known = true, .offers_bearer = true},
		"connection-lost server-down"},
	/* words that name the cause */
	{"throttled",
		{.stage = AUTH_STAGE_FIRST,
			.words = "BAD Request is throttled. Suggested Backoff Time: 89000 milliseconds",
			.claims = &app},
		"throttled!"},
	{"expired in the session",
		{.stage = AUTH_STAGE_LIST, .words = "BYE Session invalidated - AccessTokenExpired", .claims = &app},
		"token-expired!"},
	{"too many connections",
		{.stage = AUTH_STAGE_SIGN_IN, .words = "NO [ALERT] Too many simultaneous connections. (Failure)"},
		"too-many-connections!"},
	/* the mail */
	{"no list", {.stage = AUTH_STAGE_LIST, .words = "NO no", .claims = &app}, "server-fault connection-lost"},
	{"no message", {.stage = AUTH_STAGE_FETCH, .no_data = true, .claims = &app}, "message-broken!"},
	{"a message is refused", {.stage = AUTH_STAGE_FETCH, .words = "NO [SERVERBUG] x", .claims = &app},
		"message-broken no-inbox server-fault"},
	{"cut at a message", {.stage = AUTH_STAGE_FETCH, .claims = &app}, "connection-lost server-fault"},
};

static char *causes_text(const GPtrArray *causes)
{
	GString *text = g_string_new(NULL);

	for (guint i = 0; i < causes->len; i++) {
		const struct auth_cause *cause = causes->pdata[i];

		g_string_append_printf(text, "%s%s%s", i ? " " : "", cause->id, cause->certain ? "!" : "");
	}
	return g_string_free(text, FALSE);
}

static void test_cases(void **state)
{
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct auth_evidence evidence = cases[i].evidence;

		evidence.now = NOW;
		for (int again = 0; again < 2; again++) {
			g_autoptr(GPtrArray) causes = auth_causes_find(&evidence);
			g_autofree char *text = causes_text(causes);

			if (strcmp(text, cases[i].causes) != 0)
				fail_msg("%s: %s instead of %s", cases[i].name, text, cases[i].causes);
			for (guint k = 0; k < causes->len; k++) {
				const struct auth_cause *cause = causes->pdata[k];

				assert_true(*cause->title && *cause->evidence && *cause->check && *cause->fix);
				/* each place is filled in */
				assert_null(strchr(cause->check, '{'));
				assert_null(strchr(cause->fix, '{'));
			}
		}
	}
}

/* Commands can be copied: they name this app and this mailbox. */
static void test_commands(void **state)
{
	struct auth_evidence evidence = {.stage = AUTH_STAGE_SIGN_IN,
		.now = NOW,
		.words = REFUSED,
		.claims = &app,
		.user = "olena@contoso.example",
		.client_id = "configured"};
	g_autoptr(GPtrArray) causes = auth_causes_find(&evidence);
	const struct auth_cause *object = causes->pdata[0], *permission = causes->pdata[1];

	assert_non_null(strstr(object->fix, "New-ServicePrincipal -AppId " APP " -ObjectId " OBJECT));
	assert_non_null(strstr(object->evidence, OBJECT));
	assert_non_null(strstr(permission->fix,
		"Add-MailboxPermission -Identity olena@contoso.example -User " OBJECT " -AccessRights FullAccess"));
}

/* What comes from a token isn't put into a command unless it looks like an id. */
static void test_hostile_claims(void **state)
{
	struct auth_claims claims = app;
	struct auth_evidence evidence = {.stage = AUTH_STAGE_SIGN_IN,
		.now = NOW,
		.words = REFUSED,
		.claims = &claims,
		.client_id = "configured"};
	g_autoptr(GPtrArray) causes = NULL;

	g_strlcpy(claims.object, "x; rm -rf ~", sizeof(claims.object));
	g_strlcpy(claims.app, "$(reboot)", sizeof(claims.app));
	causes = auth_causes_find(&evidence);
	for (guint i = 0; i < causes->len; i++) {
		const struct auth_cause *cause = causes->pdata[i];

		assert_null(strstr(cause->fix, "rm -rf"));
		assert_null(strstr(cause->check, "reboot"));
	}
}

static void test_table(void **state)
{
	size_t count;
	const struct auth_cause_entry *entries = auth_cause_entries(&count);

	for (size_t i = 0; i < count; i++) {
		assert_ptr_equal(auth_cause_entry_find(entries[i].id), &entries[i]);
		assert_true(*entries[i].title && *entries[i].check && *entries[i].fix);
	}
	assert_null(auth_cause_entry_find("no-such-cause"));
}

static void test_codes(void **state)
{
	/* the table is searched by halves */
	static const uint32_t known[] = {16000, 28002, 50011, 50196, 65001, 70011, 90095, 500011, 530035, 700016,
		700084, 900144, 1002012, 7000215, 7000222, 9002332};

	for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
		const struct auth_aadsts *entry = auth_aadsts_find(known[i]);

		assert_non_null(entry);
		assert_int_equal(entry->code, known[i]);
	}
	assert_null(auth_aadsts_find(424242));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_hostile_claims),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
