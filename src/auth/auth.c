/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state machine. A credential is fresh (given at once), stale (still good, but renewed when asked for), or
 * spent (rejected or expired: never given again). At most one task obtains a new one; while a refusal or a backoff
 * lasts, none does. All state is the loop thread's; a task works on its own copy.
 */
#include "src/auth/flow.h"
#include "src/auth/internal.h"
#include "src/auth/notice.h"
#include "src/auth/source.h"
#include "src/auth/task.h"
#include "src/base/log.h"
#include "src/base/loop.h"

#include <glib.h>
#include <stdatomic.h>
#include <string.h>

#include "src/base/banned.h"

#define PATIENCE_MS 5000u
#define BACKOFF_FIRST_MS 1000u
#define BACKOFF_MAX_MS 60000u          /* an endpoint out of reach */
#define BACKOFF_OUTSIDE_MAX_MS 300000u /* a failing command: it may ask somebody each time */
#define PASSWORD_ATTEMPTS_MAX 3u
#define NEVER UINT64_MAX

static const uint64_t refusal_delays_ms[] = {60000, 5 * 60000, 15 * 60000, 30 * 60000};

/* What tasks may read: immutable, and outliving the auth while a task runs. */
struct shared {
	atomic_uint references;
	struct auth_config config;
};

struct auth {
	unsigned references; /* one, and one while callbacks run */
	struct loop *loop;
	struct shared *shared;
	char *account;
	struct secret *literals[2]; /* alive, so that the log is scrubbed of what the configuration holds */
	struct auth_tuning tuning;

	bool have;
	bool spent;   /* must not be given again */
	bool expired; /* that is why it is spent */
	bool stale;   /* what it was read from has changed */
	bool stamp_known;
	struct credential current;
	uint32_t generation;              /* of the newest credential there ever was */
	uint64_t renew_at_ms, ends_at_ms; /* of `current` */
	uint64_t stamp;                   /* of the files, when they were last read */
	struct secret *unsaved;           /* a refresh token that couldn't be stored; NULL = none */
	uint64_t unsaved_stamp;

	auth_reload_fn reload; /* NULL = the configuration never changes */
	void *reload_ctx;
	char *config_file;
	uint64_t config_stamp;

	bool retried; /* the one new token after a rejection has been asked for */
	bool refused;
	bool notified;
	unsigned refusals; /* in a row */
	unsigned failures; /* in a row, without a refusal */
	unsigned attempts; /* rejected passwords */
	uint64_t blocked_until_ms;
	struct error last_error;
	uint32_t requests;

	GQueue fills; /* of struct auth_fill, the oldest first */
	uint64_t serial;
	struct auth_task *task, *notice;
	struct loop_timer *patience;
	bool impatient; /* the task takes long: what is still good will do */
};

struct auth_fill {
	struct auth *auth;
	GList *link;
	uint64_t serial;
	auth_fill_fn done;
	void *ctx;
};

struct job {
	struct auth *auth; /* the loop's thread only */
	struct shared *shared;
	struct secret *spent, *unsaved;
	struct auth_flow flow;
	struct auth_obtained obtained;
	struct error err;
	int rc;
	uint64_t asked_ms, stamp;
	int64_t asked_unix;
};

static struct shared *shared_ref(struct shared *shared)
{
	atomic_fetch_add(&shared->references, 1);
	return shared;
}

static void shared_unref(struct shared *shared)
{
	if (atomic_fetch_sub(&shared->references, 1) != 1)
		return;
	auth_config_fini(&shared->config);
	g_free(shared);
}

void credential_copy(struct credential *to, const struct credential *from)
{
	*to = *from;
	secret_ref(to->secret);
}

void credential_fini(struct credential *credential)
{
	secret_unref(credential->secret);
	*credential = (struct credential){0};
}

static struct shared *shared_new(struct auth_config *config)
{
	struct shared *shared = g_new0(struct shared, 1);

	atomic_init(&shared->references, 1);
	shared->config = *config;
	*config = (struct auth_config){0};
	return shared;
}

