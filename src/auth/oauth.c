/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/oauth.h"
#include "src/auth/aadsts.h"
#include "src/auth/assertion.h"
#include "src/auth/jwt.h"
#include "src/auth/source.h"
#include "src/base/log.h"

#include <cjson/cJSON.h>
#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

/* Longer lives are cut: nobody issues them, and sums must not overflow. */
#define SECONDS_MAX (366 * 86400)
/* Room for an assertion, a refresh token and the rest, so that the form doesn't move while it grows. */
#define FORM_BYTES_USUAL (64u * 1024u)

struct auth_form {
	GString *text;
	struct secret *proof; /* of the client: held until the answer is read, so that an echo of it is recognised */
};

struct auth_form *auth_form_new(void)
{
	struct auth_form *form = g_new0(struct auth_form, 1);

	form->text = g_string_sized_new(FORM_BYTES_USUAL);
	return form;
}

void auth_form_add(struct auth_form *form, const char *name, const char *value)
{
	char *escaped;

	if (!value)
		return;
	escaped = g_uri_escape_string(value, NULL, FALSE);
	g_string_append_printf(form->text, "%s%s=", form->text->len ? "&" : "", name);
	g_string_append(form->text, escaped);
	secret_free_text(escaped);
}

void auth_form_free(struct auth_form *form)
{
	if (!form)
		return;
	secret_wipe(form->text->str, form->text->len);
	g_string_free(form->text, TRUE);
	secret_unref(form->proof);
	g_free(form);
}

void auth_oauth_answer_fini(struct auth_oauth_answer *answer)
{
	secret_unref(answer->access_token);
	secret_unref(answer->refresh_token);
	*answer = (struct auth_oauth_answer){0};
}

const char *auth_oauth_text(const cJSON *json, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, name));
}

/* cJSON frees without wiping. */
void auth_oauth_json_free(cJSON *json)
{
	static const char *const secrets[] = {"access_token", "refresh_token", "id_token", "device_code"};

	for (size_t i = 0; i < G_N_ELEMENTS(secrets); i++) {
		cJSON *item = cJSON_GetObjectItemCaseSensitive(json, secrets[i]);

		if (cJSON_IsString(item))
			secret_wipe(item->valuestring, strlen(item->valuestring));
	}
	cJSON_Delete(json);
}

/* An object and nothing behind it; NULL otherwise. Depth is bounded by cJSON (1,000). */
static cJSON *json_parse(const struct auth_http_reply *reply)
{
	const char *end = NULL;
	cJSON *json = cJSON_ParseWithLengthOpts(reply->body, reply->length, &end, 0);

	if (!json)
		return NULL;
	while (end < reply->body + reply->length && g_ascii_isspace(*end))
		end++;
	if (cJSON_IsObject(json) && end == reply->body + reply->length)
		return json;
	cJSON_Delete(json);
	return NULL;
}

static bool is_busy(const struct auth_http_reply *reply)
{
	return reply->status >= 500 || reply->status == 429 || reply->status == 408;
}

/* What isn't JSON doesn't come from a token endpoint, whatever the status says. */
static int foreign_error(const struct auth_http_reply *reply, struct error *err)
{
	bool html = g_ascii_strncasecmp(reply->content_type, "text/html", 9) == 0 ||
	            (reply->length && reply->body[strspn(reply->body, " \t\r\n")] == '<');
	const char *what = html ? "an HTML page instead of JSON" : reply->length ? "no valid JSON" : "an empty answer";

	if (is_busy(reply))
		return error_set(err, ERR_UNREACHABLE, "HTTP %ld (%s)", reply->status, what);
	if (reply->status >= 300 && reply->status < 400) {
		error_set(
			err, ERR_UNREACHABLE, "HTTP %ld: redirected, which a token endpoint never does", reply->status);
		error_hint(err, "a network's sign-in page in between? Otherwise check `authority` or `token_url`");
		return ERR_UNREACHABLE;
	}
	if (reply->status == 400 || reply->status == 401 || reply->status == 404 || reply->status == 405) {
		error_set(err, ERR_SIGN_IN, "HTTP %ld with %s: this isn't a token endpoint", reply->status, what);
		error_hint(err, "check `authority`, `tenant` or `token_url`");
		return ERR_SIGN_IN;
	}
	error_set(err, ERR_UNREACHABLE, "HTTP %ld with %s", reply->status, what);
	error_hint(err, "a proxy or a network's sign-in page in between?");
	return ERR_UNREACHABLE;
}

