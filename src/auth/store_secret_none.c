/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What stands in for store_secret.c in a build without libsecret. */
#include "src/auth/store_secret.h"

#include "src/base/banned.h"

bool auth_secret_service_is_built_in(void)
{
	return false;
}

static int missing(struct error *err)
{
	return error_set(err, ERR_CONFIG, "this mailtree is built without libsecret");
}

int auth_secret_unlock(int cancel_fd, struct error *err)
{
	return missing(err);
}

int auth_secret_load(const struct auth_config *config, size_t length_max, char **text_out, struct error *err)
{
	*text_out = NULL;
	return missing(err);
}

int auth_secret_save(const struct auth_config *config, const char *text, struct error *err)
{
	return missing(err);
}

int auth_secret_forget(const struct auth_config *config, struct error *err)
{
	return missing(err);
}
