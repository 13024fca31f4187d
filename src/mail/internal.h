/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of src/mail share. Not for anyone else. */
#pragma once

#include "src/cache/cache.h"
#include "src/mail/mail.h"
#include "src/mail/source.h"
#include "src/mime/mime.h"

#include <pthread.h>
#include <stdatomic.h>

struct loop;
struct loop_timer;

/* ---- listing.c: a folder's messages in memory, about 80 bytes each ---- */

enum row_flags {
	ROW_MAIL_FLAGS = 0xffff, /* enum mail_flags */
	ROW_SIZE_EXACT = 1 << 16,
	ROW_SIZE_CHANGED = 1 << 17, /* exact, and told otherwise before, in this mount */
};

struct row {
	uint32_t uid;
	uint32_t stem; /* offset in the arena */
	uint64_t size_bytes;
	int64_t date;
	uint32_t flags; /* enum row_flags */
};

struct listing {
	GArray *rows;   /* struct row, sorted by uid */
	GString *arena; /* stems, each NUL-terminated */
	int64_t newest; /* date */
};
struct listing *listing_new(void);
void listing_free(struct listing *listing);
/* Appends in any order; listing_sort() before it is used. False when the folder is over its limits. */
bool listing_append(struct listing *listing, const struct row *row, const char *stem);
void listing_sort(struct listing *listing); /* the last of equal UIDs stays */
struct row *listing_find(const struct listing *listing, uint32_t uid);
/* Index of the first row with uid > after. */
guint listing_after(const struct listing *listing, uint32_t after);
const char *listing_stem(const struct listing *listing, const struct row *row);
/* One pass: drops rows for which `gone` says so (their stems stay in the arena until it is rebuilt). */
void listing_drop(struct listing *listing, bool (*gone)(void *ctx, uint32_t uid), void *ctx);

/* ---- order.c: the orders in which a folder may be read ---- */

struct place {
	uint32_t uid;
	uint32_t bytes; /* by the listing; at most 4 GiB; 0 = not to be fetched */
};

struct order {
	GArray *places; /* struct place, as the reader goes; NULL = none */
	guint *by_uid;  /* indices of places, in the order of UIDs; NULL = they are in it themselves */
	bool down;      /* the other way round */
};
/* By UID or by names; `down`: from the last to the first. */
struct order order_make(const struct listing *listing, bool names, bool down);
void order_clear(struct order *order);
bool order_find(const struct order *order, uint32_t uid, guint *place_out);

#define ORDER_RECENT 3u /* UIDs read last, the newest first; 0 = none */
#define ORDER_NEAR 32u  /* "closely": so many places further at most */
/* Whether the last two, or all three, follow each other closely: 1 = upwards, -1 = downwards, 0 = not. */
int order_way_by_uid(const struct listing *listing, const uint32_t recent[ORDER_RECENT]);
int order_way_by_name(const struct listing *listing, const uint32_t recent[ORDER_RECENT]);

/* ---- park.c: waiters ---- */

struct park;
struct query;
/* What a parked waiter waits for runs on the loop: `fn` is called there and either finishes the park or keeps it. */
typedef void (*park_fn)(struct mail *mail, struct park *park);
struct park {
	struct mail *mail;
	struct mail_waiter *waiter; /* NULL = finished */
	park_fn begin;
	atomic_uint references;
	/* what it waits for */
	struct mail_folder *folder; /* a reference, or NULL */
	uint32_t uid;
	const struct query *query; /* the waiter's, as long as it waits */
	uint64_t need_bytes;       /* of a body: 0 = its size is enough */
	bool force, want_flags;
	uint32_t patience_ms;        /* of the waiter */
	struct loop_timer *patience; /* NULL = none, or over */
	bool again; /* when what it waits for has ended, well or not, `begin` runs again instead of `done` */
	uint64_t since_ms;
	GQueue *queue; /* the list that holds it, NULL = none */
};
/* Any thread. Returns MAIL_PARKED. */
int park_new(struct mail *mail, struct mail_waiter *waiter, park_fn begin, struct mail_folder *folder, uint32_t uid,
	uint64_t need_bytes, bool force);
