/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Secrets: passwords, client secrets, tokens.
 *
 * A secret is immutable, counted, wiped when the last reference goes, and can't be formatted by
 * accident: its bytes are reached only by secret_text(). While it lives its value is known to
 * secret_scrub(), which every log line and error text passes: a server that echoes a command
 * back doesn't publish the token in it. Scrubbing finds the value raw, percent-encoded and inside
 * base64 at any alignment, whole or in parts of at least SECRET_PART_MIN characters.
 *
 * Threads: everything here may be called from any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define SECRET_PART_MIN 12           /* shorter parts aren't looked for: they would hit plain words */
#define SECRET_BYTES_MAX (64 * 1024) /* tokens are 1 to 4 KiB; anything larger isn't one */

struct secret;

/* Copies `length` bytes. NULL when length > SECRET_BYTES_MAX. */
struct secret *secret_new(const char *bytes, size_t length);
/* Takes over a g_malloc'ed NUL-terminated string: copies, wipes and frees it. NULL gives NULL. */
struct secret *secret_new_take(char *text);
struct secret *secret_ref(struct secret *s);
void secret_unref(struct secret *s);             /* NULL is fine */
const char *secret_text(const struct secret *s); /* NUL-terminated; borrowed */
size_t secret_length(const struct secret *s);
bool secret_equal(const struct secret *a, const struct secret *b);

/* Overwrites so that the compiler can't leave it out. */
void secret_wipe(void *bytes, size_t length);
/* Wipes and frees a g_malloc'ed string; NULL is fine. */
void secret_free_text(char *text);

/*
 * Replaces every living secret in the NUL-terminated `text` by "[secret]", in place; never makes
 * it longer than `size`. Returns true when something was replaced.
 */
bool secret_scrub(char *text, size_t size);
