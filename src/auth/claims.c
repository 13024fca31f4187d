/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/claims.h"
#include "src/auth/jwt.h"
#include "src/base/log.h"

#include <cjson/cJSON.h>
#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

#define LIST_ENTRIES_MAX 512
/* The year 2286; what lies beyond is a mistake. */
#define TIME_MAX_S 9999999999.0

static void text_set(char out[AUTH_CLAIM_MAX], const char *text)
{
	g_strlcpy(out, text, AUTH_CLAIM_MAX);
	log_clean(out);
}

static void claim_text(const cJSON *json, const char *name, char out[AUTH_CLAIM_MAX])
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, name));

	if (text && !*out)
		text_set(out, text);
}

static int64_t claim_time(const cJSON *json, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);

	if (!cJSON_IsNumber(item) || !(item->valuedouble > 0 && item->valuedouble < TIME_MAX_S))
		return 0;
	return (int64_t)item->valuedouble;
}

/* A list, or one text of words, as one text of words. */
static char *claim_words(const cJSON *json, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name), *entry;
	GString *words = g_string_new(cJSON_IsString(item) ? item->valuestring : "");
	int left = LIST_ENTRIES_MAX;

	if (cJSON_IsArray(item))
		cJSON_ArrayForEach(entry, item)
		{
			if (cJSON_IsString(entry) && left-- > 0)
				g_string_append_printf(words, "%s%s", words->len ? " " : "", entry->valuestring);
		}
	return g_string_free(words, FALSE);
}

static bool has_word(const char *words, const char *wanted)
{
	g_auto(GStrv) list = g_strsplit(words, " ", -1);

	return g_strv_contains((const char *const *)list, wanted);
}

static bool has_mail_word(const char *words)
{
	g_auto(GStrv) list = g_strsplit(words, " ", -1);

	for (char **word = list; *word; word++)
		if (g_str_has_prefix(*word, "Mail."))
			return true;
	return false;
}

static void permissions_read(const cJSON *json, struct auth_claims *claims)
{
	g_autofree char *scopes = claim_words(json, "scp"), *roles = claim_words(json, "roles");
	const char *kind = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "idtyp"));

	text_set(claims->scopes, scopes);
	text_set(claims->roles, roles);
	claims->imap_user = has_word(scopes, "IMAP.AccessAsUser.All");
	claims->imap_app = has_word(roles, "IMAP.AccessAsApp");
	claims->mail_scopes = has_mail_word(scopes) || has_mail_word(roles);
	claims->is_app = kind ? strcmp(kind, "app") == 0 : !*scopes && !*claims->user;
}

static void claims_read(const cJSON *json, struct auth_claims *claims)
{
	static const char personal[] = "live.com#";
	g_autofree char *audience = claim_words(json, "aud");

	claims->readable = true;
	text_set(claims->audience, audience);
	claim_text(json, "iss", claims->issuer);
	claim_text(json, "upn", claims->user);
	claim_text(json, "preferred_username", claims->user);
	claim_text(json, "unique_name", claims->user);
	claim_text(json, "email", claims->user);
	if (g_str_has_prefix(claims->user, personal))
		memmove(claims->user, claims->user + sizeof(personal) - 1,
			strlen(claims->user + sizeof(personal) - 1) + 1);
	claim_text(json, "appid", claims->app);
	claim_text(json, "azp", claims->app);
	claim_text(json, "oid", claims->object);
	claim_text(json, "tid", claims->tenant);
	claims->expires_at = claim_time(json, "exp");
	claims->not_before = claim_time(json, "nbf");
	permissions_read(json, claims);
}

void auth_claims_read(const char *token, size_t length, struct auth_claims *claims_out)
{
	size_t payload_length = 0;
	g_autofree char *payload = auth_jwt_payload(token, length, &payload_length);
	cJSON *json = payload ? cJSON_ParseWithLength(payload, payload_length) : NULL;

	*claims_out = (struct auth_claims){0};
	if (cJSON_IsObject(json))
		claims_read(json, claims_out);
	cJSON_Delete(json);
}

static void describe(GString *line, const char *name, const char *value)
{
	if (*value)
		g_string_append_printf(line, ", %s %s", name, value);
}

char *auth_claims_describe(const struct auth_claims *claims, size_t length, int64_t now)
{
	GString *line;

	if (!claims->readable)
		return g_strdup_printf("%zu bytes that can't be read from here, as it may be", length);
	line = g_string_new(claims->is_app ? "an app's" : "a person's");
	describe(line, "aud", claims->audience);
	describe(line, claims->is_app ? "app" : "upn", claims->is_app ? claims->app : claims->user);
	describe(line, "scp", claims->scopes);
	describe(line, "roles", claims->roles);
	if (claims->expires_at > now)
		g_string_append_printf(line, ", good for %" G_GINT64_FORMAT " s", claims->expires_at - now);
	else if (claims->expires_at)
		g_string_append_printf(line, ", expired %" G_GINT64_FORMAT " s ago", now - claims->expires_at);
	return g_string_free(line, FALSE);
}

bool auth_claims_are_microsoft(const struct auth_claims *claims)
{
	static const char *const issuers[] = {"https://sts.windows.net/", "https://login.microsoftonline.",
		"https://login.partner.microsoftonline.cn/", "https://sts.chinacloudapi.cn/",
		"https://sts.microsoftonline.us/"};

	for (size_t i = 0; i < G_N_ELEMENTS(issuers); i++)
		if (g_str_has_prefix(claims->issuer, issuers[i]))
			return true;
	return false;
}

bool auth_claims_are_exchange(const struct auth_claims *claims)
{
	/* by name, or by the application id that Exchange Online has in every tenant */
	static const char *const audiences[] = {"https://outlook.office365.com", "https://outlook.office.com",
		"https://ps.outlook.com", "https://outlook.office365.us", "https://outlook-dod.office365.us",
		"https://partner.outlook.cn", "https://outlook.office.de", "00000002-0000-0ff1-ce00-000000000000"};
	size_t length = strlen(claims->audience);

	while (length && claims->audience[length - 1] == '/')
		length--;
	for (size_t i = 0; i < G_N_ELEMENTS(audiences); i++)
		if (strlen(audiences[i]) == length && g_ascii_strncasecmp(claims->audience, audiences[i], length) == 0)
			return true;
	return false;
}

bool auth_text_is_guid(const char *text)
{
	for (int i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' : !g_ascii_isxdigit(text[i]))
			return false;
	}
	return text[36] == '\0';
}
