/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "imap/probe.h"
#include "imap/reach.h"
#include "src/auth/sasl_inspect.h"
#include "src/auth/secret_form.h"
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/cli/account.h"
#include "src/cli/doctor.h"

#include <stdarg.h>
#include <string.h>

#include "src/base/banned.h"

#define NETWORK_MS 20000u /* for each of name, connection and handshake; less if the account's timeout is less */
/* "Authenticated but not connected" comes and goes: one of these tries that works is enough. */
#define SIGN_INS 3
#define SIGN_IN_PAUSE_MS 1000

enum step { CONFIG, RESOLVE, CONNECT, TLS, GREETING, TOKEN, INSPECT, SIGN_IN, FIRST, LIST, FETCH };

static const struct {
	const char *name, *label;
} steps[] = {
	[CONFIG] = {"config", "configuration"},
	[RESOLVE] = {"resolve", "server's name"},
	[CONNECT] = {"connect", "connection"},
	[TLS] = {"tls", "TLS"},
	[GREETING] = {"greeting", "greeting"},
	[TOKEN] = {"token", "credential"},
	[INSPECT] = {"inspect", "token's content"},
	[SIGN_IN] = {"authenticate", "sign-in"},
	[FIRST] = {"first-command", "first command"},
	[LIST] = {"list", "folders"},
	[FETCH] = {"fetch", "one message"},
};

struct examination {
	struct doctor *doctor;
	const struct call *call;
	struct settings *settings;
	struct imap_client_config config;
	struct stream_target target;
	struct loop *loop;
	struct auth *auth;
	struct reach reach;
	struct probe *probe;
	struct probe_offer offer;
	struct probe_answer answer;
	struct credential credential;
	bool has_credential;
	struct auth_claims claims;
	char *client_id, *tenant;
	struct error error, token_error;
	struct auth_evidence evidence;
	uint64_t began_ms;
	unsigned sign_ins;
	bool done; /* what the loop waits for */
	int code;  /* of what failed first */
};

/* ---- steps ---- */

void doctor_step_free(struct doctor_step *step)
{
	if (!step)
		return;
	g_free(step->detail);
	g_free(step);
}

static void step_free(gpointer step)
{
	doctor_step_free(step);
}

void doctor_init(struct doctor *doctor)
{
	*doctor = (struct doctor){.steps = g_ptr_array_new_with_free_func(step_free)};
}

void doctor_fini(struct doctor *doctor)
{
	g_clear_pointer(&doctor->steps, g_ptr_array_unref);
	g_clear_pointer(&doctor->causes, g_ptr_array_unref);
}

void doctor_step_add(
	struct doctor *doctor, const char *name, const char *label, enum doctor_state state, uint64_t ms, char *detail)
{
	struct doctor_step *step = g_new0(struct doctor_step, 1);

	*step = (struct doctor_step){name, label, state, ms, detail};
	/* claims and servers' words are in it */
	log_clean(step->detail);
	secret_scrub(step->detail, strlen(step->detail) + 1);
	g_ptr_array_add(doctor->steps, step);
	if (doctor->ended)
		doctor->ended(doctor->ctx, step);
}

static void step_begin(struct examination *x)
{
	x->began_ms = clock_ms();
}

static void step_end(struct examination *x, enum step step, enum doctor_state state, const char *format, ...)
	G_GNUC_PRINTF(4, 5);

static void step_end(struct examination *x, enum step step, enum doctor_state state, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	doctor_step_add(x->doctor, steps[step].name, steps[step].label, state, clock_ms() - x->began_ms,
		g_strdup_vprintf(format, args));
	va_end(args);
}

static void step_skip(struct examination *x, enum step step, const char *why)
{
	step_begin(x);
	step_end(x, step, DOCTOR_SKIPPED, "%s", why);
}

/* Where the way ends; `code` as the exit status tells it. */
static void way_ends(struct examination *x, enum auth_stage stage, int code)
{
	x->evidence.stage = stage;
	x->evidence.error = x->error.text;
	x->evidence.hint = x->error.hint[0] ? x->error.hint : NULL;
	if (!x->code)
		x->code = code;
}

/* ---- configuration ---- */

/* "AUTHORITY/TENANT/oauth2/…" */
static char *tenant_of(const char *token_url)
{
	const char *end = token_url ? strstr(token_url, "/oauth2/") : NULL, *start = end;

	while (start && start > token_url && start[-1] != '/')
		start--;
	return end && start < end ? g_strndup(start, (gsize)(end - start)) : NULL;
}

