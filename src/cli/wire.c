/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/wire.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "src/base/banned.h"

#define GATHERED_BYTES (64u * 1024u) /* small records are sent together */

struct wire {
	int fd;
	char in[16384];
	size_t at, end; /* what of `in` hasn't been taken */
	GString *out;
	cJSON *request; /* the mount's side: owns what wire_receive_request() gave */
};

static void timeout_set(int fd, int option, uint32_t ms)
{
	struct timeval time = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

	setsockopt(fd, SOL_SOCKET, option, &time, sizeof(time));
}

struct wire *wire_new(int fd, uint32_t receive_ms, uint32_t send_ms)
{
	struct wire *wire = g_new(struct wire, 1);

	wire->fd = fd;
	wire->at = wire->end = 0;
	wire->out = g_string_new(NULL);
	wire->request = NULL;
	timeout_set(fd, SO_RCVTIMEO, receive_ms);
	timeout_set(fd, SO_SNDTIMEO, send_ms);
	return wire;
}

void wire_free(struct wire *wire)
{
	if (!wire)
		return;
	close(wire->fd);
	g_string_free(wire->out, TRUE);
	cJSON_Delete(wire->request);
	g_free(wire);
}

int wire_peer(int fd, pid_t *pid_out, struct error *err)
{
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
		return error_set(err, ERR_FAILED, "socket: %s", g_strerror(errno));
	if (peer.uid != geteuid() && peer.uid != 0)
		return error_set(err, ERR_FAILED, "socket: another user (%u) is at the other end", (unsigned)peer.uid);
	*pid_out = peer.pid;
	return 0;
}

/* ---- octets ---- */

static int lost(const char *why, struct error *err)
{
	return error_set(err, ERR_FAILED, "socket: %s", why);
}

static int flush(struct wire *wire, struct error *err)
{
	size_t at = 0;

	while (at < wire->out->len) {
		ssize_t sent = send(wire->fd, wire->out->str + at, wire->out->len - at, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return lost(errno == EAGAIN ? "the reader stands still" : g_strerror(errno), err);
		at += (size_t)sent;
	}
	g_string_truncate(wire->out, 0);
	return 0;
}

/* More of what the other end sends: > 0, or a code. */
static int fill(struct wire *wire, struct error *err)
{
	ssize_t got;

	do
		got = recv(wire->fd, wire->in, sizeof(wire->in), 0);
	while (got < 0 && errno == EINTR);
	if (got == 0)
		return lost("the other end has gone", err);
	if (got < 0)
		return lost(errno == EAGAIN ? "no answer" : g_strerror(errno), err);
	wire->at = 0;
	wire->end = (size_t)got;
	return 1;
}

/* One line without its end; g_free it. */
static int line_take(struct wire *wire, size_t bytes_max, char **line_out, struct error *err)
{
	g_autoptr(GString) line = g_string_new(NULL);

	for (;;) {
		const char *start = wire->in + wire->at, *end;
		size_t have = wire->end - wire->at;
		int code;

		end = memchr(start, '\n', have);
		g_string_append_len(line, start, end ? end - start : (gssize)have);
		wire->at += end ? (size_t)(end - start) + 1 : have;
		if (line->len > bytes_max)
			return lost("a line is too long", err);
		if (end)
			break;
		code = fill(wire, err);
		if (code < 0)
			return code;
	}
	*line_out = g_strndup(line->str, line->len);
	return 0;
}

static int octets_take(struct wire *wire, char *bytes, size_t length, struct error *err)
{
	while (length > 0) {
		size_t have = MIN(wire->end - wire->at, length);
		int code;

		memcpy(bytes, wire->in + wire->at, have);
		wire->at += have;
		bytes += have;
		length -= have;
		if (length == 0)
			break;
		code = fill(wire, err);
		if (code < 0)
			return code;
	}
	return 0;
}

/* ---- lines ---- */

static void line_append(struct wire *wire, cJSON *object)
{
	char *text = cJSON_PrintUnformatted(object);

	g_string_append(wire->out, text);
	g_string_append_c(wire->out, '\n');
	cJSON_free(text);
	cJSON_Delete(object);
}

static int object_take(struct wire *wire, size_t bytes_max, cJSON **object_out, struct error *err)
{
	g_autofree char *line = NULL;
	int code = line_take(wire, bytes_max, &line, err);

	if (code != 0)
		return code;
	*object_out = cJSON_Parse(line);
	if (cJSON_IsObject(*object_out))
		return 0;
	cJSON_Delete(*object_out);
	*object_out = NULL;
	return error_set(err, ERR_USAGE, "socket: not a JSON object");
}

/* A whole number of the object, 0 to `max`. */
static bool number_get(const cJSON *object, const char *key, double max, double *number_out)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

	if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= max) ||
		item->valuedouble != floor(item->valuedouble))
		return false;
	*number_out = item->valuedouble;
	return true;
}

/* ---- the command's side ---- */