int park_new_query(struct mail *mail, struct mail_waiter *waiter, park_fn begin, const struct query *query);
int park_new_again(struct mail *mail, struct mail_waiter *waiter, park_fn begin); /* with `again` set */
/* Loop only. */
void park_wait_in(struct park *park, GQueue *queue);
void park_finish(struct park *park, int code, const struct error *err);
void park_finish_all(GQueue *queue, int code, const struct error *err);

/* ---- the model ---- */

struct sync; /* sync.c: a check of one folder under way */
struct walk; /* prefetch.c: a reader that walks a folder */

struct mail_folder {
	atomic_uint references;
	struct mail *mail;
	/* fixed after it is made */
	char *raw;       /* on the server; "" for the root */
	char *component; /* the last level of its path, decoded */
	uint32_t number;
	uint32_t cache_id; /* 0 = implied by a child's path only */
	char delimiter;
	/* mail->lock */
	struct mail_folder *parent; /* NULL = the root, or gone; not a reference */
	GPtrArray *children;        /* sorted by number; references */
	GHashTable *by_name;        /* the same by name; NULL = never had any */
	uint32_t attributes;
	char *name;        /* in the file system; "" for the root */
	GSList *old_names; /* borrowed by callers for as long as they hold the folder */
	bool gone;
	bool unsorted;     /* children */
	bool seen, listed; /* in the LIST under way: at all, by itself */
	bool missing;      /* not in the last LIST */
	uint32_t missing_session;
	struct listing *listing;   /* NULL = not loaded */
	struct source_state state; /* as of checked_at; uidvalidity 0 = never */
	uint32_t message_number;
	int64_t checked_at; /* seconds since 1970; 0 = never complete */
	int64_t mtime, flags_mtime;
	bool identified;    /* in this process the known messages were seen to be the same */
	bool told;          /* loop only: the server spoke of a change after the last check began */
	GHashTable *broken; /* uid → struct broken; NULL = none */
	/* mail->views_lock */
	GHashTable *texts; /* uid → length of its text, where it is known (view.c); NULL = not loaded */
	/* loop only */
	struct sync *sync;
	GQueue flag_parks;     /* waiting for flags as of now */
	struct error *failure; /* of the last check; NULL = it succeeded, or what is cached may be shown */
	GHashTable *bodies;    /* uid → struct body: on their way */
	struct walk *walk;
	/* any thread */
	atomic_ullong fresh_ms;    /* clock_ms() of the last check that succeeded, 0 = none in this process */
	atomic_ullong attempt_ms;  /* … that ended, well or not */
	atomic_ullong flags_ms;    /* … that told all flags */
	atomic_uint fresh_until_s; /* clock_ms()/1000 until which no check is due: the fast path of opendir */
	atomic_uint flags_until_s; /* the same, of one that tells all flags */
	atomic_bool walk_active;
	atomic_uint walk_uid; /* the last UID read while a walk is active */
	atomic_uint walk_hits;
	atomic_ullong text_asked_ms; /* when a text that had to be made was asked for last; 0 = never */
	atomic_bool walk_posted;     /* the loop will look at walk_uid */
	atomic_int lister;           /* the program that opened the directory last; 0 = unknown */
};

/* watch.c: the folder in use */
struct watch {
	atomic_bool wanted;
	atomic_uint number;    /* of the folder used last; 0 = none lately */
	atomic_ullong used_ms; /* clock_ms() */
	/* loop only */
	struct mail_folder *next, *folder; /* used last; watched, by the source and by polling. References, or NULL */
	struct loop_timer *settle, *check, *poll, *end;
	/* clock_ms(): when `check` is due, the last one began, and the last one that asked for all flags */
	uint64_t check_due_ms, checked_ms, flags_checked_ms;
	uint64_t again_ms;   /* … when one is due that finds nothing, if the server tells all */
	uint64_t since_ms;   /* … what changed before was told by nobody */
	uint32_t uidnext;    /* at that time; 0 = not told */
	bool flags;          /* all flags are to be asked for */
	uint32_t flags_from; /* … or those from this UID on; 0 = of none */
};

struct mail {
	struct loop *loop;
	struct cache *cache;
	struct mail_source *source;
	char *account, *user, *host;
	char **folder_globs, **exclude_globs;
	struct mail_config config;
	bool sizes_trusted; /* fixed for this mount */

