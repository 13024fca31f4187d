/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The folder in use: the one that was opened or read last. It is watched through the source, and what is told of it
 * makes a check of the folder, which finds out what has changed. Where the source can't watch, and for the folder
 * tree, `poll` does. All that ends half an hour after the last use: a mount that nobody looks at holds no connection
 * for it, and what changes then is seen at the next opendir.
 *
 * A program that walks through all folders isn't followed: a folder is watched once it has been the last one for a
 * moment.
 */
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/mail/internal.h"

#include "src/base/banned.h"

#define SETTLE_MS 500u
#define USE_MS (30u * 60 * 1000)
#define GATHER_MS 100u /* changes that come together are one check */
#define APART_MS 500u  /* checks for a server that tells without end */
#define AGAIN_MS 5000u /* servers take a moment until they tell */
/* Without change numbers every message's flags are asked for. */
#define FLAGS_APART_MS 10000u
#define POLL_LEAST_S 30u

/* ---- checks ---- */

static void check_run(void *data);

static void check_at(struct mail *mail, uint64_t due_ms)
{
	struct watch *watch = &mail->watch;
	uint64_t now_ms = clock_ms();

	due_ms = MAX(due_ms, now_ms + GATHER_MS);
	if (watch->check && watch->check_due_ms <= due_ms)
		return;
	loop_timer_cancel(watch->check);
	watch->check = loop_timer_add(mail->loop, due_ms - now_ms, check_run, mail);
	watch->check_due_ms = due_ms;
}

static void check_run(void *data)
{
	struct mail *mail = data;
	struct watch *watch = &mail->watch;
	uint64_t now_ms = clock_ms(), flags_due_ms = watch->flags_checked_ms + FLAGS_APART_MS;
	struct source_status status;

	watch->check = NULL;
	if (!watch->folder)
		return;
	mail->source->ops->status(mail->source, &status);
	/*
	 * Nobody waits for this: no connection is made for it, and no error that others would be answered with. Whoever
	 * watches next tells the state.
	 */
	if (!status.signed_in) {
		watch->flags = false;
		return;
	}
	watch->checked_ms = now_ms;
	if (watch->folder->sync) {
		/* it may have begun too early to see what this one is about */
		check_at(mail, now_ms + APART_MS);
		return;
	}
	if (watch->flags && now_ms >= flags_due_ms) {
		sync_check(mail, watch->folder, FLAGS_OF_ALL);
		watch->flags_checked_ms = now_ms;
		watch->flags = false;
	} else {
		sync_check(mail, watch->folder, watch->flags_from);
	}
	watch->flags_from = 0;
	if (watch->flags)
		check_at(mail, flags_due_ms);
	if (watch->again_ms > now_ms)
		check_at(mail, watch->again_ms);
}

static bool is_same(const struct source_state *known, const struct source_state *told)
{
	return known->uidvalidity == told->uidvalidity && known->messages == told->messages &&
	       (known->uidnext == told->uidnext || !told->uidnext) &&
	       (known->highestmodseq == told->highestmodseq || !told->highestmodseq);
}

/*
 * Without change numbers: true if the check is for now. Messages that are new to the session that tells may be known
 * here, by another one: if their flags have changed since, it tells of the messages alone.
 */
static bool told_flags(struct mail *mail, bool flags_only)
{
	struct watch *watch = &mail->watch;

	if (!mail->config.flags)
		return !flags_only;
	if (flags_only) {
		watch->flags = true;
		check_at(mail, watch->flags_checked_ms + FLAGS_APART_MS);
		return false;
	}
	watch->flags_from = watch->uidnext;
	if (!watch->uidnext)
		watch->since_ms = clock_ms();
	return true;
}

static void on_told(void *ctx, const struct source_state *state, bool flags_only)
{
	struct mail *mail = ctx;
	struct watch *watch = &mail->watch;
	struct mail_folder *folder = watch->folder;

	if (state) {
		watch->since_ms = clock_ms();
		watch->uidnext = state->uidnext;
	}
	/* what was never listed is all new to whoever opens it */
	if (!folder || !folder->checked_at || (state && is_same(&folder->state, state)))
		return;
	if (!state && !folder->state.highestmodseq && !told_flags(mail, flags_only))
		return;
	log_debug("%s: the server tells of a change", folder->raw);
	folder->told = true;
	/* whoever opens it now waits for the check */
	atomic_store(&folder->fresh_until_s, 0);
	check_at(mail, watch->checked_ms + APART_MS);
}

void watch_check_ended(struct mail *mail, struct mail_folder *folder, bool well, bool changed)
{
	if (folder != mail->watch.folder)
		return;
	/* the flags that it was to ask for */
	if (!well)
		mail->watch.since_ms = clock_ms();
	/*
	 * The session that tells may not have seen that yet. If by the time it looks it has been undone, nothing has
	 * happened for it.
	 */
	if (changed) {
		mail->watch.again_ms = clock_ms() + AGAIN_MS;
		check_at(mail, mail->watch.again_ms);
	}
	if (!folder->told)
		return;
	/* told while it was under way, which may have been too late for it */
	if (well) {
		atomic_store(&folder->fresh_until_s, 0);
		check_at(mail, mail->watch.checked_ms + APART_MS);
	}
}

