/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What this process uses now, for those who watch it for leaks. */
#pragma once

#include <stdint.h>

/* 0 where /proc doesn't tell. */
uint64_t process_open_fds(void);
uint64_t process_resident_bytes(void);
