/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/jwt.h"
#include "src/auth/auth.h"
#include "src/base/log.h"

#include <cjson/cJSON.h>
#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

/* The year 2286; what lies beyond is a mistake. */
#define EXPIRY_MAX_S 9999999999.0

char *auth_jwt_payload(const char *token, size_t token_length, size_t *length_out)
{
	const char *start = memchr(token, '.', token_length), *end;
	g_autofree char *text = NULL;
	guchar *payload;
	size_t length;

	if (!start)
		return NULL;
	start++;
	end = memchr(start, '.', token_length - (size_t)(start - token));
	if (!end)
		return NULL;
	length = (size_t)(end - start);
	if (length == 0 || length > AUTH_TOKEN_MAX)
		return NULL;
	/* base64url without padding (RFC 7515) to what GLib decodes */
	text = g_malloc0(length + 4);
	memcpy(text, start, length);
	for (size_t i = 0; i < length; i++)
		text[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
	while (length % 4)
		text[length++] = '=';
	payload = g_base64_decode(text, length_out);
	payload = g_realloc(payload, *length_out + 1);
	payload[*length_out] = '\0';
	return (char *)payload;
}

bool auth_jwt_expiry(const char *token, int64_t *expires_at_out)
{
	size_t length = 0;
	g_autofree char *payload = auth_jwt_payload(token, strlen(token), &length);
	cJSON *json, *expiry;
	bool found;

	if (!payload)
		return false;
	json = cJSON_ParseWithLength(payload, length);
	expiry = cJSON_GetObjectItemCaseSensitive(json, "exp");
	found = cJSON_IsNumber(expiry) && expiry->valuedouble > 0 && expiry->valuedouble < EXPIRY_MAX_S;
	if (found)
		*expires_at_out = (int64_t)expiry->valuedouble;
	cJSON_Delete(json);
	return found;
}

void auth_jwt_name(const char *token, char *name, size_t size)
{
	static const char *const claims[] = {"preferred_username", "email", "upn", "name"};
	size_t length = 0;
	g_autofree char *payload = auth_jwt_payload(token, strlen(token), &length);
	cJSON *json = payload ? cJSON_ParseWithLength(payload, length) : NULL;

	for (size_t i = 0; i < G_N_ELEMENTS(claims); i++) {
		const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, claims[i]));

		if (text && *text && strlen(text) < size) {
			g_strlcpy(name, text, size);
			log_clean(name);
			break;
		}
	}
	cJSON_Delete(json);
}
