/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Why there is no token: the codes and words of token endpoints. */
#include "src/auth/aadsts.h"
#include "src/auth/causes_parts.h"

#include <string.h>

#include "src/base/banned.h"

static const struct {
	uint32_t code;
	const char *id;
} aadsts_causes[] = {
	{16000, "person-unknown"},
	{28002, "wrong-scope"},
	{28003, "wrong-scope"},
	{50020, "person-unknown"},
	{50034, "person-unknown"},
	{50053, "account-closed"},
	{50057, "account-closed"},
	{50072, "second-factor"},
	{50074, "second-factor"},
	{50076, "second-factor"},
	{50078, "second-factor"},
	{50079, "second-factor"},
	{50097, "blocked-by-policy"},
	{50132, "sign-in-again"},
	{50133, "sign-in-again"},
	{50158, "second-factor"},
	{50173, "sign-in-again"},
	{50196, "authority-busy"},
	{53000, "blocked-by-policy"},
	{53001, "blocked-by-policy"},
	{53002, "blocked-by-policy"},
	{53003, "blocked-by-policy"},
	{65001, "no-admin-consent"},
	{70000, "sign-in-again"},
	{70002, "wrong-client-secret"},
	{70008, "sign-in-again"},
	{70011, "wrong-scope"},
	{70043, "sign-in-again"},
	{90002, "tenant-unknown"},
	{90033, "authority-busy"},
	{90055, "authority-busy"},
	{90094, "no-admin-consent"},
	{90095, "no-admin-consent"},
	{530035, "blocked-by-policy"},
	{700011, "app-not-in-tenant"},
	{700016, "app-not-in-tenant"},
	{700022, "wrong-scope"},
	{700027, "wrong-certificate"},
	{700030, "wrong-certificate"},
	{700082, "sign-in-again"},
	{1002012, "wrong-scope"},
	{7000112, "app-disabled"},
	{7000215, "wrong-client-secret"},
	{7000216, "missing-client-secret"},
	{7000218, "missing-client-secret"},
	{7000222, "expired-client-secret"},
};

static void add_other_code(const struct auth_evidence *e, GPtrArray *causes, uint32_t code)
{
	const struct auth_aadsts *known = auth_aadsts_find(code);
	struct auth_cause *cause = g_new0(struct auth_cause, 1);

	cause->id = g_strdup_printf("aadsts-%u", code);
	cause->title = g_strdup(known ? known->meaning : "the sign-in service refused, in words of its own");
	cause->certain = known != NULL;
	cause->evidence = g_strdup(e->token_error);
	cause->check = g_strdup_printf("https://login.microsoftonline.com/error?code=%u", code);
	cause->fix = g_strdup(known ? known->fix : "do as its words say, or look the code up there");
	g_ptr_array_add(causes, cause);
}

static void find_code(const struct auth_evidence *e, GPtrArray *causes, uint32_t code)
{
	if (code == 7000215 && e->secret_is_guid)
		auth_causes_add(causes, e, "client-secret-id", false,
			"what is configured has the form of an ID, not of a secret's value; %s", e->token_error);
	for (size_t i = 0; i < G_N_ELEMENTS(aadsts_causes); i++)
		if (aadsts_causes[i].code == code)
			auth_causes_add(causes, e, aadsts_causes[i].id, true, "%s", e->token_error);
	if (!causes->len)
		add_other_code(e, causes, code);
}

/* Where there is no code: our own sentences and the words of RFC 6749 in them. */
static const struct {
	const char *part, *id;
	bool certain;
} token_errors[] = {
	{"nobody has signed in yet", "sign-in-needed", true},
	{"its token expired", "token-expired", true},
	{"this isn't a token endpoint", "wrong-authority", true},
	{"certificate can't be verified", "tls-intercepted", false},
	{"invalid_client", "wrong-client-secret", false},
	{"invalid_grant", "sign-in-again", false},
	{"interaction_required", "sign-in-again", false},
	{"invalid_scope", "wrong-scope", true},
	{"consent_required", "no-admin-consent", true},
	{"unauthorized_client", "app-not-in-tenant", false},
	{"temporarily_unavailable", "authority-busy", true},
	{"server_error", "authority-busy", true},
};

static bool asks_an_endpoint(enum auth_method method)
{
	return method == AUTH_CLIENT_CREDENTIALS || method == AUTH_AUTHORIZATION_CODE || method == AUTH_DEVICE_CODE;
}

void causes_find_no_token(const struct auth_evidence *e, GPtrArray *causes)
{
	const char *text = causes_text_or(e->token_error, "no token");
	uint32_t code = auth_aadsts_parse(text);

	if (code) {
		find_code(e, causes, code);
		return;
	}
	if (e->offline && asks_an_endpoint(e->method))
		causes_find_offline(e, causes);
	for (size_t i = 0; i < G_N_ELEMENTS(token_errors) && !causes->len; i++)
		if (strstr(text, token_errors[i].part))
			auth_causes_add(causes, e, token_errors[i].id, token_errors[i].certain, "%s", text);
	if (causes->len)
		return;
	if (!asks_an_endpoint(e->method)) {
		auth_causes_add(causes, e, "token-source", true, "%s", text);
	} else if (e->token_code == ERR_UNREACHABLE || e->token_code == ERR_TIMEOUT) {
		auth_causes_add(causes, e, "authority-unreachable", true, "%s", text);
	} else if (e->token_code == ERR_CONFIG) {
		auth_causes_add(causes, e, "configuration", true, "%s", text);
	} else {
		auth_causes_add(causes, e, "token-source", true, "%s", text);
	}
}
