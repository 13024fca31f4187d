/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/loop.h"
#include "src/cli/command.h"
#include "src/cli/output.h"

#include <string.h>

#include "src/base/banned.h"

enum form { FORM_TOKEN, FORM_XOAUTH2, FORM_OAUTHBEARER };

struct token {
	const struct settings *settings;
	enum form form;
	bool done;
	int code;
	struct error *err;
};

static int print_secret(const struct secret *secret, struct error *err)
{
	int code = output_write(secret_text(secret), secret_length(secret), err);

	return code ? code : output_write("\n", 1, err);
}

static int print_sasl(const struct token *token, const struct secret *secret, struct error *err)
{
	const struct settings *s = token->settings;
	struct secret *response = token->form == FORM_XOAUTH2
	                                  ? auth_sasl_xoauth2(s->user, secret)
	                                  : auth_sasl_oauthbearer(s->user, s->host, s->port, secret);
	int code = print_secret(response, err);

	secret_unref(response);
	return code;
}

static void on_filled(void *ctx, const struct credential *credential, const struct error *err)
{
	struct token *token = ctx;

	token->done = true;
	if (!credential) {
		error_copy(token->err, err);
		token->code = err->code;
	} else if (token->form == FORM_TOKEN) {
		token->code = print_secret(credential->secret, token->err);
	} else {
		token->code = print_sasl(token, credential->secret, token->err);
	}
}

static int print_token(struct settings *settings, enum form form, struct error *err)
{
	struct token token = {.settings = settings, .form = form, .err = err};
	struct loop *loop = loop_new();
	struct auth *auth = NULL;
	int code = auth_new(loop, &settings->auth, &auth, err);

	if (code == 0 && auth_is_password(auth)) {
		code = error_set(err, ERR_CONFIG, "%s: auth = password: there is no token", settings->account);
	} else if (code == 0) {
		auth_fill(auth, on_filled, &token);
		loop_run_until(loop, &token.done);
		code = token.code;
	}
	auth_free(auth);
	loop_free(loop);
	return code;
}

static int form_parse(const char *sasl, enum form *form_out, struct error *err)
{
	*form_out = FORM_TOKEN;
	if (!sasl)
		return 0;
	*form_out = strcmp(sasl, "xoauth2") == 0 ? FORM_XOAUTH2 : FORM_OAUTHBEARER;
	if (*form_out == FORM_XOAUTH2 || strcmp(sasl, "oauthbearer") == 0)
		return 0;
	error_set(err, ERR_USAGE, "token: --sasl %s: no such mechanism", sasl);
	error_hint(err, "xoauth2 or oauthbearer");
	return ERR_USAGE;
}

static int run(struct call *call, struct error *err)
{
	g_autofree char *sasl = NULL;
	const GOptionEntry entries[] = {
		{"sasl", 0, 0, G_OPTION_ARG_FILENAME, &sasl, "the base64 initial response instead",
			"xoauth2|oauthbearer"},
		{NULL},
	};
	struct settings *settings;
	enum form form;
	int code = call_parse(call, entries, err);

	if (code == 0)
		code = form_parse(sasl, &form, err);
	if (code == 0)
		code = call_settings(call, NULL, &settings, err);
	if (code != 0)
		return code;
	code = print_token(settings, form, err);
	settings_free(settings);
	return code;
}

const struct command command_token = {
	.name = "token",
	.arguments = "ACCOUNT",
	.summary = "print a valid access token",
	.description = "Renews it first when it must. Whoever has it can read the mailbox until it expires.\n\n"
		       "Example:\n"
		       "  curl --url imaps://outlook.office365.com --user olena@contoso.com \\\n"
		       "       --oauth2-bearer \"$(mailtree token work)\"",
	.arguments_min = 1,
	.arguments_max = 1,
	.run = run,
};