	pthread_rwlock_t lock; /* tree and listings */
	struct mail_folder *root;
	GHashTable *by_number; /* number → struct mail_folder: of directories and of messages; keeps a reference */
	GHashTable *by_raw;    /* raw name → struct mail_folder */
	GHashTable *shown;     /* loop only: numbers of messages' inodes that this mount has had */
	bool tree_known;
	int64_t tree_checked_at; /* loop only; seconds since 1970 */

	pthread_mutex_t load_lock;     /* one listing is read from the cache at a time; before `lock` */
	pthread_mutex_t park_lock;     /* waiter->internal and park references; innermost */
	pthread_rwlock_t streams_lock; /* the two below; no other lock is taken under it */
	GQueue streams;                /* struct streaming * */
	GQueue held;                   /* struct held *: large bodies that came lately, cached or not */
	GQueue parks;                  /* loop only: every park that isn't finished */

	pthread_mutex_t views_lock; /* texts of folders, and what was made lately; innermost */
	struct renderer *renderer;
	atomic_ullong rendered;
	struct watch watch;

	/* loop only */
	struct tree_check *tree_check;
	struct error tree_failure; /* of the last check of the tree; code 0 = it succeeded */
	GQueue syncs;              /* struct sync *: under way, those of folders that have gone too */
	GQueue fetches;            /* struct fetch *: under way, the oldest first */
	struct loop_timer *walk_timer;
	GQueue walks;           /* struct walk *: the active ones, each in its turn */
	uint64_t walk_ended_ms; /* when one reached the end of its folder */
	/* what the line brought when it was measured last, and when that was; 0 = never */
	uint64_t line_bytes_per_s, line_ms;

	GQueue searches;              /* loop only; struct search *: under way, the first ones running */
	pthread_mutex_t results_lock; /* innermost */
	GQueue results;               /* struct mail_results *, those used last at the end */
	uint64_t results_serial;

	atomic_uint tree_fresh_until_s;
	atomic_ullong tree_fresh_ms, tree_attempt_ms;
	atomic_ullong fetched_bytes, fetched_messages, cache_hits, cache_misses, prefetched;
	atomic_uint sizes_confirmed;
	atomic_bool sizes_lied;
	pthread_mutex_t lies_lock; /* innermost */
	GHashTable *lies;  /* folder and uid (body.c) of messages whose next reader may have been told a wrong size */
	int64_t daily_day; /* loop only */
	uint64_t daily_used;
	uint64_t daily_saved;

	pthread_mutex_t errors_lock;
	GQueue errors; /* char * */
	struct error last_error;
	uint64_t noted_ms; /* when the newest line was added */

	pthread_rwlock_t listener_lock; /* held while it is told; it takes none of ours */
	mail_event_fn listener;
	void *listener_ctx;
};

void mail_emit(struct mail *mail, const struct mail_event *event);
/* One line in errors.log and the log. */
void mail_note_error(struct mail *mail, const struct error *err, const char *format, ...) G_GNUC_PRINTF(3, 4);
void mail_row_message(const struct mail *mail, const struct listing *listing, const struct row *row,
	struct mail_message *message_out);

/* May what was checked then be shown although it can't be checked now? 0 = never checked. */
bool mail_stale_allowed(const struct mail *mail, int64_t checked_at);

/* tree_check.c */
void tree_check_begin(struct mail *mail, struct park *park);
void tree_kick(struct mail *mail); /* a check now, for nobody in particular; loop only */

/* tree.c */
int tree_load(struct mail *mail, struct error *err); /* from the cache */
void tree_free(struct mail *mail);
/* The stored inode number for a key. */
uint32_t tree_number(struct mail *mail, const char *key);
/* Writes the folder's row; inside a batch when one is given. Called with the lock held or on the loop. */
void tree_folder_row(const struct mail_folder *folder, struct cache_folder *row_out);
bool tree_glob_match(const char *glob, const char *path, char delimiter);
/* names.c */
/* `maildir`: names that a maildir's directories have are escaped, too. */
char *folder_name_make(const char *component, const char *raw, bool maildir, bool clash);