static void settings_keep(struct examination *x)
{
	const struct settings *s = x->settings;

	x->config = account_client_config(s);
	x->target = (struct stream_target){s->host, s->port, x->config.tls, s->ca_file};
	x->client_id = g_strdup(s->auth.client_id);
	x->tenant = tenant_of(s->auth.token_url);
	x->evidence.account = s->account;
	x->evidence.user = s->user;
	x->evidence.host = s->host;
	x->evidence.port = s->port;
	x->evidence.provider = s->provider;
	x->evidence.client_id = x->client_id;
	x->evidence.tenant = x->tenant;
	x->evidence.method = s->auth.method;
	x->evidence.starttls = s->tls == TLS_STARTTLS;
	x->evidence.plain = s->tls == TLS_NONE;
}

static bool examine_config(struct examination *x)
{
	int code;

	step_begin(x);
	x->evidence.account = x->call->arguments[0];
	code = call_settings(x->call, NULL, &x->settings, &x->error);
	if (code == 0) {
		settings_keep(x);
		code = auth_new(x->loop, &x->settings->auth, &x->auth, &x->error);
	}
	if (code != 0) {
		step_end(x, CONFIG, DOCTOR_FAULTY, "%s", x->error.text);
		way_ends(x, AUTH_STAGE_CONFIG, code);
		return false;
	}
	step_end(x, CONFIG, DOCTOR_FINE, "%s at %s:%u", x->settings->user, x->settings->host, x->settings->port);
	return true;
}

/* ---- the network ---- */

static bool network_ended(struct examination *x, enum step step, enum auth_stage stage, int code)
{
	if (code == 0)
		return true;
	step_end(x, step, DOCTOR_FAULTY, "%s", x->error.text);
	x->evidence.offline = x->reach.offline;
	x->evidence.name = x->reach.name_unknown ? AUTH_NAME_UNKNOWN : AUTH_NAME_NO_ANSWER;
	x->evidence.connect_errno = x->reach.connect_errno;
	x->evidence.certificate = x->reach.certificate;
	x->evidence.words = x->reach.words;
	way_ends(x, stage, code);
	return false;
}

static enum auth_tls_trouble tls_trouble(enum reach_tls_trouble trouble)
{
	static const enum auth_tls_trouble troubles[] = {
		[REACH_TLS_FINE] = AUTH_TLS_BROKEN,
		[REACH_TLS_UNTRUSTED] = AUTH_TLS_UNTRUSTED,
		[REACH_TLS_OTHER_NAME] = AUTH_TLS_OTHER_NAME,
		[REACH_TLS_EXPIRED] = AUTH_TLS_EXPIRED,
		[REACH_TLS_PLAIN] = AUTH_TLS_PLAIN,
		[REACH_TLS_BROKEN] = AUTH_TLS_BROKEN,
	};

	return troubles[trouble];
}

static bool examine_tls(struct examination *x, uint32_t timeout_ms)
{
	if (x->target.tls == STREAM_TLS_NONE) {
		step_skip(x, TLS, "tls = none: it doesn't leave this machine");
		return true;
	}
	step_begin(x);
	if (!network_ended(x, TLS, AUTH_STAGE_TLS, reach_tls(&x->reach, &x->target, timeout_ms, &x->error))) {
		x->evidence.tls = tls_trouble(x->reach.tls);
		if (x->code == ERR_CONFIG)
			x->evidence.stage = AUTH_STAGE_CONFIG;
		return false;
	}
	step_end(x, TLS, DOCTOR_FINE, "%s, certificate %s", x->reach.tls_version, x->reach.certificate);
	return true;
}

static bool examine_network(struct examination *x)
{
	uint32_t timeout_ms = MIN(x->config.timeout_ms, NETWORK_MS);

	step_begin(x);
	if (!network_ended(
		    x, RESOLVE, AUTH_STAGE_RESOLVE, reach_resolve(&x->reach, &x->target, timeout_ms, &x->error))) {
		step_skip(x, CONNECT, "no address");
		step_skip(x, TLS, "no connection");
		return false;
	}
	step_end(x, RESOLVE, DOCTOR_FINE, "%s has %u address%s", x->target.host, x->reach.addresses,
		x->reach.addresses == 1 ? "" : "es");
	step_begin(x);
	if (!network_ended(
		    x, CONNECT, AUTH_STAGE_CONNECT, reach_connect(&x->reach, &x->target, timeout_ms, &x->error))) {
		step_skip(x, TLS, "no connection");
		return false;
	}
	step_end(x, CONNECT, DOCTOR_FINE, "%s, port %u", x->reach.address, x->target.port);
	return examine_tls(x, timeout_ms);
}

/* ---- the server ---- */

static bool answer_ended(struct examination *x, enum step step, enum auth_stage stage, int code)
{
	if (x->answer.err.code == 0)
		return true;
	error_copy(&x->error, &x->answer.err);
	step_end(x, step, DOCTOR_FAULTY, "%s%s%s%s%s", x->answer.err.text, x->answer.words[0] ? ": " : "",
		x->answer.words, x->answer.challenge[0] ? "; its reason: " : "", x->answer.challenge);
	x->evidence.words = x->answer.words;
	x->evidence.challenge = x->answer.challenge;
	way_ends(x, stage, code);
	return false;
}

