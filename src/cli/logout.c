/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/login.h"
#include "src/cli/command.h"
#include "src/cli/nudge.h"
#include "src/cli/output.h"

#include "src/base/banned.h"

static int run(struct call *call, struct error *err)
{
	struct settings *settings;
	bool had = false;
	int code = call_parse(call, NULL, err);

	if (code == 0)
		code = call_settings(call, NULL, &settings, err);
	if (code != 0)
		return code;
	code = auth_logout(&settings->auth, &had, err);
	if (code != 0)
		error_prefix(err, "logout: [%s]", settings->account);
	else
		code = output_print(err, "%s: %s\n", settings->account, had ? "signed out" : "nobody was signed in");
	if (code == 0 && had)
		nudge_mounts(call, settings->account);
	settings_free(settings);
	return code;
}

const struct command command_logout = {
	.name = "logout",
	.arguments = "ACCOUNT",
	.summary = "forget a person's sign-in",
	.description =
		"Removes the account's tokens from this machine. What is in the cache stays readable; `mailtree cache\n"
		"ACCOUNT clear` removes it. The authority isn't told: end the sign-in there, too, when a machine is\n"
		"lost.\n\n"
		"Example:\n"
		"  mailtree logout work",
	.arguments_min = 1,
	.arguments_max = 1,
	.run = run,
};
