/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * HTML as text, by libxml2's tolerant parser, as it goes: no tree is built, no script runs, nothing is fetched.
 *
 * Words and their order stay; paragraphs, lists, quotations and table cells are set apart; a link's target stands
 * behind its text in angle brackets. Any thread.
 */
#pragma once

#include <glib.h>

#define HTML_BYTES_MAX (2u << 20) /* of one part, that are looked at */
#define HTML_DEPTH_MAX 256u       /* open elements: what comes behind that is left out, and the text says so */

/* Appends the text of `html`, valid UTF-8 without NULs, which is changed on the way; stops when `out` is longer than
 * `most`. */
void html_append(char *html, size_t length, size_t most, GString *out);
