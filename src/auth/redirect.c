/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/redirect.h"
#include "src/auth/aadsts.h"

#include <glib.h>
#include <openssl/crypto.h>
#include <string.h>

#include "src/base/banned.h"

struct parameters {
	char *code, *state, *error, *description;
};

static void parameters_fini(struct parameters *p)
{
	secret_free_text(p->code);
	secret_free_text(p->state);
	g_free(p->error);
	g_free(p->description);
}

/* `+` is a space (application/x-www-form-urlencoded). NULL when an escape is broken or hides a NUL. */
static char *value_decode(const char *text, size_t length)
{
	char *value = g_strndup(text, length), *decoded;

	for (char *at = value; *at; at++)
		*at = *at == '+' ? ' ' : *at;
	decoded = g_uri_unescape_string(value, NULL);
	secret_free_text(value);
	return decoded;
}

static char **parameter_find(struct parameters *p, const char *name, size_t length)
{
	const struct {
		const char *name;
		char **value;
	} known[] = {
		{"code", &p->code}, {"state", &p->state}, {"error", &p->error}, {"error_description", &p->description}};

	for (size_t i = 0; i < G_N_ELEMENTS(known); i++)
		if (strlen(known[i].name) == length && memcmp(known[i].name, name, length) == 0)
			return known[i].value;
	return NULL;
}

/* One that stands twice could be read in two ways (RFC 6749 section 3.1). */
static bool parameters_read(const char *query, size_t length, struct parameters *p)
{
	const char *end = query + length;

	for (unsigned count = 0; query < end; count++) {
		const char *stop = memchr(query, '&', (size_t)(end - query));
		size_t pair = (size_t)((stop ? stop : end) - query);
		const char *equals = memchr(query, '=', pair);
		char **value = equals ? parameter_find(p, query, (size_t)(equals - query)) : NULL;

		if (count >= REDIRECT_PARAMETERS_MAX || (value && *value))
			return false;
		if (value) {
			*value = value_decode(equals + 1, pair - (size_t)(equals + 1 - query));
			if (!*value)
				return false;
		}
		query += pair + (stop ? 1 : 0);
	}
	return true;
}

static bool state_fits(const char *given, const struct secret *state)
{
	return given && strlen(given) == secret_length(state) &&
	       CRYPTO_memcmp(given, secret_text(state), secret_length(state)) == 0;
}

static enum redirect parameters_judge(
	struct parameters *p, const struct secret *state, struct secret **code_out, struct error *err)
{
	const struct auth_aadsts *known;

	if (!state_fits(p->state, state))
		return REDIRECT_FOREIGN;
	if (p->error) {
		g_autofree char *line = g_strndup(
			p->description ? p->description : "", p->description ? strcspn(p->description, "\r\n") : 0);

		error_set(err, ERR_SIGN_IN, "the authority says %.64s%s%.400s", p->error, *line ? ": " : "", line);
		known = auth_aadsts_find(auth_aadsts_parse(line));
		if (known)
			error_hint(err, "%s: %s", known->meaning, known->fix);
		return REDIRECT_ERROR;
	}
	if (!p->code || !*p->code)
		return REDIRECT_BROKEN;
	*code_out = secret_new_take(g_steal_pointer(&p->code));
	return *code_out ? REDIRECT_CODE : REDIRECT_BROKEN;
}

enum redirect auth_redirect_parse(
	const char *line, const struct secret *state, struct secret **code_out, struct error *err)
{
	struct parameters parameters = {0};
	enum redirect result = REDIRECT_BROKEN;
	const char *target = line + strlen("GET "), *end;
	size_t path;

	if (strlen(line) > REDIRECT_LINE_MAX || !g_str_has_prefix(line, "GET /"))
		return REDIRECT_BROKEN;
	end = strchr(target, ' ');
	if (!end || (strcmp(end, " HTTP/1.1") != 0 && strcmp(end, " HTTP/1.0") != 0))
		return REDIRECT_BROKEN;
	path = strcspn(target, "? ");
	if (path != 1)
		return REDIRECT_OTHER;
	if (target[path] == '?' && parameters_read(target + path + 1, (size_t)(end - target) - path - 1, &parameters))
		result = parameters_judge(&parameters, state, code_out, err);
	parameters_fini(&parameters);
	return result;
}
