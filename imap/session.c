/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "imap/session.h"
#include "imap/sign_in.h"
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/base/secret.h"

#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

#define CHALLENGE_TEXT_MAX 300u

enum state {
	STATE_BEGIN,
	STATE_CREDENTIAL,
	STATE_CONNECT,
	STATE_GREETING,
	STATE_OFFER, /* CAPABILITY before the sign-in */
	STATE_SIGN_IN,
	STATE_FIRST,
	STATE_FIRST_LIST, /* NAMESPACE wasn't understood */
	STATE_CAPABILITY,
	STATE_ID,
	STATE_ENABLE,
	STATE_AHEAD, /* for the answers to what was sent ahead */
	STATE_COMPRESS,
	STATE_READY,
	STATE_ENDED,
};

struct session {
	struct session_env env;
	const struct session_ops *ops;
	void *ctx;
	struct conn *conn;
	struct auth_fill *fill;
	struct loop_timer *timer; /* begins, and ends with `ready` */
	struct conn_command command;
	struct conn_command ahead[2]; /* ID and ENABLE, sent behind the first command without waiting for its answer */
	unsigned ahead_waiting;
	bool ahead_sent;
	enum state state;
	struct offer offer;
	bool offer_fresh; /* told after the sign-in */
	struct credential credential;
	struct sign_in sign_in;
	unsigned challenges;
	char challenge[CHALLENGE_TEXT_MAX]; /* what the failure challenge said */
	uint32_t enabled;                   /* capabilities */
	uint64_t began_ms, progress_ms;
	uint64_t bytes_seen;
	enum state state_seen;
};

static void step_done(struct conn_command *command, const struct imap_response *tagged);
static void ahead_done(struct conn_command *command, const struct imap_response *tagged);
static void sign_in_continue(struct conn_command *command, const struct imap_response *response);

static const struct conn_command_ops step_ops = {.done = step_done};
static const struct conn_command_ops ahead_ops = {.done = ahead_done};
static const struct conn_command_ops sign_in_ops = {.done = step_done, .continuation = sign_in_continue};

static void session_fail(struct session *s, enum session_end end, uint32_t backoff_ms, const struct error *err)
{
	if (s->state == STATE_ENDED || s->state == STATE_READY)
		return;
	s->state = STATE_ENDED;
	if (s->conn)
		conn_abandon(s->conn);
	s->ops->failed(s->ctx, end, backoff_ms, err);
}

/* ---- refusals ---- */

static enum session_end end_of(enum verdict_kind kind, enum session_end plain)
{
	switch (kind) {
	case VERDICT_THROTTLED:
		return SESSION_THROTTLED;
	case VERDICT_OVERQUOTA:
		return SESSION_OVERQUOTA;
	case VERDICT_TOO_MANY:
		return SESSION_TOO_MANY;
	case VERDICT_NOT_CONNECTED:
		return SESSION_NOT_CONNECTED;
	case VERDICT_UNAVAILABLE:
		return SESSION_FAILED;
	default:
		return plain;
	}
}

static void refusal_error(struct session *s, enum session_end end, const char *text, struct error *err)
{
	const char *host = s->env.config->host, *user = s->env.config->user;

	switch (end) {
	case SESSION_THROTTLED:
		error_set(err, ERR_THROTTLED, "%s asks for a pause: %s", host, text);
		break;
	case SESSION_OVERQUOTA:
		error_set(err, ERR_THROTTLED, "%s lets %s fetch nothing more for now: %s", host, user, text);
		error_hint(err, "the limit ends after some hours; daily_bytes keeps below it");
		break;
	case SESSION_TOO_MANY:
		error_set(err, ERR_UNREACHABLE, "%s takes no more connections of %s: %s", host, user, text);
		error_hint(err, "close other mail programs, or set `connections` to less");
		break;
	case SESSION_NOT_CONNECTED:
		error_set(err, ERR_SIGN_IN, "%s took the sign-in but opens no mailbox for %s: %s", host, user, text);
		error_hint(err,
			"does this mailbox exist, with a licence and IMAP switched on, and may this sign-in open "
			"it (mailbox permission; service principal made with the Enterprise application's object "
			"id)? `mailtree doctor` tells more");
		break;
	case SESSION_REJECTED:
	case SESSION_EXPIRED:
		error_set(err, ERR_SIGN_IN, "%s refused to sign in %s: %s", host, user, text);
		error_hint(err, "run `mailtree doctor %s`", auth_account(s->env.auth));
		break;
	default:
		error_set(err, ERR_UNREACHABLE, "%s can't be used now: %s", host, text);
	}
}

