/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Prefetch: a program that walks a folder is recognised by its misses, and what follows is streamed ahead of it.
 *
 * Evidence is two misses that follow each other closely in UID order, or three in the order of names (restic and rsync
 * sort), up or down. One is enough where the same kind of walk has just ended in another folder, and where a program
 * that has listed the folder begins with its first message. The order can turn out to be another one: a walk whose
 * reader is elsewhere is given up. The window of bytes
 * ahead of the reader begins small and grows only while the reader follows: a program that opens three mails doesn't
 * pull the folder. It is also bound to what the wire brings in WINDOW_SECONDS, so that a slow line isn't
 * filled with what nobody may want. Two seconds of silence end a walk.
 *
 * Loop only, but for walk_hit().
 */
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/mail/flight.h"
#include "src/mail/internal.h"

#include <string.h>

#include "src/base/banned.h"

#define EVIDENCE_MS 2000u /* misses further apart than this don't belong together */
#define SILENCE_MS 2000u  /* ends a walk */
#define WINDOW_FIRST_BYTES (1u << 20)
#define WINDOW_NEXT_BYTES (4u << 20)    /* … in a folder that follows one that was walked to its end */
#define WINDOW_PROVED_BYTES (16u << 20) /* … and when the reader has followed so far: */
#define PROVED_MESSAGES 8u
#define WINDOW_FIRST_SHARE 8u /* of a second of a line that is known to be fast, up to the next one's */
#define WINDOW_MAX_BYTES (64u << 20)
#define WINDOW_GROWTH 4u /* when the reader has followed through half of it */
#define WINDOW_SECONDS 4u
#define JOB_BYTES_MIN (256u << 10)
#define JOB_BYTES_MAX (8u << 20)
#define JOB_MESSAGES_MAX 2000u
#define JOBS 4u /* commands that what is under way is asked for by, at most: the server has its next one always */
#define LINE_BYTES_MIN (512u << 10) /* less says nothing of a line */
#define LINE_KNOWN_MS 60000u
#define SAMPLE_MS 250u
#define HITS_A_LOOK 8u
#define STRAYS_MAX 3u /* misses elsewhere, and none on the way: nobody goes this way */

struct walk {
	struct mail *mail;
	struct mail_folder *folder; /* borrowed: it owns the walk */
	/* evidence */
	uint32_t recent[ORDER_RECENT]; /* UIDs of the last misses, the newest first; 0 = none */
	uint64_t recent_ms;
	/* while active */
	bool active;
	unsigned strays; /* misses elsewhere since the reader was seen on the way */
	struct order order;
	guint reader, next;   /* the reader's place; the first not asked for */
	uint64_t ahead_bytes; /* asked for beyond the reader */
	uint64_t window_bytes, followed_bytes;
	guint followed; /* messages, in all */
	uint64_t in_flight_bytes;
	uint64_t rate_bytes; /* a second, lately; 0 = not known yet */
	uint64_t sample_ms, sample_bytes;
	struct flight flight;
	uint64_t seen_ms;
};

static void pump_all(struct mail *mail);

static struct walk *walk_of(struct mail *mail, struct mail_folder *folder)
{
	if (!folder->walk) {
		folder->walk = g_new0(struct walk, 1);
		folder->walk->mail = mail;
		folder->walk->folder = folder;
	}
	return folder->walk;
}

static void walk_stop(struct walk *walk)
{
	if (!walk->active)
		return;
	walk->active = false;
	atomic_store(&walk->folder->walk_active, false);
	g_queue_remove(&walk->mail->walks, walk);
	order_clear(&walk->order);
	walk->strays = 0;
	memset(walk->recent, 0, sizeof(walk->recent));
}

void walk_free(struct mail_folder *folder)
{
	if (!folder->walk)
		return;
	walk_stop(folder->walk);
	g_free(folder->walk);
	folder->walk = NULL;
}

/* ---- evidence ---- */

static void skip_cached(struct walk *walk)
{
	struct mail *mail = walk->mail;
	g_autoptr(GArray) cached = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	struct cache_key key = body_key(mail, walk->folder, 0);
	struct error err;

	if (cache_body_uids(mail->cache, key.folder, key.uidvalidity, key.lf, cached, &err) != 0)
		return;
	for (guint i = 0; i < cached->len; i++) {
		guint place;

		if (order_find(&walk->order, g_array_index(cached, uint32_t, i), &place))
			g_array_index(walk->order.places, struct place, place).bytes = 0;
	}
}

