/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/secret_form.h"
#include "src/auth/claims.h"
#include "src/auth/source.h"

#include "src/base/banned.h"

bool auth_secret_is_guid(const struct auth_config *config)
{
	struct auth_flow flow = {.config = config,
		.cancel_fd = -1,
		.http_timeout_ms = AUTH_HTTP_TIMEOUT_MS,
		.command_timeout_ms = AUTH_COMMAND_TIMEOUT_MS};
	struct secret *secret = NULL;
	bool found;

	if (!auth_source_is_set(&config->client_secret) ||
		auth_source_read(&flow, &config->client_secret, "client_secret", &secret, NULL) != 0)
		return false;
	found = auth_text_is_guid(secret_text(secret));
	secret_unref(secret);
	return found;
}
