/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/settings_compose.h"

#include <arpa/inet.h>
#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

#define SCOPE_APP_ONLY "https://outlook.office365.com/.default"
#define SCOPE_DELEGATED "https://outlook.office.com/IMAP.AccessAsUser.All offline_access openid email"
#define HOST_BYTES_MAX 253u

bool settings_provider_known(const char *provider)
{
	static const char *const providers[] = {"outlook", "outlook-personal", "gmail", "generic"};

	for (size_t i = 0; i < G_N_ELEMENTS(providers); i++)
		if (strcmp(providers[i], provider) == 0)
			return true;
	return false;
}

static bool is_microsoft(const struct settings_draft *draft)
{
	return g_str_has_prefix(draft->s.provider, "outlook");
}

static int missing(const char *key, const char *hint, struct error *err)
{
	error_set(err, ERR_CONFIG, "%s: missing", key);
	if (hint)
		error_hint(err, "%s", hint);
	return ERR_CONFIG;
}

/* The server */

static int host_check(struct settings *s, struct error *err)
{
	struct in6_addr v6;
	size_t length;

	if (!s->host)
		return missing("host", "the server's name, or `provider`", err);
	length = strlen(s->host);
	/* an IPv6 address may stand in brackets */
	if (length > 2 && s->host[0] == '[' && s->host[length - 1] == ']') {
		char *bare = g_strndup(s->host + 1, length - 2);

		g_free(s->host);
		s->host = bare;
	}
	if (strlen(s->host) > HOST_BYTES_MAX || strpbrk(s->host, " \t/\\@?#%[]\"<>"))
		return error_set(err, ERR_CONFIG, "host: `%.100s` isn't a host name or an address", s->host);
	if (strchr(s->host, ':') && inet_pton(AF_INET6, s->host, &v6) != 1) {
		error_set(err, ERR_CONFIG, "host: `%.100s` isn't a host name or an address", s->host);
		error_hint(err, "the port is a key of its own: `port`");
		return ERR_CONFIG;
	}
	return 0;
}

static int server_compose(struct settings_draft *draft, struct error *err)
{
	struct settings *s = &draft->s;
	int rc = host_check(s, err);

	if (rc != 0)
		return rc;
	if (!s->user)
		return missing("user", "the mailbox to open, such as olena@contoso.com", err);
	if (s->tls == TLS_NONE && !auth_host_is_loopback(s->host)) {
		error_set(err, ERR_CONFIG, "tls: none would send the mail and its password unencrypted to %s", s->host);
		error_hint(err, "use implicit or starttls; none is for loopback addresses");
		return ERR_CONFIG;
	}
	s->port = draft->port ? (uint16_t)draft->port : s->tls == TLS_IMPLICIT ? 993 : 143;
	return 0;
}

static int mount_check(struct settings *s, const struct settings_places *places, struct error *err)
{
	if (s->allow_other && s->allow_root)
		return error_set(err, ERR_CONFIG, "allow_other, allow_root: only one of them");
	/* `ro` always wins */
	if (s->read_only)
		s->write = false;
	if (!s->cache_dir)
		s->cache_dir = g_strdup(places->cache_dir);
	return 0;
}

/* Sign-in */

static int source_check(const struct auth_source *source, const char *key, struct error *err)
{
	if (!!source->value + !!source->file + !!source->command > 1)
		return error_set(err, ERR_CONFIG, "%s, %s_file, %s_command: only one of them", key, key, key);
	return 0;
}

static bool source_is_set(const struct auth_source *source)
{
	return source->value || source->file || source->command;
}

static bool is_tenant(const char *tenant)
{
	for (const char *at = tenant; *at; at++)
		if (!g_ascii_isalnum(*at) && *at != '.' && *at != '-')
			return false;
	return strcmp(tenant, ".") != 0 && strcmp(tenant, "..") != 0;
}

/* AUTHORITY/TENANT/oauth2/v2.0/NAME where the URL isn't given by itself. */
static int url_compose(struct settings_draft *draft, char **url, const char *key, const char *name, struct error *err)
{
	g_autofree char *base = NULL;

	if (*url)
		return 0;
	if (!draft->authority)
		return missing(key, "give it, or `authority` and `tenant`, or `provider`", err);
	if (!draft->tenant)
		return missing("tenant", "the directory's domain name or ID, such as contoso.onmicrosoft.com", err);
	if (!is_tenant(draft->tenant))
		return error_set(err, ERR_CONFIG, "tenant: `%.100s` isn't a domain name or an ID", draft->tenant);
	base = g_strdup(draft->authority);
	while (g_str_has_suffix(base, "/"))
		base[strlen(base) - 1] = '\0';
	*url = g_strdup_printf("%s/%s/oauth2/v2.0/%s", base, draft->tenant, name);
	return 0;
}