/* sync.c */
void sync_park(struct mail *mail, struct park *park); /* park_fn: folder ready/fresh */
void sync_free(struct sync *sync);
void sync_kick(struct mail *mail, struct mail_folder *folder); /* a check now, for nobody in particular; loop only */
#define FLAGS_OF_ALL 1u
/* The same; flags too, from a UID on (struct source_sync_job). */
void sync_check(struct mail *mail, struct mail_folder *folder, uint32_t flags_from);
bool folder_load(struct mail *mail, struct mail_folder *folder); /* from the cache; true = listing there */
/* Nothing of its messages is shown any more; who waits for one gets `code`. The index isn't told. Loop only. */
void folder_messages_forget(struct mail *mail, struct mail_folder *folder, int code, const char *why);
/* Seconds of clock_ms() until which a check of now holds. */
unsigned fresh_until(const struct mail *mail, uint64_t now_ms);

/* watch.c: the folder in use is watched, and checked when the server tells of a change */
void watch_use(struct mail *mail, struct mail_folder *folder); /* any thread; cheap */
void watch_check_ended(struct mail *mail, struct mail_folder *folder, bool well, bool changed);
void watch_forget(struct mail *mail, struct mail_folder *folder); /* it is gone */
char *watch_path(struct mail *mail); /* of the watched folder, g_free it; NULL = none; loop only */
void watch_stop(struct mail *mail);

/* results.c: what searches found */
struct found {
	uint32_t folder; /* index in folders */
	uint32_t uid;
};

struct mail_results {
	atomic_uint references;
	char *text; /* of the query */
	uint64_t as_of_ms;
	uint64_t serial;
	GPtrArray *folders; /* struct mail_folder, references */
	GArray *numbers;    /* uint32_t: the message number of each */
	GArray *found;      /* struct found */
	GArray *by_uid;     /* guint: indices of found, in the order of UIDs */
};
struct mail_results *results_new(const char *text, uint64_t as_of_ms);
/* All has been found. */
void results_sort(struct mail_results *results);
/* Young enough for who asks at `since_ms` (0 = now). A reference, or NULL. Any thread. */
struct mail_results *results_find(struct mail *mail, const char *text, uint64_t since_ms);
/* Takes over `results`, in place of those that the same query had. */
void results_keep(struct mail *mail, struct mail_results *results);

/* search.c */
void searches_free(struct mail *mail);

/* body.c: what readers ask */
/* The octets are those of the message: its size is exact from now on. Loop only. */
void body_size_learn(struct mail *mail, struct mail_folder *folder, uint32_t uid, uint64_t size_bytes, bool confirms);
void body_sizes_save(struct mail *mail);
struct cache_key body_key(const struct mail *mail, const struct mail_folder *folder, uint32_t uid);
bool body_is_cached(struct mail *mail, struct mail_folder *folder, uint32_t uid);
/* A large body under way, which readers follow. The lists are guarded by mail->streams_lock. */
struct streaming {
	struct mail_folder *folder; /* a reference */
	uint32_t uid;
	uint64_t length, written;
	bool handed_out; /* octets of it were read before it was complete */
	bool hidden;     /* whose it is isn't sure yet: not to be read */
	struct cache_stream *stream;
};
struct streaming *body_stream_open(
	struct mail *mail, struct mail_folder *folder, uint32_t uid, uint64_t length, bool hidden, struct error *err);
int body_stream_write(struct mail *mail, struct streaming *s, const char *bytes, size_t length, struct error *err);
/* Both free it. */
int body_stream_commit(struct mail *mail, struct streaming *s, const char *emailid, struct error *err);
void body_stream_abort(struct mail *mail, struct streaming *s);
void body_held_drop(struct mail *mail, const struct mail_folder *folder);
void body_held_free(struct mail *mail);
/* The whole of it, if it is here: a reference. Any thread, as are the next ones. */
bool body_get(struct mail *mail, struct mail_folder *folder, uint32_t uid, struct cache_body **body_out);
/* It isn't here: 0 if it can be fetched, else why not. */
int body_absent(struct mail *mail, struct mail_folder *folder, uint32_t uid, struct error *err);
/* Both take over what they slice. */
void body_slice(struct cache_body *body, uint64_t offset, size_t length, struct mail_slice *slice_out);
void body_slice_bytes(GBytes *bytes, uint64_t offset, size_t length, struct mail_slice *slice_out);

