/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random values and digests in base64url without padding (RFC 4648 section 5), as OAuth's parameters want them. */
#pragma once

#include "src/base/error.h"
#include "src/base/secret.h"

#include <stddef.h>

char *auth_base64url(const void *bytes, size_t length);
/* 256 bits by chance, 43 characters. ERR_FAILED: there is no source of chance. */
int auth_chance_new(struct secret **value_out, struct error *err);
/* S256 of RFC 7636 section 4.2: what a code verifier is announced by. */
char *auth_chance_challenge(const struct secret *verifier);
