/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The model: one account's folders and messages as the filesystem and the commands see them.
 *
 * Answers come from memory (folders, listings) and from the disk cache (bodies). What isn't there
 * is asked of the server by the I/O loop, through a `mail_source` (source.h): callers never wait
 * inside a call. A function that may need the server returns
 *
 *     0             the answer is in its out arguments,
 *     negative      it failed (enum error_code),
 *     MAIL_PARKED   it needs the server: `waiter->done` will be called exactly once, on the loop's
 *                   thread (perhaps before this call returns): with 0 "call again, it is there now", or
 *                   with the code it failed with; the detail then is in waiter->error.
 *                   It has its own deadline; mail_cancel() ends it early with ERR_INTERRUPTED.
 *
 * So the way of every operation is: call; if parked, wait; call again. A call again may park again
 * (something changed meanwhile), which is bounded: MAIL_PARKS_MAX.
 *
 * Folders are counted references and stay valid after they vanish from the server (functions then
 * give ERR_GONE). Messages have no objects: (folder, uid) names one. All functions are safe from any
 * thread; none holds a lock while it waits. Lock order: docs/architecture.md.
 */
#pragma once

#include "src/base/error.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MAIL_PARKED 1
#define MAIL_PARKS_MAX 8

struct mail;
struct mail_folder;

/* Zeroed before its first use, kept as it is from one call to the next of the same operation. */
struct mail_waiter {
	void (*done)(struct mail_waiter *waiter, int code);
	int pid;           /* of the program that waits, 0 = unknown: tells walks apart */
	uint64_t since_ms; /* the model's: what is forced has to be newer; 0 at first */
	/* Not 0: a check goes on without this waiter after so long. It is told 0, and what is known must do. */
	uint32_t patience_ms;
	struct error error; /* of a failure, set before done */
	void *internal;     /* the model's; NULL when not parked */
};
/* Any thread. If still parked, done(ERR_INTERRUPTED) follows on the loop; else nothing happens. */
void mail_cancel(struct mail *mail, struct mail_waiter *waiter);

/* ---- lifecycle ---- */

enum mail_sizes { MAIL_SIZES_AUTO, MAIL_SIZES_EXACT, MAIL_SIZES_TRUST };

struct mail_config {
	const char *account, *user, *host;
	const char *const *folders, *const *exclude; /* globs, NULL-terminated; NULL = all / none */
	enum mail_sizes sizes;
	uint32_t poll_s;
	int64_t stale_s; /* -1 = never */
	uint64_t daily_bytes;
	bool eol_lf, broken_stub, offline, prefetch;
	bool flags;   /* programs are shown them: changes of flags alone are worth a check */
	bool maildir; /* no folder is called cur, new or tmp: these have a meaning to who reads the tree */
};

struct cache;
struct loop;
struct mail_source;

/*
 * Copies the config, borrows loop and cache (both outlive it), takes over the source. No I/O on the network;
 * the folder tree is read from the cache.
 */
int mail_new(struct loop *loop, const struct mail_config *config, struct cache *cache, struct mail_source *source,
	struct mail **mail_out, struct error *err);
/* After the loop has stopped. Waiters still parked are told ERR_INTERRUPTED. */
void mail_free(struct mail *mail);
/* Forget backoffs and failed checks: a person did something about them (SIGHUP, login). Any thread. */
void mail_retry_now(struct mail *mail);

/* ---- folders ---- */

enum mail_folder_attributes {
	MAIL_FOLDER_NOSELECT = 1 << 0, /* holds folders only (or is only implied by a child's path) */
	MAIL_FOLDER_INBOX = 1 << 1,
	MAIL_FOLDER_ARCHIVE = 1 << 2,
	MAIL_FOLDER_DRAFTS = 1 << 3,
	MAIL_FOLDER_JUNK = 1 << 4,
	MAIL_FOLDER_SENT = 1 << 5,
	MAIL_FOLDER_TRASH = 1 << 6,
	MAIL_FOLDER_ALL = 1 << 7,
	MAIL_FOLDER_FLAGGED = 1 << 8,
};

