/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/handoff.h"
#include "src/cli/output.h"

#include "src/base/banned.h"

static int on_record(void *ctx, const char *bytes, size_t length, struct error *err)
{
	return output_write(bytes, length, err);
}

static int run(struct call *call, struct error *err)
{
	struct work_request request = {.command = WORK_CAT};
	struct settings *settings;
	int code = call_parse(call, NULL, err);

	if (code != 0)
		return code;
	if (!call_number(call->arguments[2], UINT32_MAX, &request.uid)) {
		error_set(err, ERR_USAGE, "cat: %s: not a UID", call->arguments[2]);
		error_hint(err, "the number that `mailtree ls` begins a line with");
		return ERR_USAGE;
	}
	request.folder = call->arguments[1];
	code = call_settings(call, NULL, &settings, err);
	return code ? code : handoff_run(call, settings, &request, &(struct sink){on_record, NULL}, err);
}

const struct command command_cat = {
	.name = "cat",
	.arguments = "ACCOUNT FOLDER UID",
	.summary = "print one message as it is on the server",
	.description = "Through a live mount of the account if there is one. FOLDER is the path as in a mount.\n\n"
		       "Example:\n"
		       "  mailtree cat work INBOX 1234 > message.eml",
	.arguments_min = 3,
	.arguments_max = 3,
	.run = run,
};