static void refused(struct session *s, const struct imap_response *response, enum session_end plain)
{
	struct verdict verdict = verdict_of(response);
	enum session_end end = end_of(verdict.kind, plain);
	g_autofree char *text = g_strdup_printf("%.400s%s%s", *response->text ? response->text : "no reason given",
		s->challenge[0] ? "; " : "", s->challenge);
	struct error err = {0};

	if (verdict.kind == VERDICT_EXPIRED && s->state > STATE_SIGN_IN)
		end = SESSION_EXPIRED;
	refusal_error(s, end, text, &err);
	if (end == SESSION_EXPIRED)
		auth_expired(s->env.auth, s->credential.generation);
	if (end == SESSION_REJECTED)
		auth_rejected(s->env.auth, s->credential.generation, text);
	session_fail(s, end, verdict.backoff_ms, &err);
}

static void confused(struct session *s, const struct imap_response *response)
{
	struct error err = {0};

	error_set(&err, ERR_PROTOCOL, "%s:%u isn't an IMAP server as we know it; it said: %.200s", s->env.config->host,
		s->env.config->port, response->text);
	error_hint(&err, "check host, port and tls");
	session_fail(s, SESSION_FAILED, 0, &err);
}

/* ---- steps ---- */

static void step_put(struct session *s, enum state state, const char *text)
{
	s->state = state;
	conn_command_send(s->conn, &s->command, &step_ops, s, text, strlen(text));
}

static void step_send(struct session *s, enum state state, const char *text)
{
	step_put(s, state, text);
	conn_flush(s->conn);
}

static void finish(void *data)
{
	struct session *s = data;

	s->timer = NULL;
	if (s->state != STATE_COMPRESS)
		return;
	s->state = STATE_READY;
	s->ops->ready(s->ctx);
}

/* From the loop: behind COMPRESS nothing may be sent before the stream has changed. */
static void step_finish(struct session *s)
{
	s->state = STATE_COMPRESS;
	s->timer = loop_timer_add(s->env.loop, 0, finish, s);
}

static void step_compress(struct session *s)
{
	if (s->env.config->compress && (s->offer.capabilities & IMAP_CAP_COMPRESS) &&
		!auth_host_is_loopback(s->env.config->host))
		step_send(s, STATE_COMPRESS, "COMPRESS DEFLATE");
	else
		step_finish(s);
}

static const char *id_text(const struct session *s)
{
	static const char text[] = "ID (\"name\" \"mailtree\" \"version\" \"" MAILTREE_VERSION "\")";

	return s->offer.capabilities & IMAP_CAP_ID ? text : NULL;
}

static const char *enable_text(const struct session *s)
{
	uint32_t can = s->offer.capabilities;

	if (!(can & IMAP_CAP_ENABLE))
		return NULL;
	return can & IMAP_CAP_QRESYNC ? "ENABLE QRESYNC" : can & IMAP_CAP_CONDSTORE ? "ENABLE CONDSTORE" : NULL;
}

static void step_enable(struct session *s)
{
	const char *text = enable_text(s);

	if (text)
		step_send(s, STATE_ENABLE, text);
	else
		step_compress(s);
}

static void step_id(struct session *s)
{
	const char *text = id_text(s);

	if (text)
		step_send(s, STATE_ID, text);
	else
		step_enable(s);
}

/*
 * Two round trips less for each connection. Only to servers that know ENABLE (RFC 5161): the old ones, of which some
 * don't take a command before the last one is answered, don't.
 */
static void ahead_send(struct session *s)
{
	const char *texts[] = {id_text(s), enable_text(s)};

	if (!s->offer_fresh || !(s->offer.capabilities & IMAP_CAP_ENABLE))
		return;
	s->ahead_sent = true;
	for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
		if (texts[i] &&
			conn_command_send(s->conn, &s->ahead[i], &ahead_ops, s, texts[i], strlen(texts[i])) == 0)
			s->ahead_waiting++;
	}
}