/* ---- poll ---- */

static void poll_arm(struct mail *mail);

/* Without change numbers nobody tells which flags changed between two IDLEs. */
static bool flags_missed(const struct mail *mail)
{
	const struct mail_folder *folder = mail->watch.folder;

	return mail->config.flags && !folder->state.highestmodseq && folder->flags_ms < mail->watch.since_ms;
}

static void poll_run(void *data)
{
	struct mail *mail = data;
	struct source_status status;

	mail->watch.poll = NULL;
	if (!mail->watch.folder)
		return;
	mail->source->ops->status(mail->source, &status);
	/* nobody waits for this: no connection is made for it, and no error */
	if (status.signed_in && !status.backoff_ms) {
		tree_kick(mail);
		if (!status.watching || flags_missed(mail))
			sync_check(mail, mail->watch.folder, mail->config.flags ? FLAGS_OF_ALL : 0);
	}
	poll_arm(mail);
}

static void poll_arm(struct mail *mail)
{
	if (!mail->watch.poll)
		mail->watch.poll = loop_timer_add(
			mail->loop, MAX(mail->config.poll_s, POLL_LEAST_S) * 1000ull, poll_run, mail);
}

/* ---- which folder ---- */

static void folder_set(struct mail_folder **at, struct mail_folder *folder)
{
	struct mail_folder *old = *at;

	*at = folder ? mail_folder_ref(folder) : NULL;
	mail_folder_unref(old);
}

static void end_run(void *data);

static void end_arm(struct mail *mail)
{
	struct watch *watch = &mail->watch;
	uint64_t now_ms = clock_ms(), until_ms = atomic_load(&watch->used_ms) + USE_MS;

	if (!watch->end)
		watch->end = loop_timer_add(mail->loop, until_ms > now_ms ? until_ms - now_ms : 0, end_run, mail);
}

static void unwatch(struct mail *mail)
{
	mail->source->ops->watch(mail->source, NULL, NULL, NULL);
	folder_set(&mail->watch.folder, NULL);
}

static void end_run(void *data)
{
	struct mail *mail = data;
	struct watch *watch = &mail->watch;
	unsigned number = atomic_exchange(&watch->number, 0);

	watch->end = NULL;
	/* whoever uses it from here on says so */
	if (clock_ms() < atomic_load(&watch->used_ms) + USE_MS) {
		atomic_store(&watch->number, number);
		end_arm(mail);
	} else if (watch->folder) {
		log_debug("%s: not used any more", watch->folder->raw);
		unwatch(mail);
	}
}

static void settle_run(void *data)
{
	struct mail *mail = data;
	struct watch *watch = &mail->watch;

	watch->settle = NULL;
	if (!watch->next || watch->next->gone)
		return;
	if (watch->next != watch->folder) {
		loop_timer_cancel(watch->check);
		watch->check = NULL;
		watch->flags = false;
		watch->flags_from = watch->uidnext = 0;
		watch->flags_checked_ms = watch->again_ms = watch->since_ms = 0;
		folder_set(&watch->folder, watch->next);
		mail->source->ops->watch(mail->source, watch->folder->raw, on_told, mail);
	}
	folder_set(&watch->next, NULL);
	end_arm(mail);
	poll_arm(mail);
}

static void used(void *data)
{
	struct mail_folder *folder = data;
	struct mail *mail = folder->mail;
	struct watch *watch = &mail->watch;

	if (!folder->gone) {
		folder_set(&watch->next, folder);
		loop_timer_cancel(watch->settle);
		watch->settle = loop_timer_add(mail->loop, SETTLE_MS, settle_run, mail);
	}
	mail_folder_unref(folder);
}

void watch_use(struct mail *mail, struct mail_folder *folder)
{
	struct watch *watch = &mail->watch;

	if (!atomic_load_explicit(&watch->wanted, memory_order_relaxed))
		return;
	atomic_store(&watch->used_ms, clock_ms());
	if (atomic_load(&watch->number) == folder->number ||
		atomic_exchange(&watch->number, folder->number) == folder->number)
		return;
	loop_post(mail->loop, used, mail_folder_ref(folder));
}

void watch_forget(struct mail *mail, struct mail_folder *folder)
{
	struct watch *watch = &mail->watch;

	if (watch->next == folder)
		folder_set(&watch->next, NULL);
	if (watch->folder != folder)
		return;
	atomic_store(&watch->number, 0);
	unwatch(mail);
}

char *watch_path(struct mail *mail)
{
	return mail->watch.folder ? mail_folder_path(mail, mail->watch.folder) : NULL;
}

void watch_stop(struct mail *mail)
{
	struct watch *watch = &mail->watch;
	struct loop_timer *timers[] = {watch->settle, watch->check, watch->poll, watch->end};

	for (size_t i = 0; i < G_N_ELEMENTS(timers); i++)
		loop_timer_cancel(timers[i]);
	folder_set(&watch->next, NULL);
	folder_set(&watch->folder, NULL);
}