struct mail_folder_info {
	uint32_t number;         /* 31 bits, of the directory; never 0 but for the root */
	uint32_t message_number; /* 31 bits, of its messages; 0 while its listing isn't known */
	uint32_t attributes;
	uint32_t subfolders; /* direct ones */
	uint32_t messages;
	uint32_t uidvalidity;
	int64_t mtime;       /* last change seen, at first the newest INTERNALDATE; 0 = unknown */
	int64_t flags_mtime; /* the same, of messages or of their flags */
	int64_t checked_at;
	bool loaded; /* the listing is known */
};

/* The folder tree is known (from the index, or a LIST). Everything below needs it once. */
int mail_tree_ready(struct mail *mail, struct mail_waiter *waiter, struct error *err);
/* Also checked within the last `poll` seconds (or cached listing allowed by `stale`): for opendir of any folder
 * directory. `force` checks in any case (refresh). */
int mail_tree_fresh(struct mail *mail, bool force, struct mail_waiter *waiter, struct error *err);

struct mail_folder *mail_root(struct mail *mail); /* a reference */
struct mail_folder *mail_folder_ref(struct mail_folder *folder);
void mail_folder_unref(struct mail_folder *folder); /* NULL is fine */
void mail_folder_info(struct mail *mail, struct mail_folder *folder, struct mail_folder_info *info_out);
/* The child directory of that (file system) name; NULL = there is none. A reference. */
struct mail_folder *mail_folder_child(struct mail *mail, struct mail_folder *folder, const char *name);
/* By number of a directory or of messages; NULL = unknown. A reference. */
struct mail_folder *mail_folder_by_number(struct mail *mail, uint32_t number, bool *is_message_number_out);
struct mail_folder *mail_folder_parent(struct mail *mail, struct mail_folder *folder); /* NULL for the root */
/* Path as in the mount, "Projects/Alpha"; "" for the root. g_free it. */
char *mail_folder_path(struct mail *mail, struct mail_folder *folder);
/* Iterates children in a stable order: first with number > after_number. NULL = end. name_out borrowed as long as
 * the reference is held. */
struct mail_folder *mail_folder_next_child(
	struct mail *mail, struct mail_folder *folder, uint32_t after_number, const char **name_out);

/* ---- messages ---- */

enum mail_flags {
	MAIL_SEEN = 1 << 0,
	MAIL_ANSWERED = 1 << 1,
	MAIL_FLAGGED = 1 << 2,
	MAIL_DELETED = 1 << 3,
	MAIL_DRAFT = 1 << 4,
	MAIL_FORWARDED = 1 << 5, /* $Forwarded */
	MAIL_KEYWORDS = 1 << 6,  /* has others: see mail_message_details */
};

/* The server's words for them (RFC 9051 2.3.2); keywords are told by mail_message_details(). */
static const struct mail_flag_word {
	uint32_t flag;
	const char *word;
} mail_flag_words[] = {
	{MAIL_SEEN, "\\Seen"},
	{MAIL_ANSWERED, "\\Answered"},
	{MAIL_FLAGGED, "\\Flagged"},
	{MAIL_DELETED, "\\Deleted"},
	{MAIL_DRAFT, "\\Draft"},
	{MAIL_FORWARDED, "$Forwarded"},
};

#define MAIL_STEM_MAX 256u
struct mail_message {
	uint32_t uid;
	uint32_t flags;
	uint64_t size_bytes; /* of what reading gives, when exact; else the server's word, never 0 */
	bool size_exact;
	bool size_changed;        /* it is exact, and another was told before in this mount */
	bool cached;              /* mail_messages_cached() tells: not set by the model */
	int64_t date;             /* INTERNALDATE, seconds since 1970 */
	char stem[MAIL_STEM_MAX]; /* FROM_SUBJECT */
};

/* The folder's listing is complete in memory (index or server): for lookup. */
int mail_folder_ready(struct mail *mail, struct mail_folder *folder, struct mail_waiter *waiter, struct error *err);
/* Also checked within `poll` (see `stale`): for opendir. */
int mail_folder_fresh(
	struct mail *mail, struct mail_folder *folder, bool force, struct mail_waiter *waiter, struct error *err);
/* Flags as of now, too (without CONDSTORE they are fetched): for maildir, ls --json. */
int mail_folder_flags_fresh(
	struct mail *mail, struct mail_folder *folder, struct mail_waiter *waiter, struct error *err);
/*
 * The first messages with uid > after_uid, in UID order, at most `count`; returns how many. Memory only; 0 also when
 * the listing isn't loaded. Fills at most `count` of `messages_out`.
 */
