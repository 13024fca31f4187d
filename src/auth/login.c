/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/internal.h"
#include "src/auth/login_flow.h"
#include "src/auth/store.h"

#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

bool auth_login_is_for(enum auth_method method)
{
	return method == AUTH_AUTHORIZATION_CODE || method == AUTH_DEVICE_CODE;
}

static int method_check(const struct auth_config *config, struct error *err)
{
	if (auth_login_is_for(config->method))
		return 0;
	error_set(err, ERR_CONFIG, "nobody has to sign in: the account's `auth` works by itself");
	error_hint(err, "auth = authorization-code or device-code is for persons");
	return ERR_CONFIG;
}

int auth_login_store(
	struct auth_login_run *run, const struct auth_oauth_answer *answer, int64_t asked_at, struct error *err)
{
	struct auth_tokens tokens = {.refresh = secret_ref(answer->refresh_token),
		.access = secret_ref(answer->access_token),
		.access_issued_at = asked_at,
		.access_expires_at = answer->expires_in_s >= 0 ? asked_at + answer->expires_in_s : 0};
	int lock_fd = -1;
	int rc = auth_store_lock(&run->flow, &lock_fd, err);

	if (rc == 0)
		rc = auth_store_save(run->flow.config, &tokens, err);
	auth_store_unlock(lock_fd);
	auth_tokens_fini(&tokens);
	run->result->renewable = answer->refresh_token != NULL;
	run->result->life_s = answer->expires_in_s;
	g_strlcpy(run->result->name, answer->name, sizeof(run->result->name));
	return rc;
}

static struct auth_flow flow_of(const struct auth_config *config, int cancel_fd)
{
	return (struct auth_flow){.config = config,
		.cancel_fd = cancel_fd,
		.http_timeout_ms = AUTH_HTTP_TIMEOUT_MS,
		.command_timeout_ms = AUTH_COMMAND_TIMEOUT_MS};
}

int auth_login(const struct auth_config *config, const struct auth_login *login, struct auth_login_result *result_out,
	struct error *err)
{
	struct auth_login_run run = {.flow = flow_of(config, login->cancel_fd), .login = login, .result = result_out};
	int rc = method_check(config, err);

	*result_out = (struct auth_login_result){.life_s = -1};
	rc = rc ? rc : auth_config_check(config, err);
	rc = rc ? rc : auth_store_prepare(&run.flow, err);
	if (rc != 0)
		return rc;
	if (login->device || config->method == AUTH_DEVICE_CODE)
		return auth_login_by_code(&run, err);
	return auth_login_by_browser(&run, err);
}

int auth_logout(const struct auth_config *config, bool *had_out, struct error *err)
{
	struct auth_flow flow = flow_of(config, -1);
	struct auth_tokens tokens = {0};
	int lock_fd = -1;
	int rc = method_check(config, err);

	rc = rc ? rc : auth_store_lock(&flow, &lock_fd, err);
	/* what can't be read is forgotten all the same */
	*had_out = rc == 0 && (auth_store_load(config, &tokens, NULL) != 0 || tokens.refresh || tokens.access);
	if (rc == 0)
		rc = auth_store_forget(config, err);
	auth_tokens_fini(&tokens);
	auth_store_unlock(lock_fd);
	return rc;
}