/* view.c, render.c: what is made of bodies. Views as the cache keeps them; a number means the same for ever. */
enum view {
	VIEW_TEXT = MIME_TEXT_VERSION,                      /* 1 to 255 */
	VIEW_LIST = 256,                                    /* not stored */
	VIEW_ATTACHMENTS = 1024 * MIME_ATTACHMENTS_VERSION, /* and the place in the list */
};
G_STATIC_ASSERT(VIEW_TEXT < VIEW_LIST && VIEW_ATTACHMENTS + MIME_ATTACHMENTS_MAX <= CACHE_VIEW_MAX);
void render_init(struct mail *mail);
void render_fini(struct mail *mail);                                            /* after the loop has stopped */
void render_ahead(struct mail *mail, struct mail_folder *folder, uint32_t uid); /* loop only: its body has come */
bool render_is_ahead(struct mail_folder *folder);            /* texts of it are read now, and made ahead */
void render_park_text(struct mail *mail, struct park *park); /* park_fn, as are the next two */
void render_park_list(struct mail *mail, struct park *park);
void render_park_attachment(struct mail *mail, struct park *park); /* its place in need_bytes */
/* What was made lately: a reference. Any thread. */
bool render_find(struct mail *mail, const struct cache_key *key, struct cache_body **body_out);
GArray *render_find_list(struct mail *mail, const struct cache_key *key); /* NULL = isn't there */
GArray *attachments_new(void);
/* The same, from the cache, too. */
bool view_find(struct mail *mail, const struct cache_key *key, struct cache_body **body_out);
/* The folder's messages are others, or gone: nothing made of them is found any more, who waits gets `code`. Loop only.
 */
void render_forget(struct mail *mail, struct mail_folder *folder, int code, const struct error *err);
/* `number`: that which the messages had when the key was made. */
void text_length_learn(
	struct mail *mail, struct mail_folder *folder, const struct cache_key *key, uint32_t number, uint64_t length);
/* From memory; loop only. */
bool text_is_known(struct mail *mail, struct mail_folder *folder, const struct cache_key *key);
void text_lengths_forget(struct mail *mail, struct mail_folder *folder);

/* broken.c: messages that the server can't deliver */
bool broken_is_stand_in(const char *bytes, size_t length);
/* From now on, for a day. Loop only. */
void broken_mark(struct mail *mail, struct mail_folder *folder, uint32_t uid, const struct error *err);
void broken_clear(struct mail *mail, struct mail_folder *folder, uint32_t uid);
/* What is known of it now: 0 = nothing; ERR_BROKEN; or 1 and the octets of a stub. Any thread. */
int broken_look(struct mail *mail, struct mail_folder *folder, uint32_t uid, GBytes **stub_out, struct error *err);
/* The same, without a reason. */
bool broken_is_known(struct mail *mail, struct mail_folder *folder, uint32_t uid);

/* fetch.c: bodies on their way */
void fetch_park(struct mail *mail, struct park *park); /* park_fn: a body, or its size */
/* A fetch of `uids` (uint32_t) of this folder, ahead of a reader. */
void fetch_bulk(struct mail *mail, struct mail_folder *folder, const GArray *uids);
bool fetch_is_under_way(const struct mail_folder *folder, uint32_t uid);
/* Ends all of this folder: readers get `code`. */
void fetch_stop_all(struct mail_folder *folder, int code, const struct error *err);

/* daily.c: what was fetched today, kept over restarts */
void daily_load(struct mail *mail);
int daily_check(struct mail *mail, uint64_t bytes, struct error *err);
void daily_add(struct mail *mail, uint64_t bytes);
void daily_save(struct mail *mail);

/* prefetch.c */
void walk_missed(struct mail *mail, struct mail_folder *folder, uint32_t uid, int pid); /* loop; pid 0 = unknown */
void walk_hit(struct mail *mail, struct mail_folder *folder, uint32_t uid);             /* any thread; cheap */
/* A body of bulk work has come, or won't. Loop only. */
void walk_arrived(struct mail *mail, struct mail_folder *folder, uint64_t bytes, uint64_t asked_ms, bool well);
/* The first octets of a fetch have come, so long after it was asked for. */
void walk_answered(struct mail_folder *folder, uint64_t after_ms);
/* So much came in so long, of something else than a walk: what a walk that begins soon may ask for. */
void walk_line_measured(struct mail *mail, uint64_t bytes, uint64_t ms);
void walk_free(struct mail_folder *folder);
