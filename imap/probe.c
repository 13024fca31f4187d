/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "imap/probe.h"
#include "imap/conn.h"
#include "imap/offer.h"
#include "imap/session.h"
#include "imap/sign_in.h"
#include "src/base/log.h"
#include "src/base/loop.h"

#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

#define NEWEST 10u /* UIDs, of whose messages the smallest is fetched */

struct probe {
	struct loop *loop;
	const struct imap_client_config *config;
	const struct stream_factory *factory;
	struct conn *conn;
	struct conn_counters counters;
	struct conn_command command;
	struct offer offer;
	struct sign_in sign_in;
	const struct credential *credential; /* while it is shown */
	unsigned challenges;

	/* the step under way */
	bool done, greeted, preauth, connected;
	bool lost;
	uint64_t bytes_seen, began_ms;
	struct loop_timer *timer;
	struct probe_answer *answer;
	char parting[PROBE_WORDS_MAX]; /* BYE, or a line that is no response */
	uint32_t folders;
	struct probe_message *message;
	uint64_t smallest, uidnext;
};

static void words_set(char out[PROBE_WORDS_MAX], const struct imap_response *response)
{
	static const char *const statuses[] = {"OK", "NO", "BAD", "BYE", "PREAUTH"};

	if (response->type == IMAP_TAGGED || response->type == IMAP_UNTAGGED)
		g_snprintf(out, PROBE_WORDS_MAX, "%s %s%s%s%s", statuses[response->status], response->code ? "[" : "",
			response->code ? response->code : "", response->code ? "] " : "", response->text);
	else
		g_snprintf(out, PROBE_WORDS_MAX, "%s", response->text);
	log_clean(out);
	secret_scrub(out, PROBE_WORDS_MAX);
}

static void step_end(struct probe *probe)
{
	probe->done = true;
}

/* ---- what the connection says ---- */

static void on_connected(void *ctx)
{
	struct probe *probe = ctx;

	probe->connected = true;
	/* behind STARTTLS the greeting has been read */
	if (probe->config->tls == STREAM_TLS_STARTTLS) {
		probe->greeted = true;
		step_end(probe);
	}
}

static void on_greeting(struct probe *probe, const struct imap_response *response)
{
	probe->greeted = true;
	words_set(probe->answer->words, response);
	if (response->type != IMAP_UNTAGGED)
		error_set(&probe->answer->err, ERR_PROTOCOL, "this isn't how an IMAP server greets");
	else if (response->status == IMAP_PREAUTH)
		probe->preauth = true;
	else if (response->status != IMAP_OK)
		error_set(&probe->answer->err, ERR_UNREACHABLE, "the server doesn't want to talk");
	if (response->code && strcmp(response->code, "CAPABILITY") == 0)
		offer_read(&probe->offer, response->code_values, response->code_values_count);
	step_end(probe);
}

static void on_fetch(struct probe *probe, const struct imap_fetch *fetch)
{
	struct probe_message *message = probe->message;

	if (!message || !fetch->uid)
		return;
	if ((fetch->items & IMAP_FETCH_BODY) && fetch->uid == message->uid && fetch->body->type != IMAP_NIL) {
		message->no_data = false;
		if (fetch->body->type == IMAP_STRING)
			message->size_bytes = fetch->body->length;
	} else if ((fetch->items & IMAP_FETCH_SIZE) && fetch->size_bytes <= probe->smallest) {
		probe->smallest = fetch->size_bytes;
		message->uid = fetch->uid;
	}
}

static void on_response(void *ctx, const struct imap_response *response)
{
	struct probe *probe = ctx;

	if (!probe->greeted) {
		on_greeting(probe, response);
		return;
	}
	switch (response->type) {
	case IMAP_CAPABILITY:
		offer_read(&probe->offer, response->values, response->values_count);
		break;
	case IMAP_UNTAGGED:
		if (response->status == IMAP_BYE)
			words_set(probe->parting, response);
		if (response->code && strcmp(response->code, "UIDNEXT") == 0 && response->code_values_count)
			imap_value_number(&response->code_values[0], &probe->uidnext);
		break;
	case IMAP_OTHER:
		words_set(probe->parting, response);
		break;
	case IMAP_LIST_RESPONSE:
		probe->folders++;
		break;
	case IMAP_EXISTS:
		if (probe->message)
			probe->message->exists = response->number;
		break;
	case IMAP_FETCH:
		on_fetch(probe, &response->fetch);
		break;
	default:
		break;
	}
}

