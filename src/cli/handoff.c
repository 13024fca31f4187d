/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/handoff.h"
#include "src/base/log.h"
#include "src/cli/account.h"
#include "src/cli/sockets.h"

#include <stdio.h>

#include "src/base/banned.h"

#define HANDED_OVER 1

struct handoff {
	const struct work_request *request;
	const struct sink *sink;
	int code;
	struct error *err;
};

static int ask_one(void *ctx, struct wire *wire, pid_t pid)
{
	struct handoff *handoff = ctx;
	bool answered = false;

	handoff->code = wire_send_request(wire, handoff->request, handoff->err);
	if (handoff->code == 0)
		handoff->code = wire_receive(wire, handoff->sink, &answered, handoff->err);
	if (!answered)
		log_info("the mount of process %d: %s", (int)pid, handoff->err->text);
	return answered ? HANDED_OVER : 0;
}

static bool ask_mounts(struct handoff *handoff, const char *runtime_dir, const struct settings *settings)
{
	g_autofree char *identity = account_identity(settings);
	struct sockets sockets;
	struct error err = {0};
	int code = sockets_open(runtime_dir, false, &sockets, &err);
	bool done;

	if (code < 0)
		log_warning("%s", err.text);
	if (code != 0)
		return false;
	done = sockets_each(&sockets, identity, ask_one, handoff) == HANDED_OVER;
	sockets_close(&sockets);
	return done;
}

/* It succeeded, but perhaps with what was cached: the reasons, one a line. */
static void warn(struct mail *mail)
{
	g_autofree char *text = mail_errors_text(mail);
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

	for (char **line = lines; *line; line++)
		if (**line)
			fprintf(stderr, "mailtree: warning: %s\n", *line);
}

static int work_here(
	struct settings *settings, const struct work_request *request, const struct sink *sink, struct error *err)
{
	struct account *account;
	struct wait wait;
	struct work work;
	int code;

	/* one message for `cat`: nothing is read ahead; `warm` is nothing but reading ahead */
	settings->noprefetch = request->command != WORK_WARM;
	code = account_open(settings, &account, err);
	if (code != 0)
		return code;
	wait_init(&wait, account->mail);
	work = (struct work){&wait, account->mail, NULL, account->settings->names == NAMES_UID,
		account->settings->layout == LAYOUT_MAILDIR};
	code = work_run(&work, request, sink, err);
	if (code == 0)
		warn(account->mail);
	wait_fini(&wait);
	account_close(account);
	return code;
}

int handoff_run(const struct call *call, struct settings *settings, const struct work_request *request,
	const struct sink *sink, struct error *err)
{
	struct handoff handoff = {.request = request, .sink = sink, .err = err};

	if (ask_mounts(&handoff, call->places.runtime_dir, settings)) {
		settings_free(settings);
		return handoff.code;
	}
	return work_here(settings, request, sink, err);
}