static void step_ahead(struct session *s)
{
	s->state = STATE_AHEAD;
	if (!s->ahead_waiting)
		step_compress(s);
}

static void ahead_done(struct conn_command *command, const struct imap_response *tagged)
{
	struct session *s = command->ctx;

	s->ahead_waiting--;
	if (s->state == STATE_AHEAD)
		step_ahead(s);
}

static void step_first(struct session *s)
{
	if (s->offer.capabilities & IMAP_CAP_NAMESPACE)
		step_put(s, STATE_FIRST, "NAMESPACE");
	else
		step_put(s, STATE_FIRST_LIST, "LIST \"\" \"\"");
	ahead_send(s);
	conn_flush(s->conn);
	if (session_takes_early(s) && s->ops->early)
		s->ops->early(s->ctx);
}

static void first_done(struct session *s, const struct imap_response *tagged)
{
	if (tagged->status == IMAP_BAD && s->state == STATE_FIRST && verdict_of(tagged).kind == VERDICT_PLAIN) {
		step_send(s, STATE_FIRST_LIST, "LIST \"\" \"\"");
		return;
	}
	if (tagged->status != IMAP_OK) {
		refused(s, tagged, SESSION_NOT_CONNECTED);
		return;
	}
	auth_accepted(s->env.auth, s->credential.generation);
	if (s->ahead_sent)
		step_ahead(s);
	else if (s->offer_fresh)
		step_id(s);
	else
		step_send(s, STATE_CAPABILITY, "CAPABILITY");
}

/* ---- signing in ---- */

static void sign_in(struct session *s)
{
	struct error err = {0};
	GString *text = sign_in_command(&s->offer, s->env.config, &s->credential, &s->sign_in, &err);
	int code;

	if (!text) {
		session_fail(s, SESSION_IMPOSSIBLE, 0, &err);
		return;
	}
	s->state = STATE_SIGN_IN;
	code = conn_command_send(s->conn, &s->command, &sign_in_ops, s, text->str, text->len);
	sign_in_wipe(text);
	if (code) {
		error_set(&err, ERR_CONFIG, "the user name or password can't be sent: it has a line end in it");
		session_fail(s, SESSION_IMPOSSIBLE, 0, &err);
		return;
	}
	conn_flush(s->conn);
}

/* The reason why a token is refused comes as a challenge (RFC 7628 section 3.2.2, and XOAUTH2 likewise). */
static void challenge_keep(struct session *s, const struct imap_response *response)
{
	char text[CHALLENGE_TEXT_MAX];

	sign_in_challenge_read(response->text, text, sizeof(text));
	g_snprintf(s->challenge, sizeof(s->challenge), "the reason: %s", text);
}

static void sign_in_continue(struct conn_command *command, const struct imap_response *response)
{
	struct session *s = command->ctx;
	struct secret *answer;

	if (++s->challenges > SESSION_CHALLENGES_MAX) {
		confused(s, response);
		return;
	}
	if (s->sign_in.response_sent && s->credential.kind == AUTH_BEARER)
		challenge_keep(s, response);
	answer = sign_in_answer(&s->sign_in, s->env.config, &s->credential);
	conn_line_send(s->conn, secret_text(answer), secret_length(answer));
	secret_unref(answer);
}

static void greeted(struct session *s)
{
	if (!s->offer.known)
		step_send(s, STATE_OFFER, "CAPABILITY");
	else
		sign_in(s);
}

static void sign_in_done(struct session *s, const struct imap_response *tagged)
{
	if (tagged->status == IMAP_OK)
		step_first(s);
	else
		refused(s, tagged, SESSION_REJECTED);
}

