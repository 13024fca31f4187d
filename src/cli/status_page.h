/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `mailtree status` for a person. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

/* `mounts` is the array of `status --json`, `now` seconds since 1970. g_free it. */
char *status_page(const cJSON *mounts, bool colours, int64_t now);
