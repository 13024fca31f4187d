/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Functions that invite overruns or lie about errors; using one is a compile error. */
#pragma once

/* clang warns of each name that is a macro already */
#ifndef __clang__
#pragma GCC poison strcpy strcat sprintf vsprintf gets strncpy strncat strtok atoi atol atoll
#endif
