/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One header field, decoded. Pure; any thread. */
#pragma once

/* As a person would read it: UTF-8 without controls, at most MIME_TEXT_BYTES_MAX. Takes `raw` over; NULL = nothing. */
char *headers_decode(char *raw);