int wire_send_request(struct wire *wire, const struct work_request *request, struct error *err)
{
	cJSON *object = cJSON_CreateObject();

	cJSON_AddStringToObject(object, "command", work_command_name(request->command));
	if (request->folder)
		cJSON_AddStringToObject(object, "folder", request->folder);
	if (request->uid)
		cJSON_AddNumberToObject(object, "uid", request->uid);
	if (request->query)
		cJSON_AddStringToObject(object, "query", request->query);
	line_append(wire, object);
	return flush(wire, err);
}

static int record_take(struct wire *wire, size_t length, const struct sink *sink, struct error *err)
{
	g_autofree char *record = g_malloc(length + 1);
	int code = octets_take(wire, record, length, err);

	record[length] = '\0';
	return code ? code : sink->record(sink->ctx, record, length, err);
}

static int done_code(const cJSON *object, struct error *err)
{
	const cJSON *done = cJSON_GetObjectItemCaseSensitive(object, "done");
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "text"));
	const char *hint = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "hint"));
	int code;

	if (!cJSON_IsNumber(done) || done->valuedouble > 0 || done->valuedouble < ERR_LAST)
		return lost("an answer that this version doesn't understand", err);
	code = (int)done->valuedouble;
	if (code == 0)
		return 0;
	error_set(err, code, "%s", text ? text : error_name(code));
	if (hint && *hint)
		error_hint(err, "%s", hint);
	return code;
}

int wire_receive(struct wire *wire, const struct sink *sink, bool *answered_out, struct error *err)
{
	int code = 0;

	*answered_out = false;
	while (code == 0) {
		cJSON *object;
		double length;

		code = object_take(wire, WIRE_LINE_BYTES_MAX, &object, err);
		if (code != 0)
			return code;
		if (cJSON_GetObjectItemCaseSensitive(object, "wait")) {
			cJSON_Delete(object);
			continue;
		}
		*answered_out = true;
		if (!cJSON_GetObjectItemCaseSensitive(object, "bytes")) {
			code = done_code(object, err);
			cJSON_Delete(object);
			return code;
		}
		if (number_get(object, "bytes", WIRE_RECORD_BYTES_MAX, &length))
			code = record_take(wire, (size_t)length, sink, err);
		else
			code = lost("a record is too long", err);
		cJSON_Delete(object);
	}
	return code;
}

/* ---- the mount's side ---- */

static bool command_find(const char *name, enum work_command *command_out)
{
	for (int i = 0; name && i < WORK_COMMANDS; i++)
		if (strcmp(name, work_command_name(i)) == 0) {
			*command_out = i;
			return true;
		}
	return false;
}

int wire_receive_request(struct wire *wire, struct work_request *request_out, struct error *err)
{
	double uid = 0;
	const cJSON *folder, *query;
	int code = object_take(wire, WIRE_REQUEST_BYTES_MAX, &wire->request, err);

	*request_out = (struct work_request){0};
	if (code != 0)
		return code;
	if (!command_find(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(wire->request, "command")),
		    &request_out->command))
		return error_set(err, ERR_USAGE, "socket: this version of the mount doesn't know the command");
	folder = cJSON_GetObjectItemCaseSensitive(wire->request, "folder");
	if (folder && (!cJSON_IsString(folder) || strlen(folder->valuestring) > WORK_FOLDER_BYTES_MAX))
		return error_set(err, ERR_USAGE, "socket: not a folder");
	query = cJSON_GetObjectItemCaseSensitive(wire->request, "query");
	if (query && !cJSON_IsString(query))
		return error_set(err, ERR_USAGE, "socket: not a query");
	if (cJSON_GetObjectItemCaseSensitive(wire->request, "uid") &&
		!number_get(wire->request, "uid", UINT32_MAX, &uid))
		return error_set(err, ERR_USAGE, "socket: not a UID");
	request_out->folder = folder ? folder->valuestring : NULL;
	request_out->query = query ? query->valuestring : NULL;
	request_out->uid = (uint32_t)uid;
	return 0;
}

int wire_send_record(struct wire *wire, const char *bytes, size_t length, struct error *err)
{
	if (length > WIRE_RECORD_BYTES_MAX)
		return error_set(
			err, ERR_FAILED, "the answer has a record of more than %u bytes", WIRE_RECORD_BYTES_MAX);
	g_string_append_printf(wire->out, "{\"bytes\":%zu}\n", length);
	g_string_append_len(wire->out, bytes, (gssize)length);
	return wire->out->len < GATHERED_BYTES ? 0 : flush(wire, err);
}

int wire_send_wait(struct wire *wire, struct error *err)
{
	g_string_append(wire->out, "{\"wait\":true}\n");
	return flush(wire, err);
}

int wire_send_done(struct wire *wire, int code, const struct error *reason, struct error *err)
{
	cJSON *object = cJSON_CreateObject();

	cJSON_AddNumberToObject(object, "done", code);
	if (code != 0) {
		cJSON_AddStringToObject(object, "text", reason->text);
		cJSON_AddStringToObject(object, "hint", reason->hint);
	}
	line_append(wire, object);
	return flush(wire, err);
}