void walk_line_measured(struct mail *mail, uint64_t bytes, uint64_t ms)
{
	if (bytes < LINE_BYTES_MIN)
		return;
	mail->line_bytes_per_s = bytes * 1000 / MAX(ms, 1);
	mail->line_ms = clock_ms();
}

/* What the line brought lately in a second; 0 = unknown. */
static uint64_t line_rate(const struct mail *mail)
{
	return clock_ms() - mail->line_ms < LINE_KNOWN_MS ? mail->line_bytes_per_s : 0;
}

static void walk_begin(struct walk *walk, bool names, bool down, uint64_t window_bytes)
{
	uint64_t rate_bytes = line_rate(walk->mail);

	walk->order = order_make(walk->folder->listing, names, down);
	walk->active = order_find(&walk->order, walk->recent[0], &walk->reader);
	if (!walk->active) {
		order_clear(&walk->order);
		return;
	}
	skip_cached(walk);
	walk->next = walk->reader + 1;
	walk->ahead_bytes = walk->followed_bytes = 0;
	walk->followed = 0;
	walk->rate_bytes = walk->sample_bytes = 0;
	flight_begin(&walk->flight, rate_bytes);
	walk->window_bytes = CLAMP(rate_bytes / WINDOW_FIRST_SHARE, window_bytes, WINDOW_NEXT_BYTES);
	walk->sample_ms = walk->seen_ms = clock_ms();
	g_queue_push_tail(&walk->mail->walks, walk);
	atomic_store(&walk->folder->walk_uid, walk->recent[0]);
	atomic_store(&walk->folder->walk_active, true);
	log_debug("%s: a program walks from UID %u on", walk->folder->raw, walk->recent[0]);
}

/* `lister`: the program has listed the folder. */
static void consider(struct walk *walk, bool lister)
{
	struct mail *mail = walk->mail;
	const struct listing *listing = walk->folder->listing;
	bool goes_on = mail->walk_ended_ms && clock_ms() - mail->walk_ended_ms < EVIDENCE_MS;
	uint64_t window = goes_on ? WINDOW_NEXT_BYTES : WINDOW_FIRST_BYTES;
	int way = order_way_by_uid(listing, walk->recent);

	if (!way && (goes_on || lister) && listing->rows->len &&
		g_array_index(listing->rows, struct row, 0).uid == walk->recent[0])
		way = 1;
	if (way) {
		walk_begin(walk, false, way < 0, window);
		return;
	}
	way = order_way_by_name(listing, walk->recent);
	if (way)
		walk_begin(walk, true, way < 0, window);
}

/* ---- the window ---- */

static uint64_t window_now(const struct walk *walk)
{
	if (!walk->rate_bytes)
		return walk->window_bytes;
	return MIN(walk->window_bytes, MAX(walk->rate_bytes * WINDOW_SECONDS, WINDOW_FIRST_BYTES));
}

/* A job asks for so much at least. */
static uint64_t job_least(const struct walk *walk)
{
	return CLAMP(MIN(window_now(walk), walk->flight.most_bytes) / JOBS, JOB_BYTES_MIN, JOB_BYTES_MAX);
}

/*
 * Where the server takes one command at a time, those that wait for the next connection would leave it idle for a round
 * trip each: a job asks for more, as far as there is room.
 */
static uint64_t job_most(const struct walk *walk)
{
	struct mail_source *source = walk->mail->source;
	uint64_t most = MIN(window_now(walk), walk->flight.most_bytes) /
	                CLAMP(source->ops->bulk_at_once(source), 1, JOBS);
	uint64_t room = MIN(window_now(walk) - walk->ahead_bytes, walk->flight.most_bytes - walk->in_flight_bytes);

	return CLAMP(MIN(most, room), job_least(walk), JOB_BYTES_MAX);
}

static void rate_note(struct walk *walk, uint64_t bytes)
{
	uint64_t ms = clock_ms() - walk->sample_ms, rate;

	walk->sample_bytes += bytes;
	if (ms < SAMPLE_MS)
		return;
	rate = MAX(walk->sample_bytes * 1000 / ms, 1);
	walk->rate_bytes = walk->rate_bytes ? (walk->rate_bytes + rate) / 2 : rate;
	walk->sample_ms += ms;
	walk->sample_bytes = 0;
}