static void step_done(struct conn_command *command, const struct imap_response *tagged)
{
	struct session *s = command->ctx;

	if (tagged->status == IMAP_OK && tagged->code && strcmp(tagged->code, "CAPABILITY") == 0) {
		offer_read(&s->offer, tagged->code_values, tagged->code_values_count);
		s->offer_fresh = s->state >= STATE_SIGN_IN;
	}
	switch (s->state) {
	case STATE_OFFER:
		if (s->offer.known)
			sign_in(s);
		else
			confused(s, tagged);
		break;
	case STATE_SIGN_IN:
		sign_in_done(s, tagged);
		break;
	case STATE_FIRST:
	case STATE_FIRST_LIST:
		first_done(s, tagged);
		break;
	case STATE_CAPABILITY:
		step_id(s);
		break;
	case STATE_ID:
		step_enable(s);
		break;
	case STATE_ENABLE:
		step_compress(s);
		break;
	case STATE_COMPRESS:
		if (tagged->status == IMAP_OK)
			conn_compress(s->conn);
		step_finish(s);
		break;
	default:
		break;
	}
}

/* ---- what the connection says ---- */

static void greeting(struct session *s, const struct imap_response *response)
{
	if (response->type != IMAP_UNTAGGED || (response->status != IMAP_OK && response->status != IMAP_PREAUTH)) {
		if (response->type == IMAP_UNTAGGED)
			refused(s, response, SESSION_FAILED);
		else
			confused(s, response);
		return;
	}
	if (response->code && strcmp(response->code, "CAPABILITY") == 0)
		offer_read(&s->offer, response->code_values, response->code_values_count);
	if (response->status == IMAP_PREAUTH) {
		s->offer_fresh = s->offer.known;
		step_first(s);
	} else {
		greeted(s);
	}
}

static void on_connected(void *ctx)
{
	struct session *s = ctx;

	log_debug("imap: connected to %s:%u", s->env.config->host, s->env.config->port);
	s->state = STATE_GREETING;
	/* behind STARTTLS the greeting has been read, and what it offered doesn't count (RFC 3501 section 6.2.1) */
	if (s->env.config->tls == STREAM_TLS_STARTTLS)
		greeted(s);
}

static void on_response(void *ctx, const struct imap_response *response)
{
	struct session *s = ctx;

	if (s->state == STATE_GREETING) {
		greeting(s, response);
		return;
	}
	switch (response->type) {
	case IMAP_CAPABILITY:
		offer_read(&s->offer, response->values, response->values_count);
		s->offer_fresh = s->state >= STATE_SIGN_IN;
		break;
	case IMAP_ENABLED:
		for (uint32_t i = 0; i < response->values_count; i++) {
			if (imap_value_is(&response->values[i], "QRESYNC"))
				s->enabled |= IMAP_CAP_QRESYNC | IMAP_CAP_CONDSTORE;
			else if (imap_value_is(&response->values[i], "CONDSTORE"))
				s->enabled |= IMAP_CAP_CONDSTORE;
		}
		break;
	case IMAP_UNTAGGED:
		if (response->code && strcmp(response->code, "CAPABILITY") == 0) {
			offer_read(&s->offer, response->code_values, response->code_values_count);
			s->offer_fresh = s->state >= STATE_SIGN_IN;
		}
		if (response->code && strcmp(response->code, "ALERT") == 0)
			log_warning("%s says: %s", s->env.config->host, response->text);
		if (response->status == IMAP_BYE)
			refused(s, response, SESSION_FAILED);
		break;
	case IMAP_LIST_RESPONSE:
	case IMAP_STATUS_RESPONSE:
		/* the answer to our own names nothing: `LIST (\Noselect) "/" ""` */
		if (s->ops->response)
			s->ops->response(s->ctx, response);
		break;
	default:
		break;
	}
}

static void on_lost(void *ctx, const struct error *err)
{
	session_fail(ctx, SESSION_FAILED, 0, err);
}

static const struct conn_ops conn_ops = {.connected = on_connected, .response = on_response, .lost = on_lost};

/* ---- its life ---- */

static void on_credential(void *ctx, const struct credential *credential, const struct error *err)
{
	struct session *s = ctx;
	const struct imap_client_config *config = s->env.config;
	struct stream_target target = {config->host, config->port, config->tls, config->ca_file};
	struct error problem = {0};

	s->fill = NULL;
	if (!credential) {
		session_fail(s, SESSION_NO_CREDENTIAL, 0, err);
		return;
	}
	credential_copy(&s->credential, credential);
	s->state = STATE_CONNECT;
	s->began_ms = 0;
	s->conn = conn_new(
		s->env.loop, s->env.factory, &target, s->env.bucket, s->env.counters, &conn_ops, s, &problem);
	if (!s->conn)
		session_fail(s, SESSION_IMPOSSIBLE, 0, &problem);
}

