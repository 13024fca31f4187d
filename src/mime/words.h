/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Encoded words (RFC 2047) of a header field. Pure; linear in the length of its input; any thread.
 *
 * GMime's own decoder loses what follows a padded base64 word, and many mailers pad each of adjacent words; and it
 * keeps every name of a charset that it ever met, which a hostile sender can make any number of.
 */
#pragma once

/*
 * `text` is valid UTF-8 and unfolded. What isn't a complete encoded word stays as it is. g_free() the result: valid
 * UTF-8 without NULs, perhaps with other controls.
 */
char *words_decode(const char *text);
/* Overwrites each encoded word with as many letters, in place: for a parser that shall not decode them. */
void words_mask(char *text);
