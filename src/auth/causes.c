/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/causes.h"
#include "src/auth/causes_parts.h"
#include "src/auth/causes_table.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "src/base/banned.h"

/* Clocks of servers and this one may differ by so much before it is an expired token. */
#define SKEW_S 300

/* ---- the list ---- */

void auth_cause_free(struct auth_cause *cause)
{
	if (!cause)
		return;
	g_free(cause->id);
	g_free(cause->title);
	g_free(cause->evidence);
	g_free(cause->check);
	g_free(cause->fix);
	g_free(cause);
}

static void cause_free(gpointer cause)
{
	auth_cause_free(cause);
}

GPtrArray *auth_causes_new(void)
{
	return g_ptr_array_new_with_free_func(cause_free);
}

const char *causes_text_or(const char *text, const char *name)
{
	return text && *text ? text : name;
}

/* What goes into a command that somebody may copy: ids that come from a token are taken only if they look like ids. */
static const char *id_of(const char *claimed, const char *configured, const char *name)
{
	if (claimed && auth_text_is_guid(claimed))
		return claimed;
	return causes_text_or(configured, name);
}

static char *fill_in(const struct auth_evidence *e, const char *text)
{
	const struct auth_claims *claims = e->claims;
	g_autofree char *port = g_strdup_printf("%u", e->port);
	const struct {
		const char *name, *value;
	} places[] = {
		{"{account}", causes_text_or(e->account, "ACCOUNT")},
		{"{user}", causes_text_or(e->user, "USER")},
		{"{host}", causes_text_or(e->host, "HOST")},
		{"{port}", e->port ? port : "993"},
		{"{client}", id_of(claims ? claims->app : NULL, e->client_id, "CLIENT-ID")},
		{"{object}", id_of(claims && claims->is_app ? claims->object : NULL, NULL, "OBJECT-ID")},
		{"{tenant}", causes_text_or(e->tenant, "TENANT")},
		{"{hint}", causes_text_or(e->token_code ? e->token_hint : e->hint, "see the message")},
	};
	GString *out = g_string_new(NULL);

	while (*text) {
		size_t i = 0;

		while (i < G_N_ELEMENTS(places) && !g_str_has_prefix(text, places[i].name))
			i++;
		if (i < G_N_ELEMENTS(places)) {
			g_string_append(out, places[i].value);
			text += strlen(places[i].name);
		} else {
			g_string_append_c(out, *text++);
		}
	}
	return g_string_free(out, FALSE);
}

static bool has_cause(const GPtrArray *causes, const char *id)
{
	for (guint i = 0; i < causes->len; i++)
		if (strcmp(((const struct auth_cause *)causes->pdata[i])->id, id) == 0)
			return true;
	return false;
}

static bool has_certain(const GPtrArray *causes)
{
	for (guint i = 0; i < causes->len; i++)
		if (((const struct auth_cause *)causes->pdata[i])->certain)
			return true;
	return false;
}

void auth_causes_add(
	GPtrArray *causes, const struct auth_evidence *e, const char *id, bool certain, const char *format, ...)
{
	const struct auth_cause_entry *entry = auth_cause_entry_find(id);
	struct auth_cause *cause;
	va_list args;

	if (!entry || has_cause(causes, id))
		return;
	cause = g_new0(struct auth_cause, 1);
	cause->id = g_strdup(id);
	cause->title = g_strdup(entry->title);
	cause->certain = certain;
	va_start(args, format);
	cause->evidence = g_strdup_vprintf(format, args);
	va_end(args);
	cause->check = fill_in(e, entry->check);
	cause->fix = fill_in(e, entry->fix);
	g_ptr_array_add(causes, cause);
}

static void add_all(GPtrArray *causes, const struct auth_evidence *e, const char *const *ids, const char *evidence)
{
	for (; *ids; ids++)
		auth_causes_add(causes, e, *ids, false, "%s", evidence);
}

/* ---- the network ---- */

void causes_find_offline(const struct auth_evidence *e, GPtrArray *causes)
{
	auth_causes_add(causes, e, "no-network", true, "no interface but the loopback one has an address");
}

static void find_name(const struct auth_evidence *e, GPtrArray *causes)
{
	static const char *const no_answer[] = {"no-network", "wrong-host", NULL};
	static const char *const unknown[] = {"wrong-host", "no-network", NULL};

	add_all(causes, e, e->name == AUTH_NAME_UNKNOWN ? unknown : no_answer, causes_text_or(e->error, "no address"));
}