static void probe_begin(struct examination *x)
{
	probe_free(x->probe);
	x->probe = probe_new(x->loop, &x->config, &stream_curl_factory);
	probe_greet(x->probe, &x->offer, &x->answer);
}

static bool examine_greeting(struct examination *x)
{
	step_begin(x);
	/* two connections at once may be one too many */
	reach_fini(&x->reach);
	probe_begin(x);
	if (!answer_ended(x, GREETING, AUTH_STAGE_GREETING, ERR_UNREACHABLE))
		return false;
	x->evidence.offer_known = true;
	x->evidence.offers_bearer = x->offer.bearer;
	x->evidence.offers_password = x->offer.password;
	x->evidence.offer = x->offer.mechanisms;
	step_end(x, GREETING, DOCTOR_FINE, "signs in by %s", x->offer.mechanisms);
	return true;
}

/* ---- the credential ---- */

static void on_filled(void *ctx, const struct credential *credential, const struct error *err)
{
	struct examination *x = ctx;

	if (credential) {
		credential_copy(&x->credential, credential);
		x->has_credential = true;
	} else {
		error_copy(&x->token_error, err);
	}
	x->done = true;
}

/* The configuration is read anew: what signs in has taken over the first. */
static bool secret_is_guid(const struct examination *x)
{
	struct settings *settings = NULL;
	bool found;

	if (x->evidence.method != AUTH_CLIENT_CREDENTIALS || !strstr(x->token_error.text, "AADSTS7000215") ||
		call_settings(x->call, NULL, &settings, NULL) != 0)
		return false;
	found = auth_secret_is_guid(&settings->auth);
	settings_free(settings);
	return found;
}

static bool examine_token(struct examination *x)
{
	step_begin(x);
	x->done = false;
	auth_fill(x->auth, on_filled, x);
	loop_run_until(x->loop, &x->done);
	if (!x->has_credential) {
		step_end(x, TOKEN, DOCTOR_FAULTY, "%s", x->token_error.text);
		x->evidence.token_code = x->token_error.code;
		x->evidence.token_error = x->token_error.text;
		x->evidence.token_hint = x->token_error.hint[0] ? x->token_error.hint : NULL;
		x->evidence.secret_is_guid = secret_is_guid(x);
		if (!x->code)
			x->code = x->token_error.code;
		return false;
	}
	if (x->credential.kind == AUTH_PASSWORD_KIND)
		step_end(x, TOKEN, DOCTOR_FINE, "a password");
	else if (x->credential.expires_at != INT64_MAX)
		step_end(x, TOKEN, DOCTOR_FINE, "an access token, good for %" G_GINT64_FORMAT " s",
			x->credential.expires_at - clock_unix());
	else
		step_end(x, TOKEN, DOCTOR_FINE, "an access token");
	return true;
}

static void examine_content(struct examination *x)
{
	const char *token = secret_text(x->credential.secret);
	size_t length = secret_length(x->credential.secret);
	g_autoptr(GPtrArray) faults = NULL;
	g_autofree char *about = NULL;
	bool certain = false;

	if (x->credential.kind == AUTH_PASSWORD_KIND) {
		step_skip(x, INSPECT, "passwords have none");
		return;
	}
	step_begin(x);
	auth_claims_read(token, length, &x->claims);
	x->evidence.claims = &x->claims;
	x->evidence.token_is_response = auth_token_is_response(token, length);
	faults = auth_causes_of_token(&x->evidence);
	about = auth_claims_describe(&x->claims, length, x->evidence.now);
	for (guint i = 0; i < faults->len; i++)
		certain |= ((const struct auth_cause *)faults->pdata[i])->certain;
	step_end(x, INSPECT, certain ? DOCTOR_FAULTY : x->claims.readable ? DOCTOR_FINE : DOCTOR_SKIPPED, "%s", about);
}

/* ---- the mailbox ---- */

static void on_pause_end(void *data)
{
	*(bool *)data = true;
}

static void pause_ms(struct examination *x, uint64_t ms)
{
	x->done = false;
	loop_timer_add(x->loop, ms, on_pause_end, &x->done);
	loop_run_until(x->loop, &x->done);
}

static bool is_not_connected(const struct examination *x)
{
	return x->answer.err.code == ERR_REFUSED &&
	       strcasestr(x->answer.words, "authenticated but not connected") != NULL;
}

