/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What each target defines and libFuzzer, or replay.c, calls. A broken invariant aborts. */
#pragma once

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
