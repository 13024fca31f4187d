/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One blocking piece of work on a thread of its own, whose end is told on the loop.
 *
 * The thread never touches the loop or its owner: it sees only `ctx`, and an abandoned task may
 * outlive both. The descriptor that work() gets becomes readable when its result is no longer wanted.
 */
#pragma once

struct loop;
struct auth_task;

typedef void (*auth_task_work_fn)(void *ctx, int cancel_fd); /* on the task's thread */
typedef void (*auth_task_fn)(void *ctx);

/*
 * done(ctx) runs on the loop when work() has returned, then destroy(ctx) and the task is gone. NULL when
 * there is no thread or descriptor left; ctx is destroyed then too.
 */
struct auth_task *auth_task_start(
	struct loop *loop, auth_task_work_fn work, auth_task_fn done, auth_task_fn destroy, void *ctx);
/*
 * done() won't run. Waits a moment for the thread, so that a program that ends doesn't pull the libraries
 * from under it; one that doesn't come back (a resolver) is left to itself. NULL is fine.
 */
void auth_task_abandon(struct auth_task *task);
