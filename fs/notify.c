/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fs/notify.h"

#include "fs/fill.h"
#include "fs/names.h"
#include "fs/node.h"
#include "fs/view.h"
#include "src/base/log.h"
#include "src/base/loop.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "src/base/banned.h"

enum note_kind { ATTRIBUTES, CONTENT, ENTRY, DELETED, CALL };

struct note {
	enum note_kind kind;
	uint64_t ino;   /* of ENTRY and DELETED: the parent */
	uint64_t child; /* of DELETED; of an ENTRY that stands for a whole directory: that directory */
	notify_call_fn call;
	void *call_ctx;
	char name[]; /* of ENTRY and DELETED */
};

struct notify {
	struct mail *mail;
	const struct notify_sink *sink;
	struct fill *fill;
	void *ctx;
	bool names_uid, maildir;
	bool started;
	pthread_t thread;

	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t filled;
	GQueue notes;
	GHashTable *content;   /* inodes whose CONTENT is queued: one is enough */
	GHashTable *collapsed; /* directories whose entry is queued because of too many changes */
	GHashTable *sizes[2];  /* inodes of messages whose size was learned: lately, and before that */
	uint64_t sizes_due_ms; /* when the older ones are told and the younger ones become the older */
	bool busy;             /* the thread is sending one */
	bool stopping;
	bool texts; /* are shown in this mount */
};

static GHashTable *set_new(void)
{
	return g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
}

struct notify *notify_new(
	struct mail *mail, bool names_uid, bool maildir, const struct notify_sink *sink, struct fill *fill, void *ctx)
{
	struct notify *notify = g_new0(struct notify, 1);
	pthread_condattr_t monotonic;

	notify->mail = mail;
	notify->names_uid = names_uid;
	notify->maildir = maildir;
	notify->sink = sink;
	notify->fill = fill;
	notify->ctx = ctx;
	pthread_mutex_init(&notify->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&notify->filled, &monotonic);
	pthread_condattr_destroy(&monotonic);
	g_queue_init(&notify->notes);
	notify->content = set_new();
	notify->collapsed = set_new();
	for (size_t i = 0; i < G_N_ELEMENTS(notify->sizes); i++)
		notify->sizes[i] = set_new();
	return notify;
}

void notify_free(struct notify *notify)
{
	if (!notify)
		return;
	g_queue_clear_full(&notify->notes, g_free);
	g_hash_table_unref(notify->content);
	g_hash_table_unref(notify->collapsed);
	for (size_t i = 0; i < G_N_ELEMENTS(notify->sizes); i++)
		g_hash_table_unref(notify->sizes[i]);
	pthread_cond_destroy(&notify->filled);
	pthread_mutex_destroy(&notify->lock);
	g_free(notify);
}

static bool set_add(GHashTable *set, uint64_t ino)
{
	return g_hash_table_add(set, g_memdup2(&ino, sizeof(ino)));
}

/* All push functions: under the lock, which comes before the model's. */
static struct note *push(struct notify *notify, enum note_kind kind, uint64_t ino, const char *name)
{
	size_t length = name ? strlen(name) + 1 : 1;
	struct note *note = g_malloc0(sizeof(*note) + length);

	note->kind = kind;
	note->ino = ino;
	if (name)
		memcpy(note->name, name, length);
	g_queue_push_tail(&notify->notes, note);
	pthread_cond_signal(&notify->filled);
	return note;
}

static void push_content(struct notify *notify, uint64_t ino)
{
	if (set_add(notify->content, ino))
		push(notify, CONTENT, ino, NULL);
}

/* ---- sizes: a walk opens within a moment what was fetched ahead of it, and its open tells them anyway ---- */

static guint sizes_count(const struct notify *notify)
{
	return g_hash_table_size(notify->sizes[0]) + g_hash_table_size(notify->sizes[1]);
}

static void sizes_add(struct notify *notify, uint64_t ino)
{
	if (!sizes_count(notify)) {
		notify->sizes_due_ms = clock_ms() + NOTIFY_SIZES_MS;
		pthread_cond_signal(&notify->filled);
	}
	set_add(notify->sizes[0], ino);
}

