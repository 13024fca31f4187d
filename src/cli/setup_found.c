/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/setup_found.h"
#include "src/auth/auth.h"
#include "src/auth/document.h"

#include <gio/gio.h>
#include <string.h>

#include "src/base/banned.h"

#define FETCH_MS 10000u
#define VALUE_BYTES_MAX 2048u /* of one element */
#define HOST_BYTES_MAX 253u

void found_fini(struct found *found)
{
	g_free(found->host);
	g_free(found->user);
	g_free(found->auth_url);
	g_free(found->token_url);
	g_free(found->scope);
	g_free(found->from);
	*found = (struct found){0};
}

/* ---- by names ---- */

const char *found_provider_of_domain(const char *domain)
{
	static const struct {
		const char *domain, *provider;
	} domains[] = {{"gmail.com", "gmail"}, {"googlemail.com", "gmail"}, {"outlook.com", "outlook-personal"},
		{"hotmail.com", "outlook-personal"}, {"live.com", "outlook-personal"}, {"msn.com", "outlook-personal"}};

	for (size_t i = 0; i < G_N_ELEMENTS(domains); i++)
		if (strcmp(domains[i].domain, domain) == 0)
			return domains[i].provider;
	return g_str_has_suffix(domain, ".onmicrosoft.com") ? "outlook" : NULL;
}

const char *found_provider_of_mx(const char *exchange)
{
	/* the longer ends first */
	static const struct {
		const char *end, *provider;
	} exchanges[] = {{".olc.protection.outlook.com", "outlook-personal"},
		{".mail.protection.outlook.com", "outlook"}, {".mx.microsoft", "outlook"}, {".l.google.com", "gmail"},
		{".googlemail.com", "gmail"}, {"smtp.google.com", "gmail"}};
	g_autofree char *name = g_ascii_strdown(exchange, -1);
	size_t length = strlen(name);

	if (length && name[length - 1] == '.')
		name[length - 1] = '\0';
	for (size_t i = 0; i < G_N_ELEMENTS(exchanges); i++)
		if (g_str_has_suffix(name, exchanges[i].end))
			return exchanges[i].provider;
	return NULL;
}

const char *found_by_mx(const char *domain)
{
	g_autoptr(GResolver) resolver = g_resolver_get_default();
	GList *records = g_resolver_lookup_records(resolver, domain, G_RESOLVER_RECORD_MX, NULL, NULL);
	const char *provider = NULL;

	for (GList *record = records; record && !provider; record = record->next) {
		const char *exchange = NULL;
		guint16 preference;

		g_variant_get(record->data, "(q&s)", &preference, &exchange);
		provider = found_provider_of_mx(exchange);
	}
	g_list_free_full(records, (GDestroyNotify)g_variant_unref);
	return provider;
}

/* ---- the document ---- */

struct reading {
	struct found found;
	const char *email;
	unsigned depth; /* of elements */
	bool in_server; /* within the first <incomingServer type="imap"> that is encrypted so far */
	bool in_oauth;
	bool encrypted; /* that server is */
	bool complete;  /* a server was found: later ones are worse */
	GString *value; /* of the element that is being read */
	bool too_long;
};

#define DEPTH_MAX 16u /* the format has 5 */

static void server_forget(struct reading *reading)
{
	g_clear_pointer(&reading->found.host, g_free);
	g_clear_pointer(&reading->found.user, g_free);
	reading->found.port = 0;
	reading->encrypted = false;
}

static void on_start(GMarkupParseContext *context, const char *element, const char **names, const char **values,
	void *ctx, GError **error)
{
	struct reading *reading = ctx;

	if (++reading->depth > DEPTH_MAX) {
		g_set_error_literal(error, G_MARKUP_ERROR, G_MARKUP_ERROR_INVALID_CONTENT, "nested too deep");
		return;
	}
	g_string_truncate(reading->value, 0);
	if (strcmp(element, "oAuth2") == 0)
		reading->in_oauth = true;
	if (strcmp(element, "incomingServer") != 0 || reading->complete)
		return;
	for (size_t i = 0; names[i]; i++)
		if (strcmp(names[i], "type") == 0 && strcmp(values[i], "imap") == 0)
			reading->in_server = true;
	if (reading->in_server)
		server_forget(reading);
}

static void on_text(GMarkupParseContext *context, const char *text, gsize length, void *ctx, GError **error)
{
	struct reading *reading = ctx;

	if (reading->value->len + length > VALUE_BYTES_MAX)
		g_set_error_literal(error, G_MARKUP_ERROR, G_MARKUP_ERROR_INVALID_CONTENT, "too long");
	else
		g_string_append_len(reading->value, text, (gssize)length);
}

static void take(char **to, const char *value)
{
	g_free(*to);
	*to = g_strdup(value);
}

/* %EMAILADDRESS%, %EMAILLOCALPART%, %EMAILDOMAIN% */
static char *filled(const struct reading *reading, const char *value)
{
	const char *at = strrchr(reading->email, '@');
	g_autofree char *local = g_strndup(reading->email, (gsize)(at - reading->email));
	g_autoptr(GString) text = g_string_new(value);

	g_string_replace(text, "%EMAILADDRESS%", reading->email, 0);
	g_string_replace(text, "%EMAILLOCALPART%", local, 0);
	g_string_replace(text, "%EMAILDOMAIN%", at + 1, 0);
	return g_strdup(text->str);
}