static struct secret *literal_new(const struct auth_source *source)
{
	return source->value ? secret_new(source->value, strlen(source->value)) : NULL;
}

/* Takes over the caller's reference. */
static void shared_use(struct auth *auth, struct shared *shared)
{
	if (auth->shared)
		shared_unref(auth->shared);
	for (size_t i = 0; i < G_N_ELEMENTS(auth->literals); i++)
		secret_unref(auth->literals[i]);
	auth->shared = shared;
	auth->literals[0] = literal_new(&shared->config.client_secret);
	auth->literals[1] = literal_new(&shared->config.password);
}

int auth_new(struct loop *loop, struct auth_config *config, struct auth **auth_out, struct error *err)
{
	int rc = auth_config_check(config, err);
	struct auth *auth;

	if (rc != 0) {
		if (config->account)
			error_prefix(err, "[%s]", config->account);
		auth_config_fini(config);
		return rc;
	}
	auth = g_new0(struct auth, 1);
	auth->references = 1;
	auth->loop = loop;
	auth->account = g_strdup(config->account);
	shared_use(auth, shared_new(config));
	auth->tuning = (struct auth_tuning){AUTH_HTTP_TIMEOUT_MS, AUTH_COMMAND_TIMEOUT_MS, PATIENCE_MS, clock_ms};
	g_queue_init(&auth->fills);
	*auth_out = auth;
	return 0;
}

void auth_set_reload(struct auth *auth, const char *config_file, auth_reload_fn reload, void *ctx)
{
	g_free(auth->config_file);
	auth->config_file = g_strdup(config_file);
	auth->config_stamp = auth_source_file_stamp(config_file);
	auth->reload = reload;
	auth->reload_ctx = ctx;
}

void auth_tune(struct auth *auth, const struct auth_tuning *tuning)
{
	struct auth_tuning *own = &auth->tuning;

	own->http_timeout_ms = tuning->http_timeout_ms ? tuning->http_timeout_ms : own->http_timeout_ms;
	own->command_timeout_ms = tuning->command_timeout_ms ? tuning->command_timeout_ms : own->command_timeout_ms;
	own->patience_ms = tuning->patience_ms ? tuning->patience_ms : own->patience_ms;
	own->now_ms = tuning->now_ms ? tuning->now_ms : own->now_ms;
}

static void auth_unref(struct auth *auth)
{
	if (--auth->references > 0)
		return;
	credential_fini(&auth->current);
	secret_unref(auth->unsaved);
	secret_unref(auth->literals[0]);
	secret_unref(auth->literals[1]);
	shared_unref(auth->shared);
	g_free(auth->account);
	g_free(auth->config_file);
	g_free(auth);
}

void auth_free(struct auth *auth)
{
	if (!auth)
		return;
	g_queue_clear_full(&auth->fills, g_free);
	loop_timer_cancel(auth->patience);
	auth_task_abandon(auth->task);
	auth_task_abandon(auth->notice);
	auth_unref(auth);
}

static uint64_t now_ms(const struct auth *auth)
{
	return auth->tuning.now_ms();
}

/* May still be given. */
static bool is_usable(const struct auth *auth)
{
	return auth->have && !auth->spent && now_ms(auth) < auth->ends_at_ms;
}

static bool is_fresh(const struct auth *auth)
{
	return is_usable(auth) && !auth->stale && now_ms(auth) < auth->renew_at_ms;
}

/* Telling a person: once until a sign-in succeeds. */
static void notify(struct auth *auth)
{
	const struct error *err = &auth->last_error;
	const char *command = auth->shared->config.notify_command;
	g_autofree char *hint = *err->hint ? g_strdup_printf(" (%s)", err->hint) : g_strdup("");
	g_autofree char *reason = g_strconcat(auth->account, ": ", err->text, hint, NULL);

	if (auth->notified)
		return;
	auth->notified = true;
	/* whoever asked for the credential tells it as a warning, once */
	log_info("sign-in needed: %s", reason);
	if (command && !auth->notice)
		auth_notice_start(auth->loop, command, reason, auth->tuning.command_timeout_ms, &auth->notice);
}

/* Refusals and waiting */

