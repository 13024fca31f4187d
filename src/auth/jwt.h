/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A look into access tokens that happen to be JWTs. Tokens are opaque by contract (Microsoft issues
 * encrypted and non-JWT ones): what can't be read is no error, and nothing read here is trusted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The claims as JSON text, NUL-terminated; NULL when `token` (without its end) isn't a JWT. g_free it. */
char *auth_jwt_payload(const char *token, size_t length, size_t *length_out);
/* Its `exp`, seconds since 1970. */
bool auth_jwt_expiry(const char *token, int64_t *expires_at_out);
/* Who an id_token says has signed in: an address where it has one. `name` stays as it is when it says nothing. */
void auth_jwt_name(const char *token, char *name, size_t size);
