/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tells when the machine has slept: connections and what others told us are suspect then. */
#pragma once

#include "src/base/loop.h"

struct wake;

/*
 * `fn` is called on the loop, at once after the machine has woken up. NULL where the system gives no descriptor for it:
 * who looks at clock_slept_ms() whenever it does something finds out late.
 */
struct wake *wake_new(struct loop *loop, loop_fn fn, void *data);
void wake_free(struct wake *wake); /* NULL is fine */

/* Milliseconds that the machine has slept since it was started, give or take some. */
uint64_t clock_slept_ms(void);