/* For the next note, or until sizes are due, which it makes notes. */
static void sizes_wait(struct notify *notify)
{
	struct timespec until = {.tv_sec = (time_t)(notify->sizes_due_ms / 1000),
		.tv_nsec = (long)(notify->sizes_due_ms % 1000 * 1000000)};
	GHashTable *older = notify->sizes[1];
	GHashTableIter iter;
	uint64_t *ino;

	if (clock_ms() < notify->sizes_due_ms) {
		pthread_cond_timedwait(&notify->filled, &notify->lock, &until);
		return;
	}
	g_hash_table_iter_init(&iter, older);
	while (g_hash_table_iter_next(&iter, (void **)&ino, NULL))
		push(notify, ATTRIBUTES, *ino, NULL);
	g_hash_table_remove_all(older);
	notify->sizes[1] = notify->sizes[0];
	notify->sizes[0] = older;
	notify->sizes_due_ms = clock_ms() + NOTIFY_SIZES_MS;
}

void notify_size_told(struct notify *notify, uint64_t ino)
{
	pthread_mutex_lock(&notify->lock);
	for (size_t i = 0; i < G_N_ELEMENTS(notify->sizes); i++)
		g_hash_table_remove(notify->sizes[i], &ino);
	pthread_mutex_unlock(&notify->lock);
}

static uint64_t dir_ino(struct notify *notify, struct mail_folder *folder)
{
	struct mail_folder_info info;

	mail_folder_info(notify->mail, folder, &info);
	return node_folder_ino(info.number);
}

/* Where a folder's messages are. */
static uint64_t messages_ino(struct notify *notify, struct mail_folder *folder)
{
	struct mail_folder_info info;

	mail_folder_info(notify->mail, folder, &info);
	return notify->maildir ? node_maildir_ino(info.number, NAMES_MAILDIR_CUR) : node_folder_ino(info.number);
}

/* Drops the directory's entry and with it all that the kernel keeps below. */
static void push_subtree(struct notify *notify, struct mail_folder *folder, uint64_t dir)
{
	struct mail_folder *parent = mail_folder_parent(notify->mail, folder);

	if (parent) {
		g_autofree char *path = mail_folder_path(notify->mail, folder);
		g_autofree char *name = g_path_get_basename(path);

		push(notify, ENTRY, dir_ino(notify, parent), name)->child = dir;
	}
	mail_folder_unref(parent);
	push_content(notify, dir);
	if (notify->maildir)
		push_content(notify, messages_ino(notify, folder));
}

static void push_message(struct notify *notify, const struct mail_event *event)
{
	uint64_t dir = messages_ino(notify, event->folder);
	uint64_t ino = node_message_ino(event->message_number, event->message.uid);
	char name[NAMES_BYTES_MAX + 1], uid_name[NAMES_BYTES_MAX + 1];

	if (event->type == MAIL_EVENT_MESSAGE_ADDED) {
		/* No entry: the kernel doesn't remember that a message's name wasn't there (ops.c). */
		push_content(notify, dir);
		return;
	}
	if (event->type == MAIL_EVENT_MESSAGE_FLAGS && !notify->maildir)
		return;
	/* Where sizes are trusted nothing is opened. */
	if (event->type == MAIL_EVENT_MESSAGE_SIZE && !mail_sizes_trusted(notify->mail) &&
		sizes_count(notify) < NOTIFY_QUEUE_MAX) {
		sizes_add(notify, ino);
		return;
	}
	if (notify->notes.length >= NOTIFY_QUEUE_MAX) {
		uint64_t folder = dir_ino(notify, event->folder);

		if (set_add(notify->collapsed, folder))
			push_subtree(notify, event->folder, folder);
		return;
	}
	if (event->type == MAIL_EVENT_MESSAGE_SIZE) {
		/* Pages of another size go with it: the kernel drops them when it learns the new one. */
		push(notify, ATTRIBUTES, ino, NULL);
		return;
	}
	if (notify->maildir)
		names_maildir_compose(&event->message, event->message_number, name);
	else
		names_compose(&event->message, notify->names_uid, name);
	if (event->type == MAIL_EVENT_MESSAGE_FLAGS) {
		push(notify, ENTRY, dir, name);
		push_content(notify, dir);
		return;
	}
	push(notify, DELETED, dir, name)->child = ino;
	names_compose_uid(event->message.uid, uid_name);
	/* the kernel keeps only listed names of a maildir */
	if (!notify->names_uid && !notify->maildir)
		push(notify, DELETED, dir, uid_name)->child = ino;
	push_content(notify, dir);
}

