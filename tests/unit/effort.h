/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How much a test does: under sanitizers, where each step costs many times as much, a third. */
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define EFFORT(count) (((count) + 2) / 3)
#else
#define EFFORT(count) (count)
#endif
