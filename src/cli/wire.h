/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What goes over the socket between a command and a live mount.
 *
 *     command:  {"command":"ls","folder":"INBOX"}\n
 *     mount:    {"bytes":N}\n and N octets, once for each record
 *               {"wait":true}\n while it waits for the mail server, so that silence means a dead mount
 *               {"done":CODE,"text":"…","hint":"…"}\n at the end; CODE 0 = all records have been sent
 *
 * The socket's directory is the user's alone, and both ends check the other's user besides. Credentials never
 * travel here. Blocking, with a bound on every wait, line and record. One thread a wire.
 */
#pragma once

#include "src/cli/work.h"

#include <sys/types.h>

#define WIRE_REQUEST_BYTES_MAX (64u * 1024u)
#define WIRE_LINE_BYTES_MAX 8192u                   /* of the mount: a code and two texts */
#define WIRE_RECORD_BYTES_MAX (32u * 1024u * 1024u) /* status of LIMIT_FOLDERS folders */
#define WIRE_SILENCE_MS 15000u /* a mount that says nothing for so long is dead; above WAIT_TICK_MS */
#define WIRE_REQUEST_MS 10000u /* for a request to come */
#define WIRE_READER_MS 600000u /* a command may stand still for so long: its output may be in a pager */

struct wire;

/* Takes over `fd`, a connected stream socket. `receive_ms`, `send_ms`: silence that it stands. */
struct wire *wire_new(int fd, uint32_t receive_ms, uint32_t send_ms);
void wire_free(struct wire *wire);
/* The process at the other end, when it is ours or root's; ERR_FAILED for another user's. */
int wire_peer(int fd, pid_t *pid_out, struct error *err);

/* The command's side. */
int wire_send_request(struct wire *wire, const struct work_request *request, struct error *err);
/* Hands records to the sink until the end; returns the mount's code with its words. `*answered_out`: it has begun. */
int wire_receive(struct wire *wire, const struct sink *sink, bool *answered_out, struct error *err);

/* The mount's side. The request's folder lives as long as the wire. ERR_USAGE: not a request. */
int wire_receive_request(struct wire *wire, struct work_request *request_out, struct error *err);
int wire_send_record(struct wire *wire, const char *bytes, size_t length, struct error *err);
int wire_send_wait(struct wire *wire, struct error *err);
/* What came before it is sent off, too. */
int wire_send_done(struct wire *wire, int code, const struct error *reason, struct error *err);