static void push_folder(struct notify *notify, const struct mail_event *event)
{
	uint64_t dir = dir_ino(notify, event->folder);
	uint64_t parent = event->parent ? dir_ino(notify, event->parent) : NODE_ROOT_INO;

	if (notify->notes.length >= NOTIFY_QUEUE_MAX + NOTIFY_FOLDERS_MAX) {
		log_warning("notifier: too many changes of folders at once, one is shown late");
		return;
	}
	switch (event->type) {
	case MAIL_EVENT_FOLDER_ADDED:
		push(notify, ENTRY, parent, event->name);
		push_content(notify, parent);
		break;
	case MAIL_EVENT_FOLDER_GONE:
		/*
		 * Not DELETED: that marks the kernel's inode as dead for good, and a folder that is made anew under
		 * this name is the same inode.
		 */
		push(notify, ENTRY, parent, event->name);
		push_content(notify, parent);
		break;
	case MAIL_EVENT_FOLDER_RESET:
		push_subtree(notify, event->folder, dir);
		break;
	default:
		push_content(notify, dir);
		if (notify->maildir)
			push_content(notify, messages_ino(notify, event->folder));
		break;
	}
}

/* ---- what mirrors the tree as text has its changes, too ---- */

static uint64_t text_dir_ino(struct notify *notify, struct mail_folder *folder)
{
	struct mail_folder_info info = {0};

	if (folder)
		mail_folder_info(notify->mail, folder, &info);
	return node_text_folder_ino(info.number);
}

/* Under each name that it opens by. */
static void push_text_deleted(struct notify *notify, uint64_t dir, const struct mail_event *event, bool uid_only)
{
	char name[VIEW_NAME_BYTES_MAX + 1];

	for (int is_taken = 0; is_taken < 2; is_taken++) {
		names_compose(&event->message, uid_only, name);
		view_text.name(name, is_taken);
		push(notify, DELETED, dir, name)->child = node_text_ino(event->message_number, event->message.uid);
	}
}

static void push_text_subtree(struct notify *notify, struct mail_folder *folder, uint64_t dir)
{
	struct mail_folder *parent = mail_folder_parent(notify->mail, folder);

	if (parent) {
		g_autofree char *path = mail_folder_path(notify->mail, folder);
		g_autofree char *name = g_path_get_basename(path);

		push(notify, ENTRY, text_dir_ino(notify, parent), name)->child = dir;
	}
	mail_folder_unref(parent);
	push_content(notify, dir);
}

static void push_text(struct notify *notify, const struct mail_event *event)
{
	uint64_t dir = text_dir_ino(notify, event->folder);

	switch (event->type) {
	case MAIL_EVENT_MESSAGE_SIZE: /* open tells of a text's size */
	case MAIL_EVENT_MESSAGE_FLAGS:
		return;
	case MAIL_EVENT_MESSAGE_GONE:
		if (notify->notes.length < NOTIFY_QUEUE_MAX) {
			push_text_deleted(notify, dir, event, false);
			push_text_deleted(notify, dir, event, true);
		} else if (set_add(notify->collapsed, dir)) {
			push_text_subtree(notify, event->folder, dir);
		}
		break;
	case MAIL_EVENT_FOLDER_RESET:
		push_text_subtree(notify, event->folder, dir);
		return;
	case MAIL_EVENT_FOLDER_GONE:
		/* not DELETED: see push_folder() */
		dir = text_dir_ino(notify, event->parent);
		if (notify->notes.length < NOTIFY_QUEUE_MAX + NOTIFY_FOLDERS_MAX)
			push(notify, ENTRY, dir, event->name);
		break;
	case MAIL_EVENT_FOLDER_ADDED:
		dir = text_dir_ino(notify, event->parent);
		break;
	default:
		break;
	}
	push_content(notify, dir);
}