size_t mail_messages_next(struct mail *mail, struct mail_folder *folder, uint32_t after_uid,
	struct mail_message *messages_out, size_t count);
/* UIDs (uint32_t) of the folder whose bodies are cached, sorted; g_array_unref it. */
GArray *mail_messages_cached(struct mail *mail, struct mail_folder *folder);
bool mail_message_find(struct mail *mail, struct mail_folder *folder, uint32_t uid, struct mail_message *message_out);

struct mail_details {                                      /* owned; mail_details_fini */
	char *from, *to, *subject, *message_id, *keywords; /* NULL = none */
};
/* From the local index, never the network. */
int mail_message_details(struct mail *mail, struct mail_folder *folder, uint32_t uid, struct mail_details *details_out,
	struct error *err);
void mail_details_fini(struct mail_details *details);

/* ---- search ---- */

struct query;        /* query.h */
struct mail_results; /* counted; what a search has found never changes */

#define MAIL_SEARCH_FOUND_MAX                                                                                          \
	100000u              /* messages; 8 bytes each. A query that finds more is refused: it hides nothing           \
	                      */
#define MAIL_RESULTS_MAX 32u /* kept to be used again; the one used least lately goes */

/* As query_parse(); what is wrong is noted in errors.log. */
int mail_query_open(struct mail *mail, const char *text, struct query **query_out, struct error *err);
/* The same of a name that is no text at all: ERR_INVALID. */
int mail_query_misspelt(struct mail *mail, const char *name);
/*
 * What the server finds, in all folders or in that of the query and those in it; not older than `poll`. `query` is
 * borrowed as long as the call is parked. Equal ones are asked once. ERR_GONE: no such folder. ERR_INVALID: it finds
 * too much. A folder that the server refuses to search is left out and noted in errors.log, unless it refuses all.
 */
int mail_search(struct mail *mail, const struct query *query, struct mail_waiter *waiter,
	struct mail_results **results_out, struct error *err);
struct mail_results *mail_results_ref(struct mail_results *results);
void mail_results_unref(struct mail_results *results); /* NULL is fine */
struct mail_hit {
	struct mail_folder *folder; /* borrowed from the results */
	uint32_t message_number;    /* that the folder had: another now means that the message is another */
	uint32_t uid;
};
guint mail_results_count(const struct mail_results *results);
/* In the order of folder and UID. */
void mail_results_get(const struct mail_results *results, guint index, struct mail_hit *hit_out);
/* The hit number `index` among those of this UID, one of each folder that has it; false: there is none. */
bool mail_results_same_uid(const struct mail_results *results, uint32_t uid, guint index, struct mail_hit *hit_out);
/* Tells these from any others of this mount. */
uint64_t mail_results_serial(const struct mail_results *results);
/* Those, as long as they are kept, whatever their age. A reference, or NULL. */
struct mail_results *mail_results_known(struct mail *mail, uint64_t serial);

/* ---- bodies ---- */

/* A piece of a body, or all of it, ready to be answered. */
struct mail_slice {
	const void *memory; /* NULL = in a file */
	int fd;
	uint64_t fd_offset;
	size_t length;
	void *owner; /* mail_slice_fini drops it */
};
void mail_slice_fini(struct mail_slice *slice);

/*
 * Makes the size exact: what open must know before it answers where sizes aren't trusted. Never fetches
 * when it is exact already.
 */
int mail_message_size(struct mail *mail, struct mail_folder *folder, uint32_t uid, uint64_t *size_out,
	struct mail_waiter *waiter, struct error *err);
/*
 * Octets [offset, offset + length) of the message, fewer only at its end. `expected_size` is the size that the reader
 * was told (UINT64_MAX = none): another truth is ERR_BROKEN for this read, and corrects the size.
 */
int mail_read(struct mail *mail, struct mail_folder *folder, uint32_t uid, uint64_t offset, size_t length,
	uint64_t expected_size, struct mail_slice *slice_out, struct mail_waiter *waiter, struct error *err);

/* ---- what is made of them ---- */

/*
 * A message's text (UTF-8: header fields, body, list of attachments). Made once from the whole body, then cached; never
 * empty. Of a body that the server can't deliver it is what the body is: an error, or a stub.
 */