static void server_value(struct reading *reading, const char *element, const char *value)
{
	struct found *found = &reading->found;
	guint64 port;

	if (strcmp(element, "hostname") == 0) {
		g_free(found->host);
		found->host = filled(reading, value);
	} else if (strcmp(element, "username") == 0) {
		g_free(found->user);
		found->user = filled(reading, value);
	} else if (strcmp(element, "port") == 0 && g_ascii_string_to_unsigned(value, 10, 1, 65535, &port, NULL)) {
		found->port = (uint16_t)port;
	} else if (strcmp(element, "socketType") == 0) {
		reading->encrypted = strcmp(value, "SSL") == 0 || strcmp(value, "STARTTLS") == 0;
		found->tls = strcmp(value, "STARTTLS") == 0 ? TLS_STARTTLS : TLS_IMPLICIT;
	}
}

static void on_end(GMarkupParseContext *context, const char *element, void *ctx, GError **error)
{
	struct reading *reading = ctx;
	const char *value = g_strstrip(reading->value->str);

	reading->depth--;
	if (strcmp(element, "incomingServer") == 0 && reading->in_server) {
		reading->in_server = false;
		reading->complete = reading->encrypted && reading->found.host && reading->found.port;
	} else if (strcmp(element, "oAuth2") == 0) {
		reading->in_oauth = false;
	} else if (reading->in_server) {
		server_value(reading, element, value);
	} else if (reading->in_oauth) {
		if (strcmp(element, "authURL") == 0)
			take(&reading->found.auth_url, value);
		else if (strcmp(element, "tokenURL") == 0)
			take(&reading->found.token_url, value);
		else if (strcmp(element, "scope") == 0)
			take(&reading->found.scope, value);
	}
	g_string_truncate(reading->value, 0);
}

static bool is_plain(const char *text)
{
	for (; *text; text++)
		if (g_ascii_iscntrl(*text))
			return false;
	return true;
}

static bool is_host(const char *host)
{
	if (!*host || strlen(host) > HOST_BYTES_MAX)
		return false;
	for (; *host; host++)
		if (!g_ascii_isalnum(*host) && *host != '.' && *host != '-')
			return false;
	return true;
}

/* Both hosts and URLs will be connected to: what looks odd isn't shown to a person who would say yes to it. */
static bool is_sound(struct found *found)
{
	if (!found->auth_url || !found->token_url || !found->scope || !*found->scope || !is_plain(found->scope) ||
		auth_url_check(found->auth_url, NULL) != 0 || auth_url_check(found->token_url, NULL) != 0) {
		g_clear_pointer(&found->auth_url, g_free);
		g_clear_pointer(&found->token_url, g_free);
		g_clear_pointer(&found->scope, g_free);
	}
	return is_host(found->host) && (!found->user || (*found->user && is_plain(found->user)));
}

static const char *provider_of_host(const char *host)
{
	static const char *const microsoft[] = {"outlook.office365.com", "imap-mail.outlook.com"};

	for (size_t i = 0; i < G_N_ELEMENTS(microsoft); i++)
		if (g_ascii_strcasecmp(host, microsoft[i]) == 0)
			return "outlook";
	return g_ascii_strcasecmp(host, "imap.gmail.com") == 0 ? "gmail" : "generic";
}

bool found_parse(const char *text, size_t length, const char *email, struct found *found_out)
{
	static const GMarkupParser parser = {.start_element = on_start, .end_element = on_end, .text = on_text};
	struct reading reading = {.email = email, .value = g_string_new(NULL)};
	GMarkupParseContext *context = g_markup_parse_context_new(&parser, G_MARKUP_DEFAULT_FLAGS, &reading, NULL);
	bool good = g_markup_parse_context_parse(context, text, (gssize)length, NULL) &&
	            g_markup_parse_context_end_parse(context, NULL) && reading.complete && is_sound(&reading.found);

	g_markup_parse_context_free(context);
	g_string_free(reading.value, TRUE);
	if (!good) {
		found_fini(&reading.found);
		return false;
	}
	reading.found.provider = provider_of_host(reading.found.host);
	*found_out = reading.found;
	return true;
}

/* ---- fetching ---- */

bool found_by_url(const char *url, const char *ca_file, const char *email, struct found *found_out, struct error *err)
{
	struct document document;
	bool good;

	if (document_fetch(url, ca_file, FETCH_MS, &document, err) != 0)
		return false;
	good = found_parse(document.text, document.length, email, found_out);
	if (good)
		found_out->from = g_steal_pointer(&document.from);
	else
		error_set(err, ERR_FAILED, "it names no IMAP server with TLS, or isn't a mail autoconfiguration");
	document_fini(&document);
	return good;
}

bool found_by_domain(const char *domain, const char *ca_file, const char *email, struct found *found_out)
{
	g_autofree char *escaped = g_uri_escape_string(email, NULL, FALSE);
	char *urls[] = {g_strdup_printf("https://autoconfig.%s/mail/config-v1.1.xml?emailaddress=%s", domain, escaped),
		g_strdup_printf("https://%s/.well-known/autoconfig/mail/config-v1.1.xml", domain)};
	bool good = false;

	for (size_t i = 0; i < G_N_ELEMENTS(urls) && !good; i++)
		good = found_by_url(urls[i], ca_file, email, found_out, NULL);
	for (size_t i = 0; i < G_N_ELEMENTS(urls); i++)
		g_free(urls[i]);
	return good;
}
