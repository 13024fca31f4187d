/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Standard output of commands. A reader that goes away (`| head`) ends the command without a word; anything else
 * that keeps the output from being written is an error: never a short output with success.
 */
#pragma once

#include "src/base/error.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

int output_write(const char *bytes, size_t length, struct error *err);
int output_print(struct error *err, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* At the end of every command. */
int output_flush(struct error *err);
bool output_is_terminal(void);
/* Columns of the terminal; 0 = not one. */
int output_columns(void);

/* `text` without controls, at most `columns` wide (0 = as it is) with spaces behind it to that width. */
char *output_cell(const char *text, int columns, bool pad);
/* "1.2 GiB" */
char *output_size(double bytes);

/* Members of an object that other programs or other versions may have written: NULL or -1 where they aren't there. */
const char *output_member_text(const cJSON *object, const char *key);
double output_member_number(const cJSON *object, const char *key);