static void find_connect(const struct auth_evidence *e, GPtrArray *causes)
{
	static const char *const unreachable[] = {"no-network", "firewall", NULL};
	static const char *const refused[] = {"wrong-host", "server-down", "firewall", NULL};
	static const char *const silent[] = {"firewall", "wrong-host", "server-down", "no-network", NULL};
	const char *const *ids = silent;

	if (e->connect_errno == ENETUNREACH || e->connect_errno == EHOSTUNREACH || e->connect_errno == ENETDOWN)
		ids = unreachable;
	else if (e->connect_errno == ECONNREFUSED)
		ids = refused;
	add_all(causes, e, ids, causes_text_or(e->error, "no connection"));
}

/* These providers' servers have certificates from public authorities. */
static bool is_public_provider(const struct auth_evidence *e)
{
	static const char *const domains[] = {".office365.com", ".outlook.com", ".gmail.com", ".office.com"};
	const char *provider = causes_text_or(e->provider, "");

	if (g_str_has_prefix(provider, "outlook") || strcmp(provider, "gmail") == 0)
		return true;
	for (size_t i = 0; i < G_N_ELEMENTS(domains); i++)
		if (e->host && g_str_has_suffix(e->host, domains[i]))
			return true;
	return false;
}

static void find_tls(const struct auth_evidence *e, GPtrArray *causes)
{
	static const char *const public[] = {"tls-intercepted", "missing-roots", NULL};
	static const char *const private[] = {"private-authority", "tls-intercepted", "missing-roots", NULL};
	static const char *const other_name[] = {"wrong-host", "tls-intercepted", NULL};
	static const char *const expired[] = {"certificate-expired", "clock-wrong", NULL};
	static const char *const broken[] = {"tls-failed", "tls-mode", "tls-intercepted", NULL};
	g_autofree char *evidence = g_strdup_printf("%s%s%s", causes_text_or(e->error, "TLS failed"),
		e->certificate && *e->certificate ? "; the certificate is " : "", causes_text_or(e->certificate, ""));

	switch (e->tls) {
	case AUTH_TLS_UNTRUSTED:
		add_all(causes, e, is_public_provider(e) ? public : private, evidence);
		break;
	case AUTH_TLS_OTHER_NAME:
		add_all(causes, e, other_name, evidence);
		break;
	case AUTH_TLS_EXPIRED:
		add_all(causes, e, expired, evidence);
		break;
	case AUTH_TLS_PLAIN:
		auth_causes_add(causes, e, "tls-mode", true, "%s", evidence);
		break;
	case AUTH_TLS_BROKEN:
		add_all(causes, e, broken, evidence);
	}
}

/* ---- the server's words ---- */

static bool is_person_words(enum auth_stage stage)
{
	return stage >= AUTH_STAGE_SIGN_IN;
}

static const struct {
	const char *part; /* of the words, in lower case */
	const char *id;
} plain_words[] = {
	/* Exchange */
	{"basic authentication is disabled", "basic-auth-retired"},
	{"suggested backoff time", "throttled"},
	{"request is throttled", "throttled"},
	{"accesstokenexpired", "token-expired"},
	{"server unavailable", "server-down"},
	/* Gmail */
	{"application-specific password required", "app-password-needed"},
	{"not enabled for imap", "imap-disabled"},
	{"imap access is disabled", "imap-disabled"},
	{"bandwidth limit", "over-quota"},
	/* and others */
	{"too many simultaneous", "too-many-connections"},
	{"too many connections", "too-many-connections"},
	{"maximum number of connections", "too-many-connections"},
	{"connection limit", "too-many-connections"},
	{"[unavailable]", "server-down"},
};

/* Words that name the cause themselves. */
static void find_words(const struct auth_evidence *e, GPtrArray *causes)
{
	g_autofree char *words = g_ascii_strdown(causes_text_or(e->words, ""), -1);

	for (size_t i = 0; i < G_N_ELEMENTS(plain_words); i++)
		if (strstr(words, plain_words[i].part))
			auth_causes_add(causes, e, plain_words[i].id, true, "the server said: %s", e->words);
}

static void find_greeting(const struct auth_evidence *e, GPtrArray *causes)
{
	static const char *const silent[] = {"tls-mode", "wrong-host", "server-down", "firewall", NULL};
	static const char *const ended[] = {"server-down", "too-many-connections", "wrong-host", NULL};

	find_words(e, causes);
	if (causes->len)
		return;
	if (!e->words || !*e->words)
		add_all(causes, e, silent, causes_text_or(e->error, "no greeting"));
	else if (g_str_has_prefix(e->words, "BYE") || g_str_has_prefix(e->words, "NO"))
		add_all(causes, e, ended, e->words);
	else
		auth_causes_add(causes, e, "wrong-host", true, "this isn't how an IMAP server greets: %s", e->words);
}

