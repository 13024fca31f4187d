/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What settings mean together: presets that depend on others, URLs made of parts, contradictions, what is missing. */
#pragma once

#include "src/cli/settings_table.h"

#define SETTINGS_PROVIDERS "outlook, outlook-personal, gmail or generic"

bool settings_provider_known(const char *provider);

/*
 * Completes and checks the draft, and fills in its auth_config. ERR_CONFIG with the key first: the caller puts the
 * file and the group in front.
 */
int settings_compose(struct settings_draft *draft, const struct settings_places *places, struct error *err);