static bool on_body_begin(void *ctx, const struct imap_literal *literal)
{
	struct probe *probe = ctx;

	if (probe->message)
		probe->message->size_bytes = literal->size_bytes;
	return false;
}

static void on_lost(void *ctx, const struct error *err)
{
	struct probe *probe = ctx;

	probe->lost = true;
	if (probe->answer) {
		if (!probe->answer->err.code)
			error_copy(&probe->answer->err, err);
		if (!probe->answer->words[0])
			g_strlcpy(probe->answer->words, probe->parting, sizeof(probe->answer->words));
	}
	step_end(probe);
}

static const struct conn_ops conn_ops = {
	.connected = on_connected,
	.response = on_response,
	.body_begin = on_body_begin,
	.lost = on_lost,
};

/* ---- steps ---- */

static uint32_t patience_ms(const struct probe *probe)
{
	uint32_t timeout_ms = probe->config->timeout_ms;

	return probe->connected ? timeout_ms : MIN(timeout_ms, SESSION_CONNECT_MS);
}

static void on_timer(void *data)
{
	struct probe *probe = data;
	uint64_t bytes = probe->conn ? conn_bytes_in(probe->conn) : 0;

	probe->timer = NULL;
	if (bytes != probe->bytes_seen &&
		clock_ms() - probe->began_ms < (uint64_t)PROBE_PATIENCE * probe->config->timeout_ms) {
		probe->bytes_seen = bytes;
		probe->timer = loop_timer_add(probe->loop, patience_ms(probe), on_timer, probe);
		return;
	}
	error_set(&probe->answer->err, ERR_TIMEOUT, "the server stays silent");
	step_end(probe);
}

static void step_begin(struct probe *probe, struct probe_answer *answer)
{
	*answer = (struct probe_answer){0};
	probe->answer = answer;
	probe->done = false;
}

static int step_wait(struct probe *probe)
{
	struct probe_answer *answer = probe->answer;

	probe->began_ms = clock_ms();
	if (!probe->done) {
		probe->timer = loop_timer_add(probe->loop, patience_ms(probe), on_timer, probe);
		loop_run_until(probe->loop, &probe->done);
		loop_timer_cancel(probe->timer);
		probe->timer = NULL;
	}
	probe->answer = NULL;
	return answer->err.code;
}

static void command_done(struct conn_command *command, const struct imap_response *tagged)
{
	struct probe *probe = command->ctx;

	if (tagged->status == IMAP_OK) {
		if (tagged->code && strcmp(tagged->code, "CAPABILITY") == 0)
			offer_read(&probe->offer, tagged->code_values, tagged->code_values_count);
	} else {
		words_set(probe->answer->words, tagged);
		error_set(&probe->answer->err, ERR_REFUSED, "the server refused");
	}
	step_end(probe);
}

static void command_continue(struct conn_command *command, const struct imap_response *response)
{
	struct probe *probe = command->ctx;
	struct secret *line;

	if (++probe->challenges > SESSION_CHALLENGES_MAX) {
		error_set(&probe->answer->err, ERR_PROTOCOL, "the server goes on asking");
		step_end(probe);
		return;
	}
	if (probe->sign_in.response_sent)
		sign_in_challenge_read(response->text, probe->answer->challenge, sizeof(probe->answer->challenge));
	line = sign_in_answer(&probe->sign_in, probe->config, probe->credential);
	conn_line_send(probe->conn, secret_text(line), secret_length(line));
	secret_unref(line);
}

static const struct conn_command_ops command_ops = {.done = command_done};
static const struct conn_command_ops sign_in_ops = {.done = command_done, .continuation = command_continue};

static int command_run(
	struct probe *probe, const struct conn_command_ops *ops, const GString *text, struct probe_answer *answer)
{
	step_begin(probe, answer);
	if (probe->lost) {
		g_strlcpy(answer->words, probe->parting, sizeof(answer->words));
		return error_set(&answer->err, ERR_UNREACHABLE, "the server has closed the connection");
	}
	if (conn_command_send(probe->conn, &probe->command, ops, probe, text->str, text->len) != 0)
		return error_set(
			&answer->err, ERR_CONFIG, "the user name or password can't be sent: it has a line end in it");
	conn_flush(probe->conn);
	return step_wait(probe);
}