static void listen(void *data, const struct mail_event *event)
{
	struct notify *notify = data;

	if (event->type == MAIL_EVENT_MESSAGE_BODY) {
		fill_add(notify->fill, node_message_ino(event->message_number, event->message.uid), event->body);
		return;
	}
	pthread_mutex_lock(&notify->lock);
	switch (event->type) {
	case MAIL_EVENT_MESSAGE_ADDED:
	case MAIL_EVENT_MESSAGE_GONE:
	case MAIL_EVENT_MESSAGE_SIZE:
	case MAIL_EVENT_MESSAGE_FLAGS:
		push_message(notify, event);
		break;
	default:
		push_folder(notify, event);
		break;
	}
	if (notify->texts)
		push_text(notify, event);
	pthread_mutex_unlock(&notify->lock);
}

static void send_note(struct notify *notify, const struct note *note)
{
	const struct notify_sink *sink = notify->sink;

	switch (note->kind) {
	case ATTRIBUTES:
		sink->attributes(notify->ctx, note->ino);
		break;
	case CONTENT:
		sink->content(notify->ctx, note->ino);
		break;
	case ENTRY:
		sink->entry(notify->ctx, note->ino, note->name);
		break;
	case DELETED:
		sink->deleted(notify->ctx, note->ino, note->child, note->name);
		break;
	case CALL:
		note->call(note->call_ctx);
		break;
	}
}

static void *run(void *data)
{
	struct notify *notify = data;

	pthread_mutex_lock(&notify->lock);
	for (;;) {
		struct note *note = g_queue_pop_head(&notify->notes);

		if (!note && notify->stopping)
			break;
		if (!note) {
			if (sizes_count(notify))
				sizes_wait(notify);
			else
				pthread_cond_wait(&notify->filled, &notify->lock);
			continue;
		}
		/* From here on a further change needs a further note. */
		if (note->kind == CONTENT)
			g_hash_table_remove(notify->content, &note->ino);
		else if (note->kind == ENTRY)
			g_hash_table_remove(notify->collapsed, &note->child);
		if (!notify->stopping || note->kind == CALL) {
			notify->busy = true;
			pthread_mutex_unlock(&notify->lock);
			send_note(notify, note);
			pthread_mutex_lock(&notify->lock);
			notify->busy = false;
		}
		g_free(note);
	}
	pthread_mutex_unlock(&notify->lock);
	return NULL;
}

bool notify_start(struct notify *notify)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	notify->started = pthread_create(&notify->thread, NULL, run, notify) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (notify->started)
		mail_set_listener(notify->mail, listen, notify);
	return notify->started;
}

void notify_stop(struct notify *notify)
{
	if (!notify->started || notify->stopping)
		return;
	mail_set_listener(notify->mail, NULL, NULL);
	pthread_mutex_lock(&notify->lock);
	notify->stopping = true;
	pthread_cond_signal(&notify->filled);
	pthread_mutex_unlock(&notify->lock);
	pthread_join(notify->thread, NULL);
}

void notify_mirror_texts(struct notify *notify)
{
	pthread_mutex_lock(&notify->lock);
	notify->texts = true;
	pthread_mutex_unlock(&notify->lock);
}

bool notify_then(struct notify *notify, notify_call_fn call, void *ctx)
{
	bool queued;

	pthread_mutex_lock(&notify->lock);
	queued = notify->started && !notify->stopping && (notify->busy || notify->notes.length);
	if (queued) {
		struct note *note = push(notify, CALL, 0, NULL);

		note->call = call;
		note->call_ctx = ctx;
	}
	pthread_mutex_unlock(&notify->lock);
	return queued;
}

bool notify_is_idle(struct notify *notify)
{
	pthread_mutex_lock(&notify->lock);
	bool idle = !notify->busy && !notify->notes.length;

	pthread_mutex_unlock(&notify->lock);
	return idle;
}