static void reader_at(struct walk *walk, guint place)
{
	walk->seen_ms = clock_ms();
	while (walk->reader < place) {
		uint64_t bytes = g_array_index(walk->order.places, struct place, ++walk->reader).bytes;

		walk->followed_bytes += bytes;
		if (++walk->followed == PROVED_MESSAGES)
			walk->window_bytes = MAX(walk->window_bytes, WINDOW_PROVED_BYTES);
		if (walk->reader < walk->next)
			walk->ahead_bytes -= MIN(walk->ahead_bytes, bytes);
	}
	if (walk->next <= walk->reader)
		walk->next = walk->reader + 1;
	if (walk->followed_bytes * 2 >= walk->window_bytes) {
		walk->window_bytes = MIN(walk->window_bytes * WINDOW_GROWTH, WINDOW_MAX_BYTES);
		walk->followed_bytes = 0;
	}
}

static guint job_gather(struct walk *walk, GArray *uids, uint64_t job_bytes)
{
	uint64_t bytes = 0;

	while (walk->next < walk->order.places->len && bytes < job_bytes && uids->len < JOB_MESSAGES_MAX) {
		struct place *place = &g_array_index(walk->order.places, struct place, walk->next++);

		if (!place->bytes || fetch_is_under_way(walk->folder, place->uid) ||
			broken_is_known(walk->mail, walk->folder, place->uid) ||
			!listing_find(walk->folder->listing, place->uid)) {
			place->bytes = 0;
			continue;
		}
		bytes += place->bytes;
		g_array_append_val(uids, place->uid);
	}
	walk->ahead_bytes += bytes;
	walk->in_flight_bytes += bytes;
	return uids->len;
}

/* One job; false when the window is full, or there is nothing left to ask for. */
static bool pump(struct walk *walk)
{
	uint64_t window = window_now(walk), job_bytes;
	g_autoptr(GArray) uids = NULL;
	struct error err;

	if (walk->next >= walk->order.places->len || walk->ahead_bytes >= window ||
		walk->in_flight_bytes >= walk->flight.most_bytes)
		return false;
	/* few large commands: not one for each message that the reader has left behind */
	if (window - walk->ahead_bytes < job_least(walk) && walk->in_flight_bytes)
		return false;
	job_bytes = job_most(walk);
	if (daily_check(walk->mail, job_bytes, &err) != 0) {
		walk_stop(walk);
		return false;
	}
	uids = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	if (job_gather(walk, uids, job_bytes))
		fetch_bulk(walk->mail, walk->folder, uids);
	return true;
}

static void look_for_silence(void *data)
{
	struct mail *mail = data;
	uint64_t now_ms = clock_ms();

	mail->walk_timer = NULL;
	for (GList *at = mail->walks.head, *next; at; at = next) {
		struct walk *walk = at->data;

		next = at->next;
		if (now_ms - walk->seen_ms > SILENCE_MS && !walk->in_flight_bytes)
			walk_stop(walk);
	}
	if (mail->walks.length)
		mail->walk_timer = loop_timer_add(mail->loop, SILENCE_MS, look_for_silence, mail);
}

/* Each active walk in its turn, until no window has room. */
static void pump_all(struct mail *mail)
{
	bool any = true;

	while (any && mail->walks.length) {
		any = false;
		for (guint turn = mail->walks.length; turn && mail->walks.length; turn--) {
			struct walk *walk = g_queue_pop_head(&mail->walks);

			g_queue_push_tail(&mail->walks, walk);
			/* who has stopped reading gets nothing more */
			if (clock_ms() - walk->seen_ms <= SILENCE_MS || walk->in_flight_bytes)
				any |= pump(walk);
		}
	}
	if (mail->walks.length && !mail->walk_timer)
		mail->walk_timer = loop_timer_add(mail->loop, SILENCE_MS, look_for_silence, mail);
}

static void progress(struct walk *walk, uint32_t uid)
{
	guint place;

	if (!order_find(&walk->order, uid, &place))
		return;
	walk->seen_ms = clock_ms();
	/* somebody else reads elsewhere */
	if (place <= walk->reader || place > walk->next + ORDER_NEAR)
		return;
	walk->strays = 0;
	reader_at(walk, place);
	if (place + 1 >= walk->order.places->len)
		walk->mail->walk_ended_ms = clock_ms();
	pump_all(walk->mail);
}