/* Signs in anew while the first command says that nothing is behind it. */
static void first_again(struct examination *x)
{
	while (is_not_connected(x) && x->sign_ins < SIGN_INS) {
		struct probe_answer before = x->answer;

		x->sign_ins++;
		pause_ms(x, SIGN_IN_PAUSE_MS);
		probe_begin(x);
		if (x->answer.err.code || probe_sign_in(x->probe, &x->credential, &x->answer) != 0) {
			x->answer = before;
			return;
		}
		probe_first(x->probe, &x->answer);
	}
}

static bool examine_sign_in(struct examination *x)
{
	step_begin(x);
	probe_sign_in(x->probe, &x->credential, &x->answer);
	x->sign_ins = 1;
	if (!answer_ended(x, SIGN_IN, AUTH_STAGE_SIGN_IN,
		    x->answer.err.code == ERR_REFUSED ? ERR_SIGN_IN : x->answer.err.code)) {
		step_skip(x, FIRST, "not signed in");
		return false;
	}
	step_end(x, SIGN_IN, DOCTOR_FINE, "the server took it");
	step_begin(x);
	probe_first(x->probe, &x->answer);
	first_again(x);
	if (!answer_ended(
		    x, FIRST, AUTH_STAGE_FIRST, x->answer.err.code == ERR_REFUSED ? ERR_SIGN_IN : x->answer.err.code))
		return false;
	if (x->sign_ins > 1)
		step_end(x, FIRST, DOCTOR_FINE,
			"works at the attempt number %u; before, the server took the sign-in "
			"without a mailbox behind it, which comes and goes",
			x->sign_ins);
	else
		step_end(x, FIRST, DOCTOR_FINE, "there is a mailbox behind it");
	return true;
}

static void examine_mail(struct examination *x)
{
	struct probe_message message;
	uint32_t folders = 0;

	step_begin(x);
	probe_list(x->probe, &folders, &x->answer);
	if (!answer_ended(x, LIST, AUTH_STAGE_LIST, ERR_FAILED)) {
		step_skip(x, FETCH, "no folders");
		return;
	}
	step_end(x, LIST, DOCTOR_FINE, "%u", folders);
	step_begin(x);
	probe_fetch(x->probe, &message, &x->answer);
	if (!answer_ended(x, FETCH, AUTH_STAGE_FETCH, ERR_FAILED))
		return;
	if (message.no_data) {
		x->evidence.no_data = true;
		step_end(x, FETCH, DOCTOR_FAULTY, "UID %u of INBOX: OK, but no message", message.uid);
		way_ends(x, AUTH_STAGE_FETCH, ERR_BROKEN);
	} else if (!message.uid) {
		step_end(x, FETCH, DOCTOR_SKIPPED, "INBOX is empty");
	} else {
		step_end(x, FETCH, DOCTOR_FINE, "UID %u of INBOX, %" G_GUINT64_FORMAT " bytes", message.uid,
			message.size_bytes);
	}
}

/* ---- all of it ---- */

static void skip_from(struct examination *x, enum step first, enum step last, const char *why)
{
	for (enum step step = first; step <= last; step++)
		step_skip(x, step, why);
}

static void examine_all(struct examination *x)
{
	bool connected, credential;

	if (!examine_config(x)) {
		skip_from(x, RESOLVE, FETCH, "not tried");
		return;
	}
	connected = examine_network(x);
	if (connected)
		connected = examine_greeting(x);
	else
		step_skip(x, GREETING, "not connected");
	/* the credential comes from elsewhere: it is tried also without a server */
	credential = examine_token(x);
	if (credential)
		examine_content(x);
	else
		step_skip(x, INSPECT, "there is none");
	if (!connected || !credential)
		skip_from(x, SIGN_IN, FETCH, connected ? "there is nothing to sign in with" : "not connected");
	else if (examine_sign_in(x))
		examine_mail(x);
	else
		skip_from(x, LIST, FETCH, "not signed in");
}

/* A refusal that has nothing to do with who signs in: the exit status isn't that of a sign-in. */
static bool is_for_now(const struct auth_cause *cause)
{
	static const char *const ids[] = {"throttled", "too-many-connections", "over-quota", "server-down", NULL};

	return cause->certain && g_strv_contains(ids, cause->id);
}

int doctor_examine(struct doctor *doctor, const struct call *call)
{
	struct examination x = {.doctor = doctor, .call = call, .loop = loop_new()};

	reach_init(&x.reach);
	x.evidence.now = clock_unix();
	examine_all(&x);
	doctor->causes = auth_causes_find(&x.evidence);
	if (doctor->causes->len && is_for_now(doctor->causes->pdata[0]))
		x.code = ERR_THROTTLED;
	probe_free(x.probe);
	reach_fini(&x.reach);
	credential_fini(&x.credential);
	auth_free(x.auth);
	loop_free(x.loop);
	settings_free(x.settings);
	g_free(x.client_id);
	g_free(x.tenant);
	return x.code;
}
