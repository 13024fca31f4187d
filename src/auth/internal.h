/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of this folder and its tests share beyond the public header. */
#pragma once

#include "src/auth/auth.h"

/* ERR_CONFIG when something is missing that the method needs, or a URL isn't allowed. */
int auth_config_check(const struct auth_config *config, struct error *err);

/* Times that tests shorten and a clock that they turn. Zero and NULL leave things as they are. */
struct auth_tuning {
	uint32_t http_timeout_ms, command_timeout_ms;
	uint32_t patience_ms; /* how long a fill waits for a new token while the old one is still good */
	uint64_t (*now_ms)(void);
};
void auth_tune(struct auth *auth, const struct auth_tuning *tuning);
