/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/account.h"
#include "imap/client.h"
#include "src/base/loop.h"
#include "src/cache/cache.h"
#include "src/mail/mail.h"
#include "src/mail/source.h"

#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

#define IDENTITY_CHARS 20 /* of a SHA-256 in hexadecimal: 80 bits */

static enum stream_tls stream_tls(enum settings_tls tls)
{
	switch (tls) {
	case TLS_STARTTLS:
		return STREAM_TLS_STARTTLS;
	case TLS_NONE:
		return STREAM_TLS_NONE;
	case TLS_IMPLICIT:
		break;
	}
	return STREAM_TLS_IMPLICIT;
}

static enum imap_sasl imap_sasl(enum settings_sasl sasl)
{
	switch (sasl) {
	case SASL_XOAUTH2:
		return IMAP_SASL_XOAUTH2;
	case SASL_OAUTHBEARER:
		return IMAP_SASL_OAUTHBEARER;
	case SASL_PLAIN:
		return IMAP_SASL_PLAIN;
	case SASL_LOGIN:
		return IMAP_SASL_LOGIN;
	case SASL_AUTO:
		break;
	}
	return IMAP_SASL_AUTO;
}

static enum mail_sizes mail_sizes(enum settings_sizes sizes)
{
	switch (sizes) {
	case SIZES_EXACT:
		return MAIL_SIZES_EXACT;
	case SIZES_TRUST:
		return MAIL_SIZES_TRUST;
	case SIZES_AUTO:
		break;
	}
	return MAIL_SIZES_AUTO;
}

struct imap_client_config account_client_config(const struct settings *s)
{
	return (struct imap_client_config){
		.host = s->host,
		.port = s->port,
		.tls = stream_tls(s->tls),
		.ca_file = s->ca_file,
		.user = s->user,
		.sasl = imap_sasl(s->sasl),
		.connections = s->connections,
		.timeout_ms = s->timeout_s * 1000,
		.throttle_wait_ms = s->throttle_wait_s * 1000,
		.bytes_per_second = s->bwlimit,
		.compress = true,
	};
}

static struct imap_client *client_new(struct account *account)
{
	struct imap_client_config config = account_client_config(account->settings);

	return imap_client_new(account->loop, &config, account->auth, &stream_curl_factory);
}

static int model_new(struct account *account, struct error *err)
{
	const struct settings *s = account->settings;
	struct mail_config config = {
		.account = s->account,
		.user = s->user,
		.host = s->host,
		.folders = (const char *const *)s->folders,
		.exclude = (const char *const *)s->exclude,
		.sizes = mail_sizes(s->sizes),
		.poll_s = s->poll_s,
		.stale_s = s->stale_s,
		.daily_bytes = s->daily_bytes,
		.eol_lf = s->eol_lf,
		.broken_stub = s->broken_stub,
		.offline = s->offline,
		.prefetch = !s->noprefetch,
		.flags = s->xattr || s->layout == LAYOUT_MAILDIR,
		.maildir = s->layout == LAYOUT_MAILDIR,
	};

	return mail_new(account->loop, &config, account->cache, mail_source_imap_new(account->client, account->auth),
		&account->mail, err);
}

int account_cache_open(const struct settings *settings, struct cache **cache_out, struct error *err)
{
	return cache_open(settings->cache_dir, settings->host, settings->port, settings->user, settings->cache_size,
		cache_out, err);
}

int account_open(struct settings *settings, struct account **account_out, struct error *err)
{
	struct account *account = g_new0(struct account, 1);
	int code;

	account->settings = settings;
	account->loop = loop_new();
	code = auth_new(account->loop, &settings->auth, &account->auth, err);
	if (code == 0)
		auth_set_reload(account->auth, settings->config_file, settings_auth_reload, settings);
	if (code == 0)
		code = account_cache_open(settings, &account->cache, err);
	if (code == 0) {
		account->client = client_new(account);
		code = model_new(account, err);
	}
	if (code != 0) {
		account_close(account);
		return code;
	}
	loop_start(account->loop);
	*account_out = account;
	return 0;
}

void account_close(struct account *account)
{
	if (!account)
		return;
	loop_stop(account->loop);
	mail_free(account->mail);
	if (account->client)
		imap_client_free(account->client);
	if (account->auth)
		auth_free(account->auth);
	if (account->cache)
		cache_close(account->cache);
	loop_free(account->loop);
	settings_free(account->settings);
	g_free(account);
}

static void identity_add(GChecksum *sum, const char *text)
{
	/* with its NUL: "ab", "c" isn't "a", "bc" */
	g_checksum_update(sum, (const guchar *)(text ? text : ""), (gssize)(text ? strlen(text) : 0) + 1);
}

static void identity_add_number(GChecksum *sum, int64_t number)
{
	g_autofree char *text = g_strdup_printf("%" G_GINT64_FORMAT, number);

	identity_add(sum, text);
}

static void identity_add_globs(GChecksum *sum, char **globs)
{
	for (char **glob = globs; glob && *glob; glob++)
		identity_add(sum, *glob);
	identity_add(sum, NULL);
}

char *account_identity(const struct settings *settings)
{
	g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);

	identity_add(sum, settings->host);
	identity_add_number(sum, settings->port);
	identity_add(sum, settings->user);
	identity_add_globs(sum, settings->folders);
	identity_add_globs(sum, settings->exclude);
	identity_add_number(sum, settings->names);
	identity_add_number(sum, settings->layout);
	identity_add_number(sum, settings->eol_lf);
	identity_add_number(sum, settings->broken_stub);
	identity_add_number(sum, settings->offline);
	identity_add_number(sum, settings->stale_s);
	return g_strndup(g_checksum_get_string(sum), IDENTITY_CHARS);
}