/* Microsoft puts ids and a time behind the sentence, on the same line or the next. */
static char *description_first_line(const char *description)
{
	const char *end = description + strcspn(description, "\r\n");
	const char *trace = strstr(description, " Trace ID:");

	return g_strndup(description, (gsize)((trace && trace < end ? trace : end) - description));
}

static uint32_t aadsts_code(const cJSON *json, const char *description)
{
	const cJSON *first = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(json, "error_codes"), 0);

	if (cJSON_IsNumber(first) && first->valuedouble > 0 && first->valuedouble <= G_MAXUINT32)
		return (uint32_t)first->valuedouble;
	return auth_aadsts_parse(description);
}

static const char *word_hint(const char *word)
{
	static const struct {
		const char *word, *hint;
	} hints[] = {
		{"invalid_client", "check `client_id` and the client secret or certificate"},
		{"unauthorized_client", "the app isn't allowed to use this grant: check its registration"},
		{"invalid_scope", "correct `scope`"},
		{"invalid_grant", "sign in again with `mailtree login ACCOUNT`"},
		{"interaction_required", "sign in again with `mailtree login ACCOUNT`"},
		{"consent_required", "an administrator or the user must consent to the app"},
		{"access_denied", "somebody declined, or a policy forbids it"},
		{"unsupported_grant_type", "the authority doesn't offer this `auth` method"},
		{"invalid_request", "check `tenant`, `client_id` and `scope`"},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(hints); i++)
		if (strcmp(hints[i].word, word) == 0)
			return hints[i].hint;
	return NULL;
}

static int oauth_error(
	const cJSON *json, const struct auth_http_reply *reply, struct auth_oauth_answer *answer, struct error *err)
{
	const char *word = auth_oauth_text(json, "error"), *description = auth_oauth_text(json, "error_description");
	const char *trace = auth_oauth_text(json, "trace_id"), *correlation = auth_oauth_text(json, "correlation_id");
	g_autofree char *line = description_first_line(description ? description : "");
	uint32_t code = aadsts_code(json, line);
	const struct auth_aadsts *known = auth_aadsts_find(code);
	bool transient = is_busy(reply) || (known && known->transient) ||
	                 strcmp(word, "temporarily_unavailable") == 0 || strcmp(word, "server_error") == 0;
	int rc;

	g_strlcpy(answer->error, word, sizeof(answer->error));
	/* what Microsoft's support asks for */
	if (trace || correlation)
		log_info("token endpoint: %.64s: trace_id %.64s, correlation_id %.64s", word, trace ? trace : "-",
			correlation ? correlation : "-");
	rc = error_set(err, transient ? ERR_UNREACHABLE : ERR_SIGN_IN, "%.64s%s%.400s",
		*word ? word : "an error without a name", *line ? ": " : "", line);
	if (known)
		error_hint(err, "%s: %s", known->meaning, known->fix);
	else if (!transient && word_hint(word))
		error_hint(err, "%s", word_hint(word));
	return rc;
}

int64_t auth_oauth_seconds(const cJSON *json, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);
	double seconds = -1;

	if (cJSON_IsNumber(item)) {
		seconds = item->valuedouble;
	} else if (cJSON_IsString(item) && *item->valuestring) {
		char *end = NULL;

		seconds = g_ascii_strtod(item->valuestring, &end);
		if (*end)
			seconds = -1;
	}
	/* also false for NaN */
	if (!(seconds >= 1))
		return -1;
	return seconds > SECONDS_MAX ? SECONDS_MAX : (int64_t)seconds;
}