/* From memory and the index, never from a body: the length, or an estimate; under trust that is never too small. */
uint64_t mail_text_estimate(
	struct mail *mail, struct mail_folder *folder, const struct mail_message *message, bool *exact_out);
/* Makes the length exact; doesn't fetch where it is. */
int mail_text_size(struct mail *mail, struct mail_folder *folder, uint32_t uid, uint64_t *size_out,
	struct mail_waiter *waiter, struct error *err);
/* No other length, nor an estimate, was told in this mount. */
bool mail_text_was_told(struct mail *mail, struct mail_folder *folder, uint32_t uid, uint64_t size_bytes);
/* Fewer octets than asked for only at the end. */
int mail_text_read(struct mail *mail, struct mail_folder *folder, uint32_t uid, uint64_t offset, size_t length,
	struct mail_slice *slice_out, struct mail_waiter *waiter, struct error *err);

struct mail_attachment {
	char *name; /* safe as a file's, unique in its message */
	uint64_t size_bytes;
};
void mail_attachment_clear(void *attachment);
/* Array of struct mail_attachment, not to be changed; g_array_unref it. */
int mail_attachments(struct mail *mail, struct mail_folder *folder, uint32_t uid, GArray **list_out,
	struct mail_waiter *waiter, struct error *err);
/* Octets of the one at `index` of the list; fewer only at the end. */
int mail_attachment_read(struct mail *mail, struct mail_folder *folder, uint32_t uid, unsigned index, uint64_t offset,
	size_t length, struct mail_slice *slice_out, struct mail_waiter *waiter, struct error *err);

/* Sizes of this mount are taken on trust: the kernel may skip open. Fixed for a mount's life. */
bool mail_sizes_trusted(struct mail *mail);

/* ---- changes ---- */

enum mail_event_type {
	MAIL_EVENT_MESSAGE_ADDED,  /* a name appeared: negative entries */
	MAIL_EVENT_MESSAGE_GONE,   /* name and inode */
	MAIL_EVENT_MESSAGE_SIZE,   /* attributes changed */
	MAIL_EVENT_MESSAGE_FLAGS,  /* `message` is as it was before */
	MAIL_EVENT_MESSAGE_BODY,   /* nothing changed: `body` came ahead of its reader, of the size that was told */
	MAIL_EVENT_FOLDER_CHANGED, /* its directory's attributes and listing */
	MAIL_EVENT_FOLDER_RESET,   /* every message of it is another: message_number has changed */
	MAIL_EVENT_FOLDER_ADDED,
	MAIL_EVENT_FOLDER_GONE,
};
struct mail_event {
	enum mail_event_type type;
	struct mail_folder *folder;  /* borrowed: ref it to keep it */
	struct mail_folder *parent;  /* FOLDER_*: of `folder`; borrowed */
	const char *name;            /* FOLDER_ADDED/GONE: its name in the parent */
	uint32_t message_number;     /* the number that the messages had: for RESET the old one */
	struct mail_message message; /* MESSAGE_*; of a MESSAGE_BODY its uid alone */
	GBytes *body;                /* MESSAGE_BODY: all octets; borrowed: ref it to keep it */
};
/* Called from the loop's thread (or whichever changed it), with no lock held; must not block: queue it. */
typedef void (*mail_event_fn)(void *ctx, const struct mail_event *event);
/*
 * When this returns, the listener before isn't called any more. Not from within it. With a listener the folder that is
 * in use is watched: what the server tells of it is checked at once (watch.c).
 */
void mail_set_listener(struct mail *mail, mail_event_fn fn, void *ctx);

/* ---- the account as a whole ---- */

/* status.json of the contract, without the mountpoint; g_free it. */
char *mail_status_json(struct mail *mail, const char *mountpoint);
/* errors.log: one line an event, the newest last, at most MAIL_ERRORS_MAX lines. */
char *mail_errors_text(struct mail *mail);
char *mail_metrics_text(struct mail *mail);
#define MAIL_ERRORS_MAX 1000
/* Checks every folder; done when all are. One line for the reader goes to line_out (g_free). */
int mail_refresh(struct mail *mail, struct mail_waiter *waiter, char **line_out, struct error *err);
struct mail_quota {
	uint64_t used_bytes, limit_bytes; /* limit 0 = unknown */
	uint64_t messages;
};
void mail_quota(struct mail *mail, struct mail_quota *quota_out);