/* ---- the token ---- */

static bool is_same_domain(const char *a, const char *b)
{
	const char *at_a = strchr(a, '@'), *at_b = strchr(b, '@');

	return at_a && at_b && g_ascii_strcasecmp(at_a, at_b) == 0;
}

static void find_lifetime(const struct auth_evidence *e, const struct auth_claims *claims, GPtrArray *causes)
{
	if (claims->expires_at && claims->expires_at + SKEW_S <= e->now)
		auth_causes_add(causes, e, "token-expired", true, "exp: it ended %" G_GINT64_FORMAT " s ago",
			e->now - claims->expires_at);
	if (claims->not_before && claims->not_before > e->now + SKEW_S)
		auth_causes_add(causes, e, "clock-wrong", false,
			"nbf: the token begins in %" G_GINT64_FORMAT " s by this machine's clock",
			claims->not_before - e->now);
}

static void find_claims(const struct auth_evidence *e, const struct auth_claims *claims, GPtrArray *causes)
{
	find_lifetime(e, claims, causes);
	/* the other rules are Microsoft's */
	if (!auth_claims_are_microsoft(claims))
		return;
	if (*claims->audience && !auth_claims_are_exchange(claims)) {
		auth_causes_add(
			causes, e, "token-for-other-resource", true, "aud: the token is for %s", claims->audience);
	} else if (claims->is_app && !claims->imap_app) {
		auth_causes_add(causes, e, "token-lacks-permission", true,
			"roles: %s; IMAP.AccessAsApp isn't among them", causes_text_or(claims->roles, "none"));
		auth_causes_add(causes, e, "no-admin-consent", false,
			"roles: a permission that nobody has consented to isn't in the token");
	} else if (!claims->is_app && !claims->imap_user) {
		auth_causes_add(causes, e, "token-lacks-permission", true,
			"scp: %s; IMAP.AccessAsUser.All isn't among them", causes_text_or(claims->scopes, "none"));
	}
}

GPtrArray *auth_causes_of_token(const struct auth_evidence *e)
{
	GPtrArray *causes = auth_causes_new();

	if (e->token_is_response)
		auth_causes_add(causes, e, "token-is-response", true, "decoded, it begins as a SASL response does");
	else if (e->claims && e->claims->readable)
		find_claims(e, e->claims, causes);
	return causes;
}

/* ---- a sign-in that is refused, or taken without a mailbox behind it ---- */

enum who { WHO_APP, WHO_PERSON, WHO_SHARED, WHO_STRANGER, WHO_UNKNOWN, WHO_PASSWORD, WHO_COUNT };

#define CAUSES_MAX 8

/* The same words have all these causes: the likeliest first. */
static const char *const exchange_refused[WHO_COUNT][CAUSES_MAX] = {
	[WHO_APP] = {"wrong-object-id", "app-without-mailbox-permission", "no-mailbox", "imap-disabled"},
	[WHO_PERSON] = {"imap-disabled", "no-mailbox", "blocked-by-policy", "token-revoked"},
	[WHO_SHARED] = {"shared-mailbox-rights", "token-for-other-user", "imap-disabled", "no-mailbox"},
	[WHO_STRANGER] = {"token-for-other-user", "shared-mailbox-rights"},
	[WHO_UNKNOWN] = {"token-for-other-user", "token-expired", "token-for-other-resource", "token-lacks-permission",
		"imap-disabled"},
	[WHO_PASSWORD] = {"basic-auth-retired", "wrong-password"},
};
static const char *const exchange_not_connected[WHO_COUNT][CAUSES_MAX] = {
	[WHO_APP] = {"app-without-mailbox-permission", "wrong-object-id", "imap-disabled", "no-mailbox",
		"too-many-connections", "throttled", "server-fault"},
	[WHO_PERSON] = {"imap-disabled", "no-mailbox", "too-many-connections", "throttled", "server-fault"},
	[WHO_SHARED] = {"shared-mailbox-rights", "token-for-other-user", "imap-disabled", "no-mailbox",
		"too-many-connections", "throttled", "server-fault"},
	[WHO_STRANGER] = {"token-for-other-user", "shared-mailbox-rights", "no-mailbox", "too-many-connections",
		"throttled", "server-fault"},
	[WHO_UNKNOWN] = {"imap-disabled", "token-for-other-user", "no-mailbox", "too-many-connections", "throttled",
		"server-fault"},
	[WHO_PASSWORD] = {"imap-disabled", "no-mailbox", "too-many-connections", "throttled", "server-fault"},
};
static const char *const other_refused[WHO_COUNT][CAUSES_MAX] = {
	[WHO_PASSWORD] = {"wrong-password", "app-password-needed", "basic-auth-retired", "imap-disabled"},
	[WHO_UNKNOWN] = {"token-for-other-user", "token-expired", "wrong-scope", "imap-disabled"},
};

