/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A look into access tokens that happen to be JWTs. Tokens are opaque by contract (Microsoft issues
 * encrypted and non-JWT ones): what can't be read is no error, and nothing read here is trusted.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Its `exp`, seconds since 1970. */
bool auth_jwt_expiry(const char *token, int64_t *expires_at_out);
