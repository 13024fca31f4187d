/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Encoded words (RFC 2047) of a header field. Pure; linear in the length of its input; any thread after mime_init().
 *
 * GMime's own decoder loses what follows a padded base64 word, and many mailers pad each of adjacent words.
 */
#pragma once

/*
 * `text` is valid UTF-8 and unfolded. What isn't a complete encoded word stays as it is. g_free() the result: valid
 * UTF-8 without NULs, perhaps with other controls.
 */
char *words_decode(const char *text);