static enum who who_is(const struct auth_evidence *e)
{
	if (e->method == AUTH_PASSWORD)
		return WHO_PASSWORD;
	if (!e->claims || !e->claims->readable)
		return e->method == AUTH_CLIENT_CREDENTIALS ? WHO_APP : WHO_UNKNOWN;
	if (e->claims->is_app)
		return WHO_APP;
	if (!*e->claims->user || !e->user)
		return WHO_UNKNOWN;
	if (g_ascii_strcasecmp(e->claims->user, e->user) == 0)
		return WHO_PERSON;
	return is_same_domain(e->claims->user, e->user) ? WHO_SHARED : WHO_STRANGER;
}

static bool is_exchange(const struct auth_evidence *e)
{
	if (e->claims && e->claims->readable)
		return auth_claims_are_microsoft(e->claims);
	if (g_str_has_prefix(causes_text_or(e->provider, ""), "outlook"))
		return true;
	return e->host && (g_str_has_suffix(e->host, ".office365.com") || g_str_has_suffix(e->host, ".outlook.com") ||
				  g_str_has_suffix(e->host, ".outlook.cn"));
}

/* What the token says can't be wrong about itself isn't guessed. */
static bool is_disproved(const struct auth_evidence *e, const char *id)
{
	const struct auth_claims *claims = e->claims && e->claims->readable ? e->claims : NULL;

	if (strcmp(id, "token-expired") == 0)
		return claims && claims->expires_at > e->now;
	if (strcmp(id, "token-for-other-user") == 0)
		return claims && claims->is_app;
	if (strcmp(id, "token-for-other-resource") == 0)
		return claims && auth_claims_are_exchange(claims);
	if (strcmp(id, "token-lacks-permission") == 0)
		return claims && (claims->imap_app || claims->imap_user);
	return false;
}

static void add_ranked(const struct auth_evidence *e, const char *const ids[CAUSES_MAX], GPtrArray *causes)
{
	g_autofree char *words = g_strdup_printf("the server said: %s%s%s",
		causes_text_or(e->words, causes_text_or(e->error, "no")),
		e->challenge && *e->challenge ? "; its reason: " : "", causes_text_or(e->challenge, ""));
	const struct auth_claims *claims = e->claims;

	for (size_t i = 0; i < CAUSES_MAX && ids[i]; i++) {
		if (is_disproved(e, ids[i]))
			continue;
		if (claims && *claims->user && e->user &&
			(strcmp(ids[i], "token-for-other-user") == 0 || strcmp(ids[i], "shared-mailbox-rights") == 0))
			auth_causes_add(causes, e, ids[i], false, "the token's user is %s, `user` is %s; %s",
				claims->user, e->user, words);
		else if (claims && *claims->object && strcmp(ids[i], "wrong-object-id") == 0)
			auth_causes_add(causes, e, ids[i], false, "%s; the token's oid is %s", words, claims->object);
		else
			auth_causes_add(causes, e, ids[i], false, "%s", words);
	}
}

static void find_refused(const struct auth_evidence *e, GPtrArray *causes)
{
	const char *const *ids = (is_exchange(e) ? exchange_refused : other_refused)[who_is(e)];

	if (e->user && strchr(e->user, '\\') && is_exchange(e))
		auth_causes_add(causes, e, "shared-mailbox-syntax", false, "user = %s; the server said: %s", e->user,
			causes_text_or(e->words, "no"));
	/* find_lifetime() leaves it open what the clocks' difference may explain */
	if (e->claims && e->claims->expires_at && e->claims->expires_at <= e->now)
		auth_causes_add(causes, e, "token-expired", false,
			"exp: it ended %" G_GINT64_FORMAT " s ago; the server said: %s", e->now - e->claims->expires_at,
			causes_text_or(e->words, "no"));
	add_ranked(e, ids[0] ? ids : other_refused[WHO_UNKNOWN], causes);
}

