/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/internal.h"
#include "src/auth/source.h"

#include <glib.h>

#include "src/base/banned.h"

static void source_fini(struct auth_source *source)
{
	secret_free_text(source->value);
	g_free(source->file);
	g_free(source->command);
}

void auth_config_fini(struct auth_config *config)
{
	g_free(config->account);
	g_free(config->user);
	g_free(config->token_url);
	g_free(config->auth_url);
	g_free(config->device_url);
	g_free(config->scope);
	g_free(config->client_id);
	source_fini(&config->client_secret);
	g_free(config->certificate);
	g_free(config->certificate_key);
	source_fini(&config->token);
	source_fini(&config->password);
	g_free(config->ca_file);
	g_free(config->state_dir);
	g_free(config->notify_command);
	*config = (struct auth_config){0};
}

/* They would end or split the fields of a SASL response or a header. */
static bool has_control(const char *text)
{
	for (const char *at = text; *at; at++)
		if (g_ascii_iscntrl(*at))
			return true;
	return false;
}

static int need(const char *value, const char *key, struct error *err)
{
	return value && *value ? 0 : error_set(err, ERR_CONFIG, "%s is missing", key);
}

static int need_url(const char *url, const char *key, struct error *err)
{
	int rc = need(url, key, err);

	if (rc == 0 && (rc = auth_url_check(url, err)) != 0)
		error_prefix(err, "%s", key);
	return rc;
}

static int need_source(const struct auth_source *source, const char *key, struct error *err)
{
	return auth_source_is_set(source) ? 0 : error_set(err, ERR_CONFIG, "%s is missing", key);
}

static int client_check(const struct auth_config *config, struct error *err)
{
	int rc = need_url(config->token_url, "token_url", err);

	rc = rc ? rc : need(config->client_id, "client_id", err);
	return rc ? rc : need(config->scope, "scope", err);
}

int auth_config_check(const struct auth_config *config, struct error *err)
{
	int rc = need(config->account, "account", err);

	rc = rc ? rc : need(config->user, "user", err);
	if (rc == 0 && has_control(config->user))
		return error_set(err, ERR_CONFIG, "user contains a control character");
	if (rc != 0)
		return rc;
	switch (config->method) {
	case AUTH_CLIENT_CREDENTIALS:
		rc = client_check(config, err);
		return rc || config->certificate ? rc : need_source(&config->client_secret, "client_secret", err);
	case AUTH_AUTHORIZATION_CODE:
		rc = client_check(config, err);
		rc = rc ? rc : need_url(config->auth_url, "auth_url", err);
		return rc ? rc : need(config->state_dir, "state_dir", err);
	case AUTH_DEVICE_CODE:
		rc = client_check(config, err);
		rc = rc ? rc : need_url(config->device_url, "device_url", err);
		return rc ? rc : need(config->state_dir, "state_dir", err);
	case AUTH_TOKEN_COMMAND:
		return need(config->token.command, "token_command", err);
	case AUTH_TOKEN_FILE:
		return need(config->token.file, "token_file", err);
	case AUTH_PASSWORD:
		return need_source(&config->password, "password", err);
	}
	return error_set(err, ERR_CONFIG, "auth: no such method");
}
