/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/settings_table.h"

#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

#define AT(field) offsetof(struct settings_draft, field)
#define SECONDS_MAX (365u * 86400u)

const struct setting settings_table[] = {
	/* the server */
	{"provider", SETTING_TEXT, IN_BOTH, AT(s.provider), "generic"},
	{"user", SETTING_TEXT, IN_BOTH, AT(s.user)},
	{"host", SETTING_TEXT, IN_BOTH, AT(s.host)},
	{"port", SETTING_NUMBER, IN_BOTH, AT(port), NULL, 1, 65535},
	{"tls", SETTING_WORD, IN_BOTH, AT(s.tls), "implicit",
		.words = {{"implicit", TLS_IMPLICIT}, {"starttls", TLS_STARTTLS}, {"none", TLS_NONE}}},
	{"ca_file", SETTING_PATH, IN_BOTH, AT(s.ca_file)},
	{"sasl", SETTING_WORD, IN_BOTH, AT(s.sasl), "auto",
		.words = {{"auto", SASL_AUTO}, {"xoauth2", SASL_XOAUTH2}, {"oauthbearer", SASL_OAUTHBEARER},
			{"plain", SASL_PLAIN}, {"login", SASL_LOGIN}}},

	/* sign-in */
	{"auth", SETTING_WORD, IN_BOTH, AT(s.auth.method), NULL,
		.words = {{"client-credentials", AUTH_CLIENT_CREDENTIALS},
			{"authorization-code", AUTH_AUTHORIZATION_CODE}, {"device-code", AUTH_DEVICE_CODE},
			{"token-command", AUTH_TOKEN_COMMAND}, {"token-file", AUTH_TOKEN_FILE},
			{"password", AUTH_PASSWORD}}},
	{"authority", SETTING_URL, IN_BOTH, AT(authority)},
	{"tenant", SETTING_TEXT, IN_BOTH, AT(tenant)},
	{"scope", SETTING_TEXT, IN_BOTH, AT(s.auth.scope)},
	{"auth_url", SETTING_URL, IN_BOTH, AT(s.auth.auth_url)},
	{"token_url", SETTING_URL, IN_BOTH, AT(s.auth.token_url)},
	{"device_url", SETTING_URL, IN_BOTH, AT(s.auth.device_url)},
	{"client_id", SETTING_TEXT, IN_BOTH, AT(s.auth.client_id)},
	{"client_secret", SETTING_SECRET, IN_CONFIG, AT(s.auth.client_secret.value)},
	{"client_secret_file", SETTING_PATH, IN_BOTH, AT(s.auth.client_secret.file)},
	{"client_secret_command", SETTING_TEXT, IN_BOTH, AT(s.auth.client_secret.command)},
	{"certificate", SETTING_PATH, IN_BOTH, AT(s.auth.certificate)},
	{"certificate_key", SETTING_PATH, IN_BOTH, AT(s.auth.certificate_key)},
	{"assertion_alg", SETTING_CHOICE, IN_BOTH, AT(s.auth.assertion_rs256), "PS256",
		.words = {{"PS256", false}, {"RS256", true}}},
	{"token_command", SETTING_TEXT, IN_BOTH, AT(s.auth.token.command)},
	{"token_file", SETTING_PATH, IN_BOTH, AT(s.auth.token.file)},
	{"password", SETTING_SECRET, IN_CONFIG, AT(s.auth.password.value)},
	{"password_file", SETTING_PATH, IN_BOTH, AT(s.auth.password.file)},
	{"password_command", SETTING_TEXT, IN_BOTH, AT(s.auth.password.command)},
	{"token_store", SETTING_WORD, IN_BOTH, AT(s.auth.token_store), "file",
		.words = {{"file", AUTH_STORE_FILE}, {"secret-service", AUTH_STORE_SECRET_SERVICE}}},
	{"notify_command", SETTING_TEXT, IN_BOTH, AT(s.notify_command)},

	/* what is shown, and how it is kept */
	{"folders", SETTING_GLOBS, IN_BOTH, AT(s.folders)},
	{"exclude", SETTING_GLOBS, IN_BOTH, AT(s.exclude)},
	{"connections", SETTING_NUMBER, IN_BOTH, AT(s.connections), "4", 1, 32},
	{"cache_dir", SETTING_PATH, IN_BOTH, AT(s.cache_dir)},
	{"cache_size", SETTING_SIZE, IN_BOTH, AT(s.cache_size), "2G"},
	{"sizes", SETTING_WORD, IN_BOTH, AT(s.sizes), "auto",
		.words = {{"auto", SIZES_AUTO}, {"exact", SIZES_EXACT}, {"trust", SIZES_TRUST}}},
	{"timeout", SETTING_NUMBER, IN_BOTH, AT(s.timeout_s), "30", 1, 86400},
	{"throttle_wait", SETTING_NUMBER, IN_BOTH, AT(s.throttle_wait_s), "600", 0, 86400},
	{"poll", SETTING_NUMBER, IN_BOTH, AT(s.poll_s), "300", 0, SECONDS_MAX},
	{"stale", SETTING_STALE, IN_BOTH, AT(s.stale_s), "never", 0, SECONDS_MAX},
	{"broken", SETTING_CHOICE, IN_BOTH, AT(s.broken_stub), "error", .words = {{"error", false}, {"stub", true}}},
	{"eol", SETTING_CHOICE, IN_BOTH, AT(s.eol_lf), "crlf", .words = {{"crlf", false}, {"lf", true}}},
	{"bwlimit", SETTING_SIZE, IN_BOTH, AT(s.bwlimit), "0"},
	{"daily_bytes", SETTING_SIZE, IN_BOTH, AT(s.daily_bytes), "0"},

	/* the mount */
	{"write", SETTING_FLAG, IN_BOTH, AT(s.write), "false"},
	{"offline", SETTING_FLAG, IN_BOTH, AT(s.offline), "false"},
	{"xattr", SETTING_FLAG, IN_BOTH, AT(s.xattr), "false"},
	{"names", SETTING_WORD, IN_BOTH, AT(s.names), "date", .words = {{"date", NAMES_DATE}, {"uid", NAMES_UID}}},
	{"layout", SETTING_WORD, IN_BOTH, AT(s.layout), "plain",
		.words = {{"plain", LAYOUT_PLAIN}, {"maildir", LAYOUT_MAILDIR}}},
	{"noprefetch", SETTING_FLAG, IN_BOTH, AT(s.noprefetch), "false"},
	{"allow_other", SETTING_FLAG, IN_BOTH, AT(s.allow_other), "false"},
	{"allow_root", SETTING_FLAG, IN_BOTH, AT(s.allow_root), "false"},
	{"uid", SETTING_ID, IN_BOTH, AT(s.uid)},
	{"gid", SETTING_ID, IN_BOTH, AT(s.gid)},
	{"umask", SETTING_OCTAL, IN_BOTH, AT(s.umask)},
};
const size_t settings_table_length = G_N_ELEMENTS(settings_table);