static int simple_run(struct probe *probe, const char *text, struct probe_answer *answer)
{
	g_autoptr(GString) command = g_string_new(text);

	return command_run(probe, &command_ops, command, answer);
}

/* ---- its life ---- */

struct probe *probe_new(
	struct loop *loop, const struct imap_client_config *config, const struct stream_factory *factory)
{
	struct probe *probe = g_new0(struct probe, 1);

	probe->loop = loop;
	probe->config = config;
	probe->factory = factory;
	return probe;
}

void probe_free(struct probe *probe)
{
	if (!probe)
		return;
	if (probe->conn && !probe->lost)
		conn_logout(probe->conn);
	conn_free(probe->conn);
	loop_timer_cancel(probe->timer);
	g_free(probe);
}

int probe_greet(struct probe *probe, struct probe_offer *offer_out, struct probe_answer *answer_out)
{
	const struct imap_client_config *config = probe->config;
	struct stream_target target = {config->host, config->port, config->tls, config->ca_file};
	int code;

	*offer_out = (struct probe_offer){0};
	step_begin(probe, answer_out);
	if (config->tls == STREAM_TLS_NONE && !auth_host_is_loopback(config->host))
		return error_set(&answer_out->err, ERR_CONFIG, "tls = none would send the sign-in to %s unencrypted",
			config->host);
	probe->conn = conn_new(
		probe->loop, probe->factory, &target, NULL, &probe->counters, &conn_ops, probe, &answer_out->err);
	if (!probe->conn)
		return answer_out->err.code;
	code = step_wait(probe);
	if (code == 0 && !probe->offer.known)
		code = simple_run(probe, "CAPABILITY", answer_out);
	offer_out->bearer = probe->offer.xoauth2 || probe->offer.oauthbearer || !probe->offer.mechanisms[0];
	offer_out->password = probe->offer.plain || !probe->offer.login_disabled;
	g_snprintf(offer_out->mechanisms, sizeof(offer_out->mechanisms), "%s%s",
		probe->offer.mechanisms[0] ? probe->offer.mechanisms : "no AUTH=",
		probe->offer.login_disabled ? ", LOGINDISABLED" : "");
	log_clean(offer_out->mechanisms);
	return code;
}

int probe_sign_in(struct probe *probe, const struct credential *credential, struct probe_answer *answer_out)
{
	GString *command;
	int code;

	step_begin(probe, answer_out);
	if (probe->preauth)
		return 0;
	command = sign_in_command(&probe->offer, probe->config, credential, &probe->sign_in, &answer_out->err);
	if (!command)
		return answer_out->err.code;
	probe->credential = credential;
	code = command_run(probe, &sign_in_ops, command, answer_out);
	probe->credential = NULL;
	sign_in_wipe(command);
	return code;
}

int probe_first(struct probe *probe, struct probe_answer *answer_out)
{
	bool known = (probe->offer.capabilities & IMAP_CAP_NAMESPACE) != 0;

	return simple_run(probe, known ? "NAMESPACE" : "LIST \"\" \"\"", answer_out);
}

int probe_list(struct probe *probe, uint32_t *folders_out, struct probe_answer *answer_out)
{
	int code;

	probe->folders = 0;
	code = simple_run(probe, "LIST \"\" \"*\"", answer_out);
	*folders_out = probe->folders;
	return code;
}

int probe_fetch(struct probe *probe, struct probe_message *message_out, struct probe_answer *answer_out)
{
	char command[64];
	int code;

	*message_out = (struct probe_message){0};
	probe->message = message_out;
	probe->smallest = UINT64_MAX;
	probe->uidnext = 0;
	code = simple_run(probe, "EXAMINE INBOX", answer_out);
	if (code == 0 && message_out->exists) {
		if (probe->uidnext > NEWEST && probe->uidnext <= UINT32_MAX)
			g_snprintf(command, sizeof(command), "UID FETCH %u:* (UID RFC822.SIZE)",
				(uint32_t)probe->uidnext - NEWEST);
		else
			g_snprintf(command, sizeof(command), "UID FETCH * (UID RFC822.SIZE)");
		code = simple_run(probe, command, answer_out);
	}
	if (code == 0 && message_out->uid) {
		message_out->no_data = true;
		g_snprintf(command, sizeof(command), "UID FETCH %u (BODY.PEEK[])", message_out->uid);
		code = simple_run(probe, command, answer_out);
	}
	probe->message = NULL;
	return code;
}