static void find_mechanism(const struct auth_evidence *e, GPtrArray *causes)
{
	bool password = e->method == AUTH_PASSWORD;

	if (!e->offer_known || (password ? e->offers_password : e->offers_bearer))
		return;
	auth_causes_add(causes, e, password && e->offers_bearer ? "basic-auth-retired" : "mechanism-not-offered", true,
		"it offers %s", causes_text_or(e->offer, "no AUTH= at all"));
}

static void find_sign_in(const struct auth_evidence *e, GPtrArray *causes)
{
	static const char *const lost[] = {"connection-lost", "server-down", NULL};

	if (!e->words || !*e->words)
		find_mechanism(e, causes);
	if (!has_certain(causes) && e->words && *e->words)
		find_refused(e, causes);
	if (!causes->len)
		add_all(causes, e, lost, causes_text_or(e->error, "no answer"));
}

static bool is_not_connected(const struct auth_evidence *e)
{
	g_autofree char *words = g_ascii_strdown(causes_text_or(e->words, ""), -1);

	return strstr(words, "authenticated but not connected") != NULL;
}

static void find_first(const struct auth_evidence *e, GPtrArray *causes)
{
	static const char *const refused[] = {"no-mailbox", "server-fault", NULL};
	static const char *const lost[] = {"connection-lost", "too-many-connections", "server-fault", NULL};

	if (has_certain(causes))
		return;
	if (is_not_connected(e))
		add_ranked(e, exchange_not_connected[who_is(e)], causes);
	else if (e->words && *e->words)
		add_all(causes, e, refused, e->words);
	else
		add_all(causes, e, lost, causes_text_or(e->error, "no answer"));
}

static void find_mail(const struct auth_evidence *e, GPtrArray *causes)
{
	static const char *const list[] = {"server-fault", "connection-lost", NULL};
	static const char *const fetch[] = {"message-broken", "no-inbox", "server-fault", NULL};
	static const char *const lost[] = {"connection-lost", "server-fault", NULL};
	bool spoken = e->words && *e->words;

	if (has_certain(causes))
		return;
	if (e->no_data)
		auth_causes_add(causes, e, "message-broken", true, "the server said OK and sent no message");
	else if (is_not_connected(e))
		find_first(e, causes);
	else if (!spoken)
		add_all(causes, e, lost, causes_text_or(e->error, "no answer"));
	else
		add_all(causes, e, e->stage == AUTH_STAGE_LIST ? list : fetch, e->words);
}

/* ---- all of it ---- */

static void find_stage(const struct auth_evidence *e, GPtrArray *causes)
{
	if (is_person_words(e->stage))
		find_words(e, causes);
	switch (e->stage) {
	case AUTH_STAGE_MAIL:
		break;
	case AUTH_STAGE_CONFIG:
		auth_causes_add(causes, e, "configuration", true, "%s", causes_text_or(e->error, "it can't be used"));
		break;
	case AUTH_STAGE_RESOLVE:
		find_name(e, causes);
		break;
	case AUTH_STAGE_CONNECT:
		find_connect(e, causes);
		break;
	case AUTH_STAGE_TLS:
		find_tls(e, causes);
		break;
	case AUTH_STAGE_GREETING:
		find_greeting(e, causes);
		break;
	case AUTH_STAGE_SIGN_IN:
		find_sign_in(e, causes);
		break;
	case AUTH_STAGE_FIRST:
		find_first(e, causes);
		break;
	case AUTH_STAGE_LIST:
	case AUTH_STAGE_FETCH:
		find_mail(e, causes);
		break;
	}
}

GPtrArray *auth_causes_find(const struct auth_evidence *e)
{
	GPtrArray *causes = auth_causes_new();

	if (e->offline && (e->stage == AUTH_STAGE_RESOLVE || e->stage == AUTH_STAGE_CONNECT)) {
		causes_find_offline(e, causes);
		return causes;
	}
	if (e->token_code) {
		/* of two troubles the one that stands nearer to the start comes first; without a token none is at the
		 * end */
		if (e->stage != AUTH_STAGE_MAIL && e->stage < AUTH_STAGE_SIGN_IN)
			find_stage(e, causes);
		g_autoptr(GPtrArray) of_token = auth_causes_new();

		causes_find_no_token(e, of_token);
		while (of_token->len) {
			struct auth_cause *cause = g_ptr_array_steal_index(of_token, 0);

			if (has_cause(causes, cause->id))
				auth_cause_free(cause);
			else
				g_ptr_array_add(causes, cause);
		}
		return causes;
	}
	if (e->stage >= AUTH_STAGE_SIGN_IN) {
		g_ptr_array_unref(causes);
		causes = auth_causes_of_token(e);
	}
	find_stage(e, causes);
	return causes;
}