static void lift(struct auth *auth)
{
	auth->retried = auth->refused = auth->notified = false;
	auth->refusals = auth->failures = auth->attempts = 0;
	auth->blocked_until_ms = 0;
}

static void refuse(struct auth *auth)
{
	uint64_t delay_ms = refusal_delays_ms[MIN(auth->refusals, G_N_ELEMENTS(refusal_delays_ms) - 1)];

	auth->refused = true;
	auth->refusals++;
	auth->blocked_until_ms = auth->attempts >= PASSWORD_ATTEMPTS_MAX ? NEVER : now_ms(auth) + delay_ms;
	notify(auth);
}

static void back_off(struct auth *auth, int64_t retry_after_s)
{
	uint64_t most_ms = auth->last_error.code == ERR_SIGN_IN ? BACKOFF_OUTSIDE_MAX_MS : BACKOFF_MAX_MS;
	uint64_t delay_ms = MIN((uint64_t)BACKOFF_FIRST_MS << MIN(auth->failures, 16), most_ms);

	auth->failures++;
	auth->blocked_until_ms = now_ms(auth) + MAX(delay_ms, (uint64_t)retry_after_s * 1000);
	if (auth->last_error.code == ERR_SIGN_IN)
		notify(auth);
}

/* What is mounted belongs to a user; another one, or another kind of credential, needs another mount. */
static int config_fits(const struct auth *auth, const struct auth_config *config, struct error *err)
{
	const struct auth_config *old = &auth->shared->config;
	int rc = auth_config_check(config, err);

	if (rc == 0 && (strcmp(config->user, old->user) != 0 || config->method != old->method))
		rc = error_set(err, ERR_CONFIG, "another `user` or `auth` takes effect with the next mount");
	return rc;
}

static void config_check(struct auth *auth)
{
	uint64_t stamp = auth->reload ? auth_source_file_stamp(auth->config_file) : 0;
	struct auth_config config = {0};
	struct error err = {0};
	int rc;

	if (stamp == auth->config_stamp)
		return;
	auth->config_stamp = stamp;
	rc = auth->reload(auth->reload_ctx, &config, &err);
	rc = rc ? rc : config_fits(auth, &config, &err);
	if (rc == 0) {
		log_info("%s: the configuration has changed and is read again", auth->account);
		shared_use(auth, shared_new(&config));
		lift(auth);
	} else {
		log_warning("%s: the changed configuration isn't used: %s", auth->account, err.text);
	}
	auth_config_fini(&config);
}

/* A changed file is as good as auth_retry_now(). */
static void sources_check(struct auth *auth)
{
	uint64_t stamp;

	config_check(auth);
	stamp = auth_source_stamp(&auth->shared->config);
	if (!auth->stamp_known || stamp == auth->stamp)
		return;
	auth->stamp = stamp;
	/* a token of the client's own doesn't get worse when the secret changes */
	if (auth->shared->config.method != AUTH_CLIENT_CREDENTIALS)
		auth->stale = true;
	lift(auth);
}

/* Answers */

static void answer_one(struct auth *auth, auth_fill_fn done, void *ctx)
{
	/* copies: the callback may free the auth */
	struct error err = auth->last_error;
	struct credential credential = {0};

	if (is_usable(auth)) {
		credential_copy(&credential, &auth->current);
		done(ctx, &credential, NULL);
		credential_fini(&credential);
	} else {
		done(ctx, NULL, &err);
	}
}

static void answer_all(struct auth *auth)
{
	/* who asks from within a callback waits for the next answer */
	uint64_t last = auth->serial;
	struct auth_fill *fill;

	auth->references++;
	while ((fill = g_queue_peek_head(&auth->fills)) && fill->serial <= last) {
		auth_fill_fn done = fill->done;
		void *ctx = fill->ctx;

		g_queue_pop_head(&auth->fills);
		g_free(fill);
		answer_one(auth, done, ctx);
	}
	auth_unref(auth);
}

static void impatient(void *data)
{
	struct auth *auth = data;

	auth->patience = NULL;
	auth->impatient = true;
	if (is_usable(auth))
		answer_all(auth);
}

