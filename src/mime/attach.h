/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which parts of a message are attachments, and under which names. Pure; any thread. */
#pragma once

#include "src/mime/mime.h"
#include "src/mime/part.h"

/* Text that is shown as the message's own: plain or HTML, without a name, not said to be an attachment. */
bool attach_is_body(const struct part *part);
/*
 * The attachments of the message that is at `root`: not those of messages within it, which are attachments as a whole.
 * Places in `parts` (guint), in order; g_array_unref it.
 */
GArray *attach_find(const GArray *parts, guint root);
/* Safe unique names for them, in the same order; free with g_ptr_array_unref(). */
GPtrArray *attach_names(const GArray *parts, const GArray *found);
/* Length of the decoded octets. */
uint64_t attach_size(const struct part *part);