static const struct {
	const char *provider, *key, *value;
} presets[] = {
	{"outlook", "host", "outlook.office365.com"},
	{"outlook", "authority", "https://login.microsoftonline.com"},
	{"outlook-personal", "host", "outlook.office365.com"},
	{"outlook-personal", "authority", "https://login.microsoftonline.com"},
	{"outlook-personal", "tenant", "consumers"},
	{"gmail", "host", "imap.gmail.com"},
	/* the query asks for a refresh token, which Google else gives at the first consent only */
	{"gmail", "auth_url", "https://accounts.google.com/o/oauth2/v2/auth?access_type=offline&prompt=consent"},
	{"gmail", "token_url", "https://oauth2.googleapis.com/token"},
	{"gmail", "device_url", "https://oauth2.googleapis.com/device/code"},
	{"gmail", "scope", "https://mail.google.com/"},
	{"gmail", "sizes", "trust"},
	{"gmail", "daily_bytes", "2000M"},
};

const struct setting *settings_table_find(const char *name)
{
	for (size_t i = 0; i < settings_table_length; i++)
		if (strcmp(settings_table[i].name, name) == 0)
			return &settings_table[i];
	return NULL;
}

/* Levenshtein's distance; names longer than the table's are far from all of it. */
static size_t distance(const char *a, const char *b)
{
	enum { NAME_MAX_BYTES = 40 };
	size_t row[NAME_MAX_BYTES + 1], length = strlen(b);

	if (strlen(a) > NAME_MAX_BYTES || length > NAME_MAX_BYTES)
		return NAME_MAX_BYTES;
	for (size_t j = 0; j <= length; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= length; j++) {
			size_t replaced = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			row[j] = MIN(replaced, MIN(row[j], row[j - 1]) + 1);
		}
	}
	return row[length];
}

const char *settings_table_guess(const char *name, enum setting_place places)
{
	size_t best = MAX(2, strlen(name) / 3) + 1;
	const char *guess = NULL;

	for (size_t i = 0; i < settings_table_length; i++) {
		size_t d = distance(name, settings_table[i].name);

		if ((settings_table[i].places & places) && d < best) {
			best = d;
			guess = settings_table[i].name;
		}
	}
	return guess;
}

const char *settings_preset(const char *provider, const char *key)
{
	for (size_t i = 0; i < G_N_ELEMENTS(presets); i++)
		if (strcmp(presets[i].provider, provider) == 0 && strcmp(presets[i].key, key) == 0)
			return presets[i].value;
	return NULL;
}