/* Obtaining */

static void job_work(void *ctx, int cancel_fd)
{
	struct job *job = ctx;

	job->flow.cancel_fd = cancel_fd;
	job->rc = auth_flow_run(&job->flow, &job->obtained, &job->err);
}

static void job_destroy(void *ctx)
{
	struct job *job = ctx;

	secret_unref(job->obtained.secret);
	secret_unref(job->obtained.unsaved);
	secret_unref(job->spent);
	secret_unref(job->unsaved);
	shared_unref(job->shared);
	g_free(job);
}

static void adopt(struct auth *auth, struct job *job)
{
	int64_t life_s = job->obtained.life_s;
	uint64_t life_ms = life_s < 0 ? 0 : (uint64_t)life_s * 1000;

	credential_fini(&auth->current);
	auth->current = (struct credential){
		.kind = auth_is_password(auth) ? AUTH_PASSWORD_KIND : AUTH_BEARER,
		.secret = g_steal_pointer(&job->obtained.secret),
		.expires_at = life_s < 0 ? INT64_MAX : job->asked_unix + life_s,
		.generation = ++auth->generation,
	};
	auth->have = true;
	auth->spent = auth->expired = false;
	auth->ends_at_ms = life_s < 0 ? NEVER : job->asked_ms + life_ms;
	auth->renew_at_ms = life_s < 0 ? NEVER : auth->ends_at_ms - MIN(AUTH_MARGIN_MAX_S * 1000u, life_ms / 5);
	auth->refused = false;
	auth->failures = 0;
	auth->blocked_until_ms = 0;
	/* what the server said about the last one counts until it takes this one */
	if (!auth->retried)
		auth->last_error = (struct error){0};
	if (life_s >= 0)
		log_info("%s: new credential, good for %" G_GINT64_FORMAT " s", auth_account(auth), life_s);
}

/* Reading the same expired token again and again leads nowhere. */
static bool is_expired_one(const struct auth *auth, const struct job *job)
{
	enum auth_method method = auth->shared->config.method;

	return (method == AUTH_TOKEN_COMMAND || method == AUTH_TOKEN_FILE) && auth->spent && auth->expired &&
	       secret_equal(job->obtained.secret, auth->current.secret);
}

static bool job_start(struct auth *auth);

static void job_done(void *ctx)
{
	struct job *job = ctx;
	struct auth *auth = job->auth;

	auth->task = NULL;
	loop_timer_cancel(g_steal_pointer(&auth->patience));
	auth->requests += job->flow.requests;
	if (job->obtained.stamp)
		auth->stamp = job->obtained.stamp;
	if (job->obtained.unsaved || job->rc == 0) {
		secret_unref(auth->unsaved);
		auth->unsaved = g_steal_pointer(&job->obtained.unsaved);
		auth->unsaved_stamp = job->obtained.stamp;
	}
	if (job->rc == 0 && is_expired_one(auth, job))
		job->rc = error_set(&job->err, ERR_SIGN_IN, "%s gives the token that the server calls expired",
			auth->shared->config.token.command ? "token_command" : "token_file");
	if (job->rc == 0) {
		adopt(auth, job);
		auth->stale = !job->obtained.stamp && job->stamp != auth->stamp;
	} else if (job->shared != auth->shared && job_start(auth)) {
		/* by a configuration that was corrected meanwhile */
		return;
	} else {
		auth->last_error = job->err;
		auth->spent |= job->obtained.forgotten;
		log_info("%s: no new credential: %s", auth_account(auth), job->err.text);
		if (job->obtained.refused)
			refuse(auth);
		else
			back_off(auth, job->obtained.retry_after_s);
	}
	answer_all(auth);
}

