/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/imap/client_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/base/banned.h"

struct fake_auth fake_auth;
const size_t world_chunks[3] = {0, 1, 7};

static size_t only_cut = SIZE_MAX;

bool world_has_cut(size_t cut)
{
	return only_cut == SIZE_MAX || only_cut == cut;
}

/* Not to return from: the child's. */
static pid_t cut_begin(size_t cut, int (*run)(void), FILE *output)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid != 0)
		return pid;
	dup2(fileno(output), STDOUT_FILENO);
	dup2(fileno(output), STDERR_FILENO);
	only_cut = cut;
	exit(run() ? EXIT_FAILURE : EXIT_SUCCESS);
}

static bool cut_end(pid_t pid, FILE *output)
{
	char text[4096];
	size_t length;
	int status;
	bool passed = waitpid(pid, &status, 0) == pid && status == 0;

	rewind(output);
	while (!passed && (length = fread(text, 1, sizeof(text), output)) > 0)
		fwrite(text, 1, length, stderr);
	fclose(output);
	return passed;
}

int world_run_cuts(int (*run)(void))
{
	pid_t children[G_N_ELEMENTS(world_chunks)];
	FILE *outputs[G_N_ELEMENTS(world_chunks)];
	int failed;

	for (size_t cut = 1; cut < G_N_ELEMENTS(world_chunks); cut++) {
		outputs[cut] = tmpfile();
		children[cut] = cut_begin(cut, run, outputs[cut]);
	}
	only_cut = 0;
	failed = run();
	for (size_t cut = 1; cut < G_N_ELEMENTS(world_chunks); cut++)
		failed += !cut_end(children[cut], outputs[cut]);
	return failed;
}

/* ---- auth, as the client sees it ---- */

struct auth {
	int none;
};
static struct auth the_auth;

struct auth_fill {
	auth_fill_fn done;
	void *ctx;
	struct loop_timer *timer;
};
static struct loop *auth_loop;

static void fill_answer(auth_fill_fn done, void *ctx)
{
	struct error err = {0};
	struct credential credential = {.kind = fake_auth.kind, .expires_at = INT64_MAX};

	if (fake_auth.refused) {
		error_set(&err, ERR_SIGN_IN, "the fake auth says no");
		done(ctx, NULL, &err);
		return;
	}
	if (fake_auth.spent) {
		fake_auth.spent = false;
		fake_auth.generation++;
	}
	credential.generation = fake_auth.generation;
	credential.secret = secret_new(fake_auth.secret, strlen(fake_auth.secret));
	done(ctx, &credential, NULL);
	credential_fini(&credential);
}

static void fill_run(void *data)
{
	struct auth_fill fill = *(struct auth_fill *)data;

	g_free(data);
	fill_answer(fill.done, fill.ctx);
}

struct auth_fill *auth_fill(struct auth *auth, auth_fill_fn done, void *ctx)
{
	struct auth_fill *fill;

	fake_auth.fills++;
	if (!fake_auth.slow) {
		fill_answer(done, ctx);
		return NULL;
	}
	fill = g_new(struct auth_fill, 1);
	*fill = (struct auth_fill){done, ctx, loop_timer_add(auth_loop, 5, fill_run, fill)};
	return fill;
}

void auth_fill_cancel(struct auth_fill *fill)
{
	if (!fill)
		return;
	loop_timer_cancel(fill->timer);
	g_free(fill);
}

void auth_accepted(struct auth *auth, uint32_t generation)
{
	assert_int_equal(generation, fake_auth.generation);
	fake_auth.accepted++;
}

void auth_rejected(struct auth *auth, uint32_t generation, const char *server_text)
{
	assert_int_equal(generation, fake_auth.generation);
	fake_auth.rejected++;
	fake_auth.spent = true;
	g_strlcpy(fake_auth.text, server_text, sizeof(fake_auth.text));
}

void auth_expired(struct auth *auth, uint32_t generation)
{
	if (generation != fake_auth.generation)
		return;
	fake_auth.expired++;
	fake_auth.spent = true;
}

const char *auth_account(const struct auth *auth)
{
	return "work";
}

void credential_copy(struct credential *to, const struct credential *from)
{
	*to = *from;
	secret_ref(to->secret);
}

void credential_fini(struct credential *credential)
{
	secret_unref(credential->secret);
	credential->secret = NULL;
}

/* ---- requests ---- */

