/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "src/auth/auth.h"

/*
 * The configured client secret has the form of an ID, which is what people paste in its stead. Reads it as signing in
 * does, running its command; false when there is none. Blocking.
 */
bool auth_secret_is_guid(const struct auth_config *config);