static bool job_start(struct auth *auth)
{
	struct job *job = g_new0(struct job, 1);

	auth->stamp = auth_source_stamp(&auth->shared->config);
	auth->stamp_known = true;
	job->auth = auth;
	job->shared = shared_ref(auth->shared);
	job->spent = auth->have && auth->spent ? secret_ref(auth->current.secret) : NULL;
	job->stamp = auth->stamp;
	job->unsaved = secret_ref(auth->unsaved);
	job->asked_ms = now_ms(auth);
	job->asked_unix = clock_unix();
	job->flow = (struct auth_flow){.config = &auth->shared->config,
		.cancel_fd = -1,
		.http_timeout_ms = auth->tuning.http_timeout_ms,
		.command_timeout_ms = auth->tuning.command_timeout_ms,
		.spent = job->spent,
		.unsaved = job->unsaved,
		.unsaved_stamp = auth->unsaved_stamp};
	auth->impatient = false;
	auth->task = auth_task_start(auth->loop, job_work, job_done, job_destroy, job);
	if (!auth->task) {
		error_set(&auth->last_error, ERR_FAILED, "no thread can be started to get a credential");
		return false;
	}
	if (is_usable(auth))
		auth->patience = loop_timer_add(auth->loop, auth->tuning.patience_ms, impatient, auth);
	return true;
}

/* The three verbs */

struct auth_fill *auth_fill(struct auth *auth, auth_fill_fn done, void *ctx)
{
	struct auth_fill *fill;
	bool wait;

	sources_check(auth);
	if (is_fresh(auth))
		wait = false;
	else if (auth->task)
		wait = !(auth->impatient && is_usable(auth));
	else
		wait = now_ms(auth) >= auth->blocked_until_ms && job_start(auth);
	if (!wait) {
		answer_one(auth, done, ctx);
		return NULL;
	}
	fill = g_new(struct auth_fill, 1);
	*fill = (struct auth_fill){.auth = auth, .serial = ++auth->serial, .done = done, .ctx = ctx};
	g_queue_push_tail(&auth->fills, fill);
	fill->link = auth->fills.tail;
	return fill;
}

void auth_fill_cancel(struct auth_fill *fill)
{
	if (!fill)
		return;
	/* what is under way goes on: its result serves the next */
	g_queue_delete_link(&fill->auth->fills, fill->link);
	g_free(fill);
}

static bool is_current(const struct auth *auth, uint32_t generation)
{
	return auth->have && !auth->spent && auth->current.generation == generation;
}

void auth_accepted(struct auth *auth, uint32_t generation)
{
	if (!is_current(auth, generation))
		return;
	auth->retried = auth->notified = false;
	auth->attempts = 0;
	/* an endpoint that refuses the next token isn't forgotten because the last one still works */
	if (auth->refused)
		return;
	auth->refusals = 0;
	if (auth->blocked_until_ms == 0)
		auth->last_error = (struct error){0};
}

void auth_rejected(struct auth *auth, uint32_t generation, const char *server_text)
{
	const struct auth_config *config = &auth->shared->config;

	if (!is_current(auth, generation))
		return;
	auth->spent = true;
	auth->expired = false;
	error_set(&auth->last_error, ERR_SIGN_IN, "the server refused to sign in %s: %.400s", config->user,
		server_text && *server_text ? server_text : "no reason given");
	if (auth_is_password(auth)) {
		auth->attempts++;
		error_hint(&auth->last_error, "check user and password, and whether the server still takes passwords");
	} else {
		error_hint(&auth->last_error, "run `mailtree doctor %s`", config->account);
	}
	if (auth->retried)
		refuse(auth);
	auth->retried = true;
}

void auth_expired(struct auth *auth, uint32_t generation)
{
	if (is_current(auth, generation))
		auth->spent = auth->expired = true;
}

void auth_retry_now(struct auth *auth)
{
	lift(auth);
}

bool auth_is_password(const struct auth *auth)
{
	return auth->shared->config.method == AUTH_PASSWORD;
}

const char *auth_account(const struct auth *auth)
{
	return auth->account;
}

void auth_state(const struct auth *auth, struct auth_state *state_out)
{
	bool usable = is_usable(auth);

	*state_out = (struct auth_state){
		.have_token = usable,
		.refused = auth->refused && !usable && auth->last_error.code == ERR_SIGN_IN,
		.expires_at = usable ? auth->current.expires_at : 0,
		.requests = auth->requests,
		.last_error = auth->last_error,
	};
}
