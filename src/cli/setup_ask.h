/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Questions and answers in plain lines, on a terminal, over ssh or from a pipe. Each returns 0, or ERR_FAILED when
 * there are no more answers. A question that has a default shows it in brackets; an empty answer takes it.
 */
#pragma once

#include "src/base/error.h"

#include <stdbool.h>
#include <stddef.h>

/* `standard` NULL = an answer is needed; "" = may stay empty. The answer is one line without controls; g_free it. */
int ask_text(const char *question, const char *standard, char **answer_out, struct error *err);
/* One of `count` lines, of which the first is the default; `chosen_out` counts from 0. */
int ask_choice(const char *question, const char *const *choices, size_t count, size_t *chosen_out, struct error *err);
int ask_yes(const char *question, bool standard, bool *yes_out, struct error *err);
/* Not shown while it is typed; secret_free_text() it. */
int ask_secret(const char *question, char **answer_out, struct error *err);
