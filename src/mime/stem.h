/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FROM_SUBJECT of a message's name, by the contract's rule. Pure; any thread. */
#pragma once

/*
 * `address`: of the first mailbox in From; `subject`: decoded. Both valid UTF-8, NULL or empty = none. g_free() the
 * result: at most MIME_STEM_BYTES_MAX bytes, never empty, safe as a part of a file name.
 */
char *stem_compose(const char *address, const char *subject);
