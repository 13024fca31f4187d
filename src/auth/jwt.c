/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/jwt.h"
#include "src/auth/auth.h"

#include <cjson/cJSON.h>
#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

/* The year 2286; what lies beyond is a mistake. */
#define EXPIRY_MAX_S 9999999999.0

static char *payload_decode(const char *token, size_t *length_out)
{
	const char *start = strchr(token, '.'), *end;
	g_autofree char *text = NULL;
	size_t length;

	if (!start || !(end = strchr(start + 1, '.')))
		return NULL;
	start++;
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
	return (char *)g_base64_decode(text, length_out);
}

bool auth_jwt_expiry(const char *token, int64_t *expires_at_out)
{
	size_t length = 0;
	g_autofree char *payload = payload_decode(token, &length);
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