static int token_take(const cJSON *json, struct auth_oauth_answer *answer, struct error *err)
{
	const char *access = auth_oauth_text(json, "access_token"), *refresh = auth_oauth_text(json, "refresh_token");
	const char *id = auth_oauth_text(json, "id_token");
	const cJSON *type = cJSON_GetObjectItemCaseSensitive(json, "token_type");
	struct secret *raw;
	int rc;

	if (!access)
		return error_set(err, ERR_UNREACHABLE, "the answer has no access_token");
	if (type && (!cJSON_IsString(type) || g_ascii_strcasecmp(type->valuestring, "Bearer") != 0))
		return error_set(err, ERR_SIGN_IN, "the answer's token_type isn't Bearer");
	raw = secret_new(access, strlen(access));
	if (!raw)
		return error_set(err, ERR_UNREACHABLE, "the answer's access_token is too long for a token");
	rc = auth_source_trim_token(raw, "the answer's access_token", &answer->access_token, err);
	if (rc != 0)
		return rc;
	/* longer than any token: keep the one we have rather than fail */
	if (refresh && *refresh && strlen(refresh) <= AUTH_TOKEN_MAX)
		answer->refresh_token = secret_new(refresh, strlen(refresh));
	answer->expires_in_s = auth_oauth_seconds(json, "expires_in");
	if (id)
		auth_jwt_name(id, answer->name, sizeof(answer->name));
	return 0;
}

int auth_oauth_reply_json(
	const struct auth_http_reply *reply, struct auth_oauth_answer *answer, cJSON **json_out, struct error *err)
{
	cJSON *json = json_parse(reply);
	int rc = 0;

	answer->retry_after_s = reply->retry_after_s;
	if (!json)
		rc = foreign_error(reply, err);
	else if (auth_oauth_text(json, "error"))
		rc = oauth_error(json, reply, answer, err);
	else if (reply->status != 200)
		rc = error_set(err, is_busy(reply) ? ERR_UNREACHABLE : ERR_SIGN_IN, "HTTP %ld without an OAuth error",
			reply->status);
	if (rc != 0)
		auth_oauth_json_free(json);
	else
		*json_out = json;
	return rc;
}

int auth_oauth_reply_token(const struct auth_http_reply *reply, struct auth_oauth_answer *answer, struct error *err)
{
	cJSON *json = NULL;
	int rc = auth_oauth_reply_json(reply, answer, &json, err);

	if (rc == 0)
		rc = token_take(json, answer, err);
	auth_oauth_json_free(json);
	return rc;
}

int auth_oauth_post(struct auth_flow *flow, const char *url, const struct auth_form *form,
	struct auth_http_reply *reply_out, struct error *err)
{
	struct auth_http_request request = {.url = url,
		.form = form->text->str,
		.form_length = form->text->len,
		.ca_file = flow->config->ca_file,
		.timeout_ms = flow->http_timeout_ms,
		.cancel_fd = flow->cancel_fd};

	flow->requests++;
	return auth_http_run(&request, reply_out, err);
}

int auth_oauth_request(
	struct auth_flow *flow, const struct auth_form *form, struct auth_oauth_answer *answer_out, struct error *err)
{
	const char *url = flow->config->token_url;
	struct auth_http_reply reply = {0};
	int rc;

	*answer_out = (struct auth_oauth_answer){.expires_in_s = -1};
	rc = auth_oauth_post(flow, url, form, &reply, err);
	if (rc == 0)
		rc = auth_oauth_reply_token(&reply, answer_out, err);
	if (rc != 0)
		error_prefix(err, "token endpoint %.200s", url);
	auth_http_reply_fini(&reply);
	return rc;
}

int auth_oauth_add_client(struct auth_flow *flow, struct auth_form *form, struct error *err)
{
	const struct auth_config *config = flow->config;
	struct secret *proof = NULL;
	int rc = 0;

	auth_form_add(form, "client_id", config->client_id);
	if (config->certificate) {
		rc = auth_assertion_new(config, &proof, err);
		if (rc != 0)
			return rc;
		auth_form_add(form, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
		auth_form_add(form, "client_assertion", secret_text(proof));
	} else if (auth_source_is_set(&config->client_secret)) {
		rc = auth_source_read(flow, &config->client_secret, "client_secret", &proof, err);
		if (rc != 0)
			return rc;
		auth_form_add(form, "client_secret", secret_text(proof));
	}
	secret_unref(form->proof);
	form->proof = proof;
	return 0;
}