static void begin(void *data)
{
	struct session *s = data;
	const struct imap_client_config *config = s->env.config;
	struct auth_fill *fill;
	struct error err = {0};

	s->timer = NULL;
	if (config->tls == STREAM_TLS_NONE && !auth_host_is_loopback(config->host)) {
		error_set(&err, ERR_CONFIG, "tls = none would send the sign-in to %s unencrypted", config->host);
		error_hint(&err, "set tls = implicit or starttls");
		session_fail(s, SESSION_IMPOSSIBLE, 0, &err);
		return;
	}
	s->state = STATE_CREDENTIAL;
	fill = auth_fill(s->env.auth, on_credential, s);
	if (s->state == STATE_CREDENTIAL)
		s->fill = fill;
}

struct session *session_new(const struct session_env *env, const struct session_ops *ops, void *ctx)
{
	struct session *s = g_new0(struct session, 1);

	s->env = *env;
	s->ops = ops;
	s->ctx = ctx;
	s->timer = loop_timer_add(env->loop, 0, begin, s);
	return s;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	loop_timer_cancel(s->timer);
	auth_fill_cancel(s->fill);
	conn_free(s->conn);
	credential_fini(&s->credential);
	g_free(s);
}

static void timed_out(struct session *s, const char *what, uint64_t after_ms)
{
	const struct imap_client_config *config = s->env.config;
	struct error err = {0};

	error_set(&err, s->state == STATE_CONNECT ? ERR_UNREACHABLE : ERR_TIMEOUT, "%s:%u: %s after %.1f s",
		config->host, config->port, what, (double)after_ms / 1000);
	if (s->state == STATE_GREETING && config->tls == STREAM_TLS_NONE)
		error_hint(&err, "does this port speak TLS from the first byte? Then set tls = implicit");
	session_fail(s, SESSION_FAILED, 0, &err);
}

bool session_tick(struct session *s, uint64_t now_ms)
{
	uint32_t timeout_ms = s->env.config->timeout_ms;
	uint64_t bytes = s->conn ? conn_bytes_in(s->conn) : 0;
	bool progress = bytes != s->bytes_seen || s->state != s->state_seen;

	/* how long a credential may take is auth's business */
	if (!s->conn || s->state == STATE_READY || s->state == STATE_ENDED)
		return false;
	if (!s->began_ms)
		s->began_ms = s->progress_ms = now_ms;
	if (progress) {
		s->bytes_seen = bytes;
		s->state_seen = s->state;
		s->progress_ms = now_ms;
	}
	if (s->state == STATE_CONNECT) {
		if (now_ms - s->began_ms >= MIN(timeout_ms, SESSION_CONNECT_MS))
			timed_out(s, "no connection", now_ms - s->began_ms);
	} else if (now_ms - s->progress_ms >= timeout_ms) {
		timed_out(s, "silence while signing in", now_ms - s->progress_ms);
	} else if (now_ms - s->began_ms >= (uint64_t)timeout_ms + SESSION_LONGER_MS) {
		timed_out(s, "still not signed in", now_ms - s->began_ms);
	}
	return progress;
}

bool session_takes_early(const struct session *s)
{
	return s->ahead_sent && (s->state == STATE_FIRST || s->state == STATE_AHEAD);
}

struct conn *session_conn(const struct session *s)
{
	return s->conn;
}

struct conn *session_take(struct session *s)
{
	return g_steal_pointer(&s->conn);
}

uint32_t session_capabilities(const struct session *s)
{
	uint32_t modseq = IMAP_CAP_QRESYNC;

	/* QRESYNC counts once it is enabled (RFC 7162 section 3.2.3) */
	return (s->offer.capabilities & ~modseq) | (s->enabled & modseq);
}

bool session_is_enabled(const struct session *s)
{
	return s->enabled != 0;
}

uint32_t session_generation(const struct session *s)
{
	return s->credential.generation;
}
