/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of causes share; nothing else includes it. */
#pragma once

#include "src/auth/causes.h"

/* `name` where there is no text. */
const char *causes_text_or(const char *text, const char *name);
void causes_find_offline(const struct auth_evidence *evidence, GPtrArray *causes);
/* evidence->token_code is set. */
void causes_find_no_token(const struct auth_evidence *evidence, GPtrArray *causes);