static int client_proof_check(const struct auth_config *auth, struct error *err)
{
	bool secret = source_is_set(&auth->client_secret);

	if (auth->certificate && secret)
		return error_set(err, ERR_CONFIG, "certificate, client_secret: only one of them proves the client");
	if (auth->certificate_key && !auth->certificate)
		return missing("certificate", "certificate_key is given, but not its certificate", err);
	if (auth->method == AUTH_CLIENT_CREDENTIALS && !auth->certificate && !secret)
		return missing("client_secret", "or client_secret_file, client_secret_command, or certificate", err);
	return 0;
}

static int oauth_compose(struct settings_draft *draft, struct error *err)
{
	struct auth_config *auth = &draft->s.auth;
	int rc = 0;

	if (auth->method == AUTH_CLIENT_CREDENTIALS && strcmp(draft->s.provider, "outlook-personal") == 0) {
		error_set(err, ERR_CONFIG, "auth: client-credentials doesn't work for personal accounts");
		error_hint(err, "use authorization-code or device-code");
		return ERR_CONFIG;
	}
	if (!auth->client_id)
		return missing("client_id", "the application's ID from its registration", err);
	rc = client_proof_check(auth, err);
	rc = rc ? rc : url_compose(draft, &auth->token_url, "token_url", "token", err);
	if (rc == 0 && auth->method == AUTH_AUTHORIZATION_CODE)
		rc = url_compose(draft, &auth->auth_url, "auth_url", "authorize", err);
	/* `login --device` may take this way too, where the provider has it */
	if (rc == 0 && (auth->method == AUTH_DEVICE_CODE ||
			       (auth->method == AUTH_AUTHORIZATION_CODE && draft->authority && draft->tenant)))
		rc = url_compose(draft, &auth->device_url, "device_url", "devicecode", err);
	if (rc != 0)
		return rc;
	if (!auth->scope && is_microsoft(draft))
		auth->scope = g_strdup(auth->method == AUTH_CLIENT_CREDENTIALS ? SCOPE_APP_ONLY : SCOPE_DELEGATED);
	return auth->scope ? 0 : missing("scope", "what the token is for, as the provider names it", err);
}

static int sasl_check(const struct settings *s, struct error *err)
{
	bool token_sasl = s->sasl == SASL_XOAUTH2 || s->sasl == SASL_OAUTHBEARER;
	bool password_sasl = s->sasl == SASL_PLAIN || s->sasl == SASL_LOGIN;

	if (s->auth.method == AUTH_PASSWORD ? token_sasl : password_sasl)
		return error_set(err, ERR_CONFIG, "sasl: this mechanism takes %s, but auth = %s",
			token_sasl ? "tokens" : "passwords", token_sasl ? "password" : "gives tokens");
	return 0;
}

static int token_store_check(const struct auth_config *auth, struct error *err)
{
	if (auth->token_store == AUTH_STORE_FILE || auth_secret_service_is_built_in())
		return 0;
	error_set(err, ERR_CONFIG, "token_store: this mailtree is built without libsecret");
	error_hint(err, "use token_store = file");
	return ERR_CONFIG;
}

static int auth_compose(struct settings_draft *draft, const struct settings_places *places, struct error *err)
{
	struct settings *s = &draft->s;
	struct auth_config *auth = &s->auth;
	int rc = source_check(&auth->client_secret, "client_secret", err);

	rc = rc ? rc : source_check(&auth->password, "password", err);
	rc = rc ? rc : sasl_check(s, err);
	rc = rc ? rc : token_store_check(auth, err);
	if (rc != 0)
		return rc;
	auth->account = g_strdup(s->account);
	auth->user = g_strdup(s->user);
	auth->ca_file = g_strdup(s->ca_file);
	auth->state_dir = g_strdup(places->state_dir);
	auth->notify_command = g_strdup(s->notify_command);
	switch (auth->method) {
	case AUTH_CLIENT_CREDENTIALS:
	case AUTH_AUTHORIZATION_CODE:
	case AUTH_DEVICE_CODE:
		return oauth_compose(draft, err);
	case AUTH_TOKEN_COMMAND:
		g_clear_pointer(&auth->token.file, g_free);
		return auth->token.command ? 0 : missing("token_command", "auth = token-command runs it", err);
	case AUTH_TOKEN_FILE:
		g_clear_pointer(&auth->token.command, g_free);
		return auth->token.file ? 0 : missing("token_file", "auth = token-file reads it", err);
	case AUTH_PASSWORD:
		return source_is_set(&auth->password) ? 0
		                                      : missing("password", "or password_file, password_command", err);
	}
	return error_set(err, ERR_CONFIG, "auth: no such method");
}

int settings_compose(struct settings_draft *draft, const struct settings_places *places, struct error *err)
{
	int rc = server_compose(draft, err);

	rc = rc ? rc : mount_check(&draft->s, places, err);
	return rc ? rc : auth_compose(draft, places, err);
}
