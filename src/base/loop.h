/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The I/O loop: one thread that owns all connections, timers and deadlines. A thin layer over
 * GMainContext that gives the rest of the code three verbs: post, timer, watch.
 *
 * loop_post() may be called from any thread; all else only from the loop's own thread (or before
 * loop_start()). Callbacks run on the loop's thread, never recursively from the call that armed them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_timer;
struct loop_watch;

typedef void (*loop_fn)(void *data);
typedef void (*loop_watch_fn)(void *data, unsigned events);

enum loop_events { LOOP_READ = 1, LOOP_WRITE = 2 }; /* errors and hang-ups report both */

struct loop *loop_new(void);
void loop_free(struct loop *loop);  /* stopped before; what is still posted is dropped */
void loop_start(struct loop *loop); /* runs it on a thread of its own */
/* Any other thread; returns when the thread has ended. What was posted until then has run, the last of it here. */
void loop_stop(struct loop *loop);
/* Runs on the calling thread until `*done`: for commands without a mount. */
void loop_run_until(struct loop *loop, const bool *done);
bool loop_is_current(const struct loop *loop);

/*
 * While much comes and nobody waits for the least of it: turns begin at least LOOP_GATHER_US apart, so that each finds
 * more to do. A thread that is woken for every 16 KiB spends more on waking than on reading. With a thread of its own
 * only.
 */
#define LOOP_GATHER_US 500
void loop_gather(struct loop *loop, bool on);

/* Runs fn(data) on the loop, in the order of posting. */
void loop_post(struct loop *loop, loop_fn fn, void *data);

/* One shot. The timer frees itself after firing: forget the pointer then. */
struct loop_timer *loop_timer_add(struct loop *loop, uint64_t delay_ms, loop_fn fn, void *data);
void loop_timer_cancel(struct loop_timer *timer); /* NULL is fine */

/* Level-triggered. `events` may be 0 (armed later). */
struct loop_watch *loop_watch_add(struct loop *loop, int fd, unsigned events, loop_watch_fn fn, void *data);
void loop_watch_set(struct loop_watch *watch, unsigned events);
void loop_watch_remove(struct loop_watch *watch); /* NULL is fine; before closing the descriptor */

/* Milliseconds of CLOCK_BOOTTIME: goes on while the machine sleeps, so a suspend counts as silence. */
uint64_t clock_ms(void);
/* Seconds since 1970. */
int64_t clock_unix(void);
