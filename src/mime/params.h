/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parameters of Content-Type and Content-Disposition (RFC 2045, 5.1; RFC 2231), as they are and as mailers write them.
 * Pure; linear but for continuations, of which there are at most PARAMS_PIECES_MAX.
 */
#pragma once

#include <glib.h>

#define PARAMS_PIECES_MAX 64u /* name*0, name*1, … */

/* What stands before the first ';'. Never NULL; g_free it. */
char *params_value(const char *field);
/* The type in small letters, "text/plain" in shape; the default where there is none. g_free it. */
char *params_type(const char *field, const char *default_type);
/* A parameter, decoded (RFC 2231, and RFC 2047 where it mustn't be) to UTF-8; NULL = none. g_free it. */
char *params_get(const char *field, const char *name);