/* ---- events ---- */

static void recent_add(struct walk *walk, uint32_t uid, uint64_t now_ms)
{
	if (now_ms - walk->recent_ms > EVIDENCE_MS)
		memset(walk->recent, 0, sizeof(walk->recent));
	memmove(walk->recent + 1, walk->recent, sizeof(walk->recent) - sizeof(walk->recent[0]));
	walk->recent[0] = uid;
	walk->recent_ms = now_ms;
}

/* A miss while the walk is active: true when it was elsewhere too often. */
static bool strayed(struct walk *walk, uint32_t uid, uint64_t now_ms)
{
	uint32_t recent[ORDER_RECENT];
	guint reader = walk->reader;

	if (walk->recent[0] != uid)
		recent_add(walk, uid, now_ms);
	progress(walk, uid);
	if (!walk->active || walk->reader != reader || ++walk->strays < STRAYS_MAX)
		return false;
	memcpy(recent, walk->recent, sizeof(recent));
	walk_stop(walk);
	memcpy(walk->recent, recent, sizeof(recent));
	return true;
}

void walk_missed(struct mail *mail, struct mail_folder *folder, uint32_t uid, int pid)
{
	struct walk *walk;
	uint64_t now_ms = clock_ms();
	bool lister = pid && atomic_load_explicit(&folder->lister, memory_order_relaxed) == pid;

	if (!mail->config.prefetch || !folder->listing)
		return;
	walk = walk_of(mail, folder);
	if (walk->active) {
		if (!strayed(walk, uid, now_ms))
			return;
	} else if (walk->recent[0] == uid) {
		return;
	} else {
		recent_add(walk, uid, now_ms);
	}
	consider(walk, lister);
	if (walk->active)
		pump_all(mail);
	/* a folder of one or two messages is over before it is a walk */
	if (folder->listing->rows->len &&
		g_array_index(folder->listing->rows, struct row, folder->listing->rows->len - 1).uid == uid &&
		mail->walk_ended_ms && now_ms - mail->walk_ended_ms < EVIDENCE_MS)
		mail->walk_ended_ms = now_ms;
}

struct hit {
	struct mail *mail;
	struct mail_folder *folder; /* a reference */
};

static void hit_look(void *data)
{
	struct hit *hit = data;
	struct walk *walk = hit->folder->walk;

	atomic_store(&hit->folder->walk_posted, false);
	if (walk && walk->active)
		progress(walk, atomic_load(&hit->folder->walk_uid));
	mail_folder_unref(hit->folder);
	g_free(hit);
}

void walk_hit(struct mail *mail, struct mail_folder *folder, uint32_t uid)
{
	struct hit *hit;

	if (!atomic_load_explicit(&folder->walk_active, memory_order_relaxed))
		return;
	atomic_store(&folder->walk_uid, uid);
	/* the loop needn't know of each: a reader that comes to the end of what was asked for misses, and that it sees
	 */
	if (atomic_fetch_add(&folder->walk_hits, 1) % HITS_A_LOOK != 0)
		return;
	if (atomic_exchange(&folder->walk_posted, true))
		return;
	hit = g_new0(struct hit, 1);
	hit->mail = mail;
	hit->folder = mail_folder_ref(folder);
	loop_post(mail->loop, hit_look, hit);
}

void walk_arrived(struct mail *mail, struct mail_folder *folder, uint64_t bytes, uint64_t asked_ms, bool well)
{
	struct walk *walk = folder->walk;

	if (!walk)
		return;
	walk->in_flight_bytes -= MIN(walk->in_flight_bytes, bytes);
	if (!walk->active)
		return;
	rate_note(walk, bytes);
	flight_arrived(&walk->flight, bytes, clock_ms() - asked_ms);
	if (!well)
		walk_stop(walk);
	else if (!walk->in_flight_bytes || walk->ahead_bytes < window_now(walk))
		pump_all(mail);
}

void walk_answered(struct mail_folder *folder, uint64_t after_ms)
{
	struct walk *walk = folder->walk;

	if (walk && walk->active)
		flight_answered(&walk->flight, after_ms);
}