static void event(struct ask *ask, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void event(struct ask *ask, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	g_string_append_printf(ask->events, "%s%s", ask->events->len ? ";" : "", text);
	if (ask->on_event)
		ask->on_event(ask, text);
}

static void on_examined(void *ctx, const struct imap_mailbox *mailbox)
{
	event(ctx, "examined %u %u", mailbox->uidvalidity, mailbox->exists);
}

static void on_response(void *ctx, const struct imap_response *response)
{
	if (response->type == IMAP_FETCH)
		event(ctx, "fetch %u", response->fetch.uid);
	else if (response->type == IMAP_LIST_RESPONSE)
		event(ctx, "list %s", response->list.name);
	else if (response->type == IMAP_VANISHED)
		event(ctx, "vanished");
	else if (response->type == IMAP_EXPUNGE)
		event(ctx, "expunge %u", response->number);
	else
		event(ctx, "response %d", (int)response->type);
}

static bool on_body_begin(void *ctx, const struct imap_literal *literal)
{
	struct ask *ask = ctx;

	ask->body_bytes = 0;
	event(ask, "body %u", (unsigned)literal->size_bytes);
	return true;
}

static int on_body_data(void *ctx, const char *bytes, size_t length)
{
	struct ask *ask = ctx;

	ask->body_bytes += length;
	if (ask->on_event)
		ask->on_event(ask, "data");
	return ask->data_code;
}

static void on_body_end(void *ctx)
{
	struct ask *ask = ctx;

	event(ask, "end %u", (unsigned)ask->body_bytes);
}

static void on_restart(void *ctx)
{
	event(ctx, "restart");
}

static void on_done(void *ctx, int code, const struct error *err)
{
	struct ask *ask = ctx;

	assert_false(ask->done);
	assert_non_null(err);
	assert_int_equal(code, err->code);
	ask->done = true;
	ask->code = code;
	ask->err = *err;
	ask->done_at_ms = clock_ms();
	if (code)
		event(ask, "%s", error_name(code));
	else
		event(ask, "ok");
	if (++ask->world->answered >= ask->world->asked)
		ask->world->stop = true;
}

static const struct imap_request_ops ask_ops = {
	.examined = on_examined,
	.response = on_response,
	.body_begin = on_body_begin,
	.body_data = on_body_data,
	.body_end = on_body_end,
	.restart = on_restart,
	.done = on_done,
};

const struct imap_request_ops world_ops_without_bodies = {
	.examined = on_examined, .response = on_response, .restart = on_restart, .done = on_done};

/* ---- the world ---- */

void world_init(struct world *w, size_t chunk)
{
	memset(w, 0, sizeof(*w));
	w->loop = auth_loop = loop_new();
	script_server_init(&w->server, chunk);
	w->config = (struct imap_client_config){
		.host = "127.0.0.1",
		.port = 143,
		.tls = STREAM_TLS_NONE,
		.user = "olena@contoso.example",
		.connections = 1,
		.timeout_ms = 5000,
		.throttle_wait_ms = 5000,
		.depth = CLIENT_DEPTH_DEFAULT,
	};
	w->tuning = (struct client_tuning){.slow_window_ms = 60000,
		.idle_ms = 60000,
		.retry_ms = 10,
		.retry_max_ms = 50,
		.down_ms = 100,
		.refused_ms = 100,
		.not_connected_ms = 10,
		.pause_ms = 20,
		.pause_max_ms = 100,
		.limit_ms = 60000,
		.lane_ms = 60000,
		.watch_quiet_ms = 20,
		.watch_rearm_ms = 60000,
		.watch_good_ms = 1000,
		.watch_retry_max_ms = 50};
	fake_auth = (struct fake_auth){.kind = AUTH_BEARER, .secret = "EwToken.of-the.app", .generation = 1};
}

void world_fini(struct world *w)
{
	assert_string_equal(w->server.wrong->str, "");
	imap_client_free(w->client);
	assert_int_equal(w->server.alive, 0);
	script_server_fini(&w->server);
	loop_free(w->loop);
	for (unsigned i = 0; i < w->asked; i++)
		g_string_free(w->asks[i].events, TRUE);
}

void world_start(struct world *w)
{
	if (w->client)
		return;
	w->client = imap_client_new(w->loop, &w->config, &the_auth, &w->server.factory);
	client_tune(w->client, &w->tuning);
}

struct ask *world_ask_with(struct world *w, const struct imap_request *like)
{
	struct ask *ask = &w->asks[w->asked++];

	assert_true(w->asked <= ASKS_MAX);
	world_start(w);
	ask->world = w;
	ask->events = g_string_new(NULL);
	ask->request = *like;
	if (!ask->request.ops)
		ask->request.ops = &ask_ops;
	ask->request.ctx = ask;
	w->stop = false;
	imap_client_submit(w->client, &ask->request);
	assert_false(ask->done); /* never from inside submit */
	return ask;
}

struct ask *world_ask(struct world *w, const char *mailbox, const char *command)
{
	return world_ask_with(w, &(struct imap_request){.mailbox = mailbox, .command = command});
}

static void overdue(void *data)
{
	struct world *w = data;

	w->overdue = w->stop = true;
}

void world_run(struct world *w)
{
	struct loop_timer *guard = loop_timer_add(w->loop, WORLD_PATIENCE_MS, overdue, w);

	w->stop = w->answered >= w->asked;
	loop_run_until(w->loop, &w->stop);
	if (w->overdue)
		fail_msg("nothing more happens; the script says: %s", w->server.wrong->str);
	loop_timer_cancel(guard);
}

void world_until_sent(struct world *w, const char *text)
{
	for (unsigned i = 0; i < WORLD_PATIENCE_MS && !strstr(w->server.log->str, text); i++)
		world_run_ms(w, 1);
	assert_non_null(strstr(w->server.log->str, text));
}

static void elapsed(void *data)
{
	*(bool *)data = true;
}

void world_run_ms(struct world *w, unsigned ms)
{
	bool over = false;

	loop_timer_add(w->loop, ms, elapsed, &over);
	loop_run_until(w->loop, &over);
}

void world_until_opened(struct world *w, unsigned connections)
{
	for (unsigned i = 0; i < 1000 && w->server.opened < connections; i++)
		world_run_ms(w, 5);
	assert_true(w->server.opened >= connections);
}

void assert_events(const struct ask *ask, const char *events)
{
	assert_string_equal(ask->events->str, events);
}
