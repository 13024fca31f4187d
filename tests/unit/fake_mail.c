/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/fake_mail.h"

#include "src/base/block.h"
#include "src/mail/query.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "src/base/banned.h"

#define PATTERN_BYTES (1u << 20)
#define DATE_FIRST 1767225600 /* 2026-01-01 */

struct message {
	uint32_t uid;
	uint32_t flags;
	uint64_t size, told;
	bool exact, changed, cached;
	bool text_made;
};

struct mail_folder {
	struct mail_folder *parent;
	GPtrArray *children; /* by number */
	GArray *messages;    /* by uid */
	char *name;
	struct mail_folder_info info;
	bool gone;
};

struct wait {
	struct mail *mail;
	struct mail_waiter *waiter;
	enum fake_wait kind;
	struct mail_folder *folder;
	uint32_t uid;
	uint64_t due_us; /* UINT64_MAX: never */
	bool cancelled;
};

struct mail {
	struct fake_options options;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t changed;
	pthread_t thread;
	bool stopping;
	GQueue waits;
	struct mail_folder *root;
	GHashTable *by_number;
	GPtrArray *folders; /* all there ever were */
	bool tree_known;
	bool refreshed, searched;
	GArray *found; /* struct mail_hit */
	struct mail_results *results;
	uint64_t serial;
	unsigned retries;
	unsigned counts[FAKE_WAITS];
	unsigned turn;
	mail_event_fn listener;
	void *listener_ctx;
	char *pattern;
	int pattern_fd;
};

static uint64_t now_us(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

/* ---- waits ---- */

static struct message *message_of(struct mail_folder *folder, uint32_t uid)
{
	for (guint low = 0, high = folder->messages->len; low < high;) {
		guint middle = low + (high - low) / 2;
		struct message *message = &g_array_index(folder->messages, struct message, middle);

		if (message->uid == uid)
			return message;
		if (message->uid < uid)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static void size_learn(struct message *message)
{
	message->changed |= message->told != message->size;
	message->told = message->size;
	message->exact = true;
}

static void apply(const struct wait *wait)
{
	struct message *message = wait->folder && wait->uid ? message_of(wait->folder, wait->uid) : NULL;

	switch (wait->kind) {
	case FAKE_TREE:
		wait->mail->tree_known = true;
		break;
	case FAKE_FOLDER:
		wait->folder->info.loaded = true;
		break;
	case FAKE_SIZE:
	case FAKE_BODY:
		if (message) {
			size_learn(message);
			message->cached |= wait->kind == FAKE_BODY;
		}
		break;
	case FAKE_REFRESH:
		wait->mail->refreshed = true;
		break;
	case FAKE_SEARCH:
		wait->mail->searched = true;
		break;
	case FAKE_WAITS:
		break;
	}
}

/* Under the lock, which it leaves for the call. */
static void finish(struct wait *wait)
{
	struct mail *mail = wait->mail;
	struct mail_waiter *waiter = wait->waiter;
	int code = wait->cancelled ? ERR_INTERRUPTED : mail->options.code[wait->kind];

	if (code == 0)
		apply(wait);
	waiter->internal = NULL;
	waiter->error.code = code;
	pthread_mutex_unlock(&mail->lock);
	waiter->done(waiter, code);
	pthread_mutex_lock(&mail->lock);
	g_free(wait);
}

static void *loop(void *data)
{
	struct mail *mail = data;

	pthread_mutex_lock(&mail->lock);
	while (!mail->stopping || mail->waits.length) {
		uint64_t now = now_us(), next = now + 100000;
		GList *link;

		for (link = mail->waits.head; link; link = link->next) {
			struct wait *wait = link->data;

			if (wait->cancelled || mail->stopping || wait->due_us <= now)
				break;
			next = MIN(next, wait->due_us);
		}
		if (link) {
			struct wait *wait = link->data;

			wait->cancelled |= mail->stopping;
			g_queue_delete_link(&mail->waits, link);
			finish(wait);
			continue;
		}

		struct timespec until = {.tv_sec = (time_t)(next / 1000000), .tv_nsec = (long)(next % 1000000) * 1000};

		pthread_cond_timedwait(&mail->changed, &mail->lock, &until);
	}
	pthread_mutex_unlock(&mail->lock);
	return NULL;
}

/* Under the lock. */
static int park(
	struct mail *mail, enum fake_wait kind, struct mail_folder *folder, uint32_t uid, struct mail_waiter *waiter)
{
	struct wait *wait = g_new0(struct wait, 1);
	uint32_t delay_ms = mail->options.delay_ms[kind];

	*wait = (struct wait){.mail = mail, .waiter = waiter, .kind = kind, .folder = folder, .uid = uid};
	wait->due_us = delay_ms == FAKE_HANGS ? UINT64_MAX : now_us() + delay_ms * 1000ull;
	mail->counts[kind]++;
	waiter->internal = wait;
	if (mail->options.racy && delay_ms != FAKE_HANGS) {
		unsigned turn = mail->turn++ % 4;

		if (turn == 0) {
			finish(wait);
			return MAIL_PARKED;
		}
		wait->due_us = now_us() + (turn == 1 ? 0 : turn * 50);
	}
	g_queue_push_tail(&mail->waits, wait);
	pthread_cond_broadcast(&mail->changed);
	return MAIL_PARKED;
}

static bool must_wait(const struct mail *mail, enum fake_wait kind)
{
	return mail->options.racy || mail->options.delay_ms[kind];
}

void mail_cancel(struct mail *mail, struct mail_waiter *waiter)
{
	pthread_mutex_lock(&mail->lock);
	if (waiter->internal) {
		((struct wait *)waiter->internal)->cancelled = true;
		pthread_cond_broadcast(&mail->changed);
	}
	pthread_mutex_unlock(&mail->lock);
}

/* ---- set-up ---- */

static struct mail_folder *folder_new(
	struct mail_folder *parent, const char *name, uint32_t number, uint32_t attributes)
{
	struct mail_folder *folder = g_new0(struct mail_folder, 1);

	folder->parent = parent;
	folder->name = g_strdup(name);
	folder->children = g_ptr_array_new();
	folder->messages = g_array_new(FALSE, FALSE, sizeof(struct message));
	folder->info = (struct mail_folder_info){
		.number = number,
		.message_number = attributes & MAIL_FOLDER_NOSELECT ? 0 : number | FAKE_MESSAGE_NUMBER,
		.attributes = attributes,
		.mtime = DATE_FIRST,
		.flags_mtime = DATE_FIRST,
		.loaded = attributes & MAIL_FOLDER_NOSELECT,
	};
	return folder;
}

struct mail *fake_new(const struct fake_options *options)
{
	struct mail *mail = g_new0(struct mail, 1);
	pthread_condattr_t attributes;

	mail->options = *options;
	pthread_mutex_init(&mail->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&mail->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	mail->by_number = g_hash_table_new(NULL, NULL);
	mail->folders = g_ptr_array_new();
	mail->found = g_array_new(FALSE, FALSE, sizeof(struct mail_hit));
	mail->root = folder_new(NULL, "", 0, MAIL_FOLDER_NOSELECT);
	g_ptr_array_add(mail->folders, mail->root);
	mail->tree_known = !must_wait(mail, FAKE_TREE);
	mail->pattern_fd = memfd_create("pattern", MFD_CLOEXEC);
	g_assert_cmpint(ftruncate(mail->pattern_fd, 2 * PATTERN_BYTES), ==, 0);
	mail->pattern = mmap(NULL, 2 * PATTERN_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, mail->pattern_fd, 0);
	g_assert_true(mail->pattern != MAP_FAILED);
	fake_body(0, 0, mail->pattern, 2 * PATTERN_BYTES);
	g_assert_cmpint(pthread_create(&mail->thread, NULL, loop, mail), ==, 0);
	return mail;
}

void fake_free(struct mail *mail)
{
	pthread_mutex_lock(&mail->lock);
	mail->stopping = true;
	pthread_cond_broadcast(&mail->changed);
	pthread_mutex_unlock(&mail->lock);
	pthread_join(mail->thread, NULL);
	for (guint i = 0; i < mail->folders->len; i++) {
		struct mail_folder *folder = mail->folders->pdata[i];

		g_ptr_array_unref(folder->children);
		g_array_unref(folder->messages);
		g_free(folder->name);
		g_free(folder);
	}
	g_ptr_array_unref(mail->folders);
	g_array_unref(mail->found);
	mail_results_unref(mail->results);
	g_hash_table_unref(mail->by_number);
	munmap(mail->pattern, 2 * PATTERN_BYTES);
	close(mail->pattern_fd);
	pthread_cond_destroy(&mail->changed);
	pthread_mutex_destroy(&mail->lock);
	g_free(mail);
}

void fake_set_delay(struct mail *mail, enum fake_wait wait, uint32_t delay_ms)
{
	pthread_mutex_lock(&mail->lock);
	mail->options.delay_ms[wait] = delay_ms;
	pthread_mutex_unlock(&mail->lock);
}

void fake_set_code(struct mail *mail, enum fake_wait wait, int code)
{
	pthread_mutex_lock(&mail->lock);
	mail->options.code[wait] = code;
	pthread_mutex_unlock(&mail->lock);
}

unsigned fake_count(struct mail *mail, enum fake_wait wait)
{
	pthread_mutex_lock(&mail->lock);
	unsigned count = mail->counts[wait];

	pthread_mutex_unlock(&mail->lock);
	return count;
}

unsigned fake_parked(struct mail *mail)
{
	pthread_mutex_lock(&mail->lock);
	unsigned count = mail->waits.length;

	pthread_mutex_unlock(&mail->lock);
	return count;
}

void fake_emit(struct mail *mail, const struct mail_event *event)
{
	pthread_mutex_lock(&mail->lock);
	mail_event_fn listener = mail->listener;
	void *ctx = mail->listener_ctx;

	pthread_mutex_unlock(&mail->lock);
	if (listener)
		listener(ctx, event);
}

struct mail_folder *fake_folder_add(
	struct mail *mail, struct mail_folder *parent, const char *name, uint32_t number, uint32_t attributes)
{
	struct mail_folder *folder = folder_new(parent ? parent : mail->root, name, number, attributes);
	guint at = 0;

	pthread_mutex_lock(&mail->lock);
	if (!folder->info.loaded)
		folder->info.loaded = !must_wait(mail, FAKE_FOLDER);
	while (at < folder->parent->children->len &&
		((struct mail_folder *)folder->parent->children->pdata[at])->info.number < number)
		at++;
	g_ptr_array_insert(folder->parent->children, (gint)at, folder);
	folder->parent->info.subfolders++;
	g_ptr_array_add(mail->folders, folder);
	g_hash_table_insert(mail->by_number, GUINT_TO_POINTER(number), folder);
	if (folder->info.message_number)
		g_hash_table_insert(mail->by_number, GUINT_TO_POINTER(folder->info.message_number), folder);
	pthread_mutex_unlock(&mail->lock);
	fake_emit(mail,
		&(struct mail_event){
			.type = MAIL_EVENT_FOLDER_ADDED, .folder = folder, .parent = folder->parent, .name = name});
	return folder;
}

void fake_folder_remove(struct mail *mail, struct mail_folder *folder)
{
	pthread_mutex_lock(&mail->lock);
	folder->gone = true;
	g_ptr_array_remove(folder->parent->children, folder);
	folder->parent->info.subfolders--;
	g_hash_table_remove(mail->by_number, GUINT_TO_POINTER(folder->info.number));
	g_hash_table_remove(mail->by_number, GUINT_TO_POINTER(folder->info.message_number));
	pthread_mutex_unlock(&mail->lock);
	fake_emit(mail, &(struct mail_event){.type = MAIL_EVENT_FOLDER_GONE,
				.folder = folder,
				.parent = folder->parent,
				.name = folder->name});
}

void fake_folder_reset(struct mail *mail, struct mail_folder *folder, uint32_t message_number)
{
	struct mail_event event = {
		.type = MAIL_EVENT_FOLDER_RESET, .folder = folder, .message_number = folder->info.message_number};

	pthread_mutex_lock(&mail->lock);
	g_hash_table_remove(mail->by_number, GUINT_TO_POINTER(folder->info.message_number));
	folder->info.message_number = message_number;
	folder->info.messages = 0;
	g_array_set_size(folder->messages, 0);
	g_hash_table_insert(mail->by_number, GUINT_TO_POINTER(message_number), folder);
	pthread_mutex_unlock(&mail->lock);
	fake_emit(mail, &event);
}

static void describe(const struct message *message, struct mail_message *out)
{
	*out = (struct mail_message){
		.uid = message->uid,
		.flags = message->flags,
		.size_bytes = message->told,
		.size_exact = message->exact,
		.size_changed = message->changed,
		.cached = message->cached,
		.date = DATE_FIRST + 60 * (int64_t)message->uid,
	};
	g_strlcpy(out->stem, "olena@contoso.com_Рахунок", sizeof(out->stem));
}

void fake_message_add(
	struct mail *mail, struct mail_folder *folder, uint32_t uid, uint64_t size, uint64_t told, bool exact)
{
	struct message message = {.uid = uid, .flags = MAIL_SEEN, .size = size, .told = told, .exact = exact};
	struct mail_event event = {.type = MAIL_EVENT_MESSAGE_ADDED, .folder = folder};

	pthread_mutex_lock(&mail->lock);
	guint at = folder->messages->len;

	while (at && g_array_index(folder->messages, struct message, at - 1).uid > uid)
		at--;
	g_array_insert_val(folder->messages, at, message);
	folder->info.messages++;
	event.message_number = folder->info.message_number;
	pthread_mutex_unlock(&mail->lock);
	describe(&message, &event.message);
	fake_emit(mail, &event);
}

void fake_message_flag(struct mail *mail, struct mail_folder *folder, uint32_t uid, uint32_t flags)
{
	struct mail_event event = {.type = MAIL_EVENT_MESSAGE_FLAGS, .folder = folder};
	struct message *message;

	pthread_mutex_lock(&mail->lock);
	message = message_of(folder, uid);
	describe(message, &event.message);
	message->flags = flags;
	folder->info.flags_mtime++;
	event.message_number = folder->info.message_number;
	pthread_mutex_unlock(&mail->lock);
	fake_emit(mail, &event);
}

void fake_message_remove(struct mail *mail, struct mail_folder *folder, uint32_t uid)
{
	struct mail_event event = {.type = MAIL_EVENT_MESSAGE_GONE, .folder = folder};

	pthread_mutex_lock(&mail->lock);
	for (guint at = folder->messages->len; at-- > 0;) {
		struct message *message = &g_array_index(folder->messages, struct message, at);

		if (message->uid != uid)
			continue;
		describe(message, &event.message);
		g_array_remove_index(folder->messages, at);
		break;
	}
	folder->info.messages--;
	event.message_number = folder->info.message_number;
	pthread_mutex_unlock(&mail->lock);
	fake_emit(mail, &event);
}

void fake_size_learned(struct mail *mail, struct mail_folder *folder, uint32_t uid)
{
	struct mail_event event = {.type = MAIL_EVENT_MESSAGE_SIZE,
		.folder = folder,
		.message_number = folder->info.message_number,
		.message.uid = uid};

	fake_emit(mail, &event);
}

/* A line of 64 bytes over and over, so that one mapped pattern serves all: each body begins elsewhere in it. */
void fake_body(uint32_t uid, uint64_t offset, void *bytes_out, size_t length)
{
	char *out = bytes_out;
	uint64_t at = uid * 97ull % PATTERN_BYTES + offset % PATTERN_BYTES;

	for (size_t i = 0; i < length; i++, at++) {
		uint64_t line = at / 64 % (PATTERN_BYTES / 64), column = at % 64;

		out[i] = (char)(column == 63 ? '\n' : 'a' + (line * 7 + column * 3 + line / 26) % 26);
	}
}

/* ---- mail.h ---- */

bool mail_sizes_trusted(struct mail *mail)
{
	return mail->options.trusted;
}

void mail_set_listener(struct mail *mail, mail_event_fn fn, void *ctx)
{
	pthread_mutex_lock(&mail->lock);
	mail->listener = fn;
	mail->listener_ctx = ctx;
	pthread_mutex_unlock(&mail->lock);
}

int mail_tree_ready(struct mail *mail, struct mail_waiter *waiter, struct error *err)
{
	int code = 0;

	pthread_mutex_lock(&mail->lock);
	if (!mail->tree_known)
		code = park(mail, FAKE_TREE, NULL, 0, waiter);
	pthread_mutex_unlock(&mail->lock);
	return code;
}

int mail_tree_fresh(struct mail *mail, bool force, struct mail_waiter *waiter, struct error *err)
{
	return mail_tree_ready(mail, waiter, err);
}

struct mail_folder *mail_root(struct mail *mail)
{
	return mail->root;
}

struct mail_folder *mail_folder_ref(struct mail_folder *folder)
{
	return folder;
}

void mail_folder_unref(struct mail_folder *folder)
{
}

void mail_folder_info(struct mail *mail, struct mail_folder *folder, struct mail_folder_info *info_out)
{
	pthread_mutex_lock(&mail->lock);
	*info_out = folder->info;
	pthread_mutex_unlock(&mail->lock);
}

struct mail_folder *mail_folder_child(struct mail *mail, struct mail_folder *folder, const char *name)
{
	struct mail_folder *found = NULL;

	pthread_mutex_lock(&mail->lock);
	for (guint i = 0; mail->tree_known && i < folder->children->len && !found; i++) {
		struct mail_folder *child = folder->children->pdata[i];

		if (strcmp(child->name, name) == 0)
			found = child;
	}
	pthread_mutex_unlock(&mail->lock);
	return found;
}

struct mail_folder *mail_folder_by_number(struct mail *mail, uint32_t number, bool *is_message_number_out)
{
	pthread_mutex_lock(&mail->lock);
	struct mail_folder *folder = g_hash_table_lookup(mail->by_number, GUINT_TO_POINTER(number));

	*is_message_number_out = folder && folder->info.number != number;
	pthread_mutex_unlock(&mail->lock);
	return folder;
}

struct mail_folder *mail_folder_parent(struct mail *mail, struct mail_folder *folder)
{
	return folder->parent;
}

char *mail_folder_path(struct mail *mail, struct mail_folder *folder)
{
	if (!folder->parent || !folder->parent->parent)
		return g_strdup(folder->name);

	g_autofree char *above = mail_folder_path(mail, folder->parent);

	return g_strdup_printf("%s/%s", above, folder->name);
}

struct mail_folder *mail_folder_next_child(
	struct mail *mail, struct mail_folder *folder, uint32_t after_number, const char **name_out)
{
	struct mail_folder *found = NULL;

	pthread_mutex_lock(&mail->lock);
	for (guint i = 0; i < folder->children->len && !found; i++) {
		struct mail_folder *child = folder->children->pdata[i];

		if (child->info.number > after_number)
			found = child;
	}
	if (found)
		*name_out = found->name;
	pthread_mutex_unlock(&mail->lock);
	return found;
}

int mail_folder_ready(struct mail *mail, struct mail_folder *folder, struct mail_waiter *waiter, struct error *err)
{
	int code = 0;

	pthread_mutex_lock(&mail->lock);
	if (folder->gone)
		code = ERR_GONE;
	else if (!folder->info.loaded)
		code = park(mail, FAKE_FOLDER, folder, 0, waiter);
	pthread_mutex_unlock(&mail->lock);
	return code;
}

int mail_folder_fresh(
	struct mail *mail, struct mail_folder *folder, bool force, struct mail_waiter *waiter, struct error *err)
{
	return mail_folder_ready(mail, folder, waiter, err);
}

size_t mail_messages_next(struct mail *mail, struct mail_folder *folder, uint32_t after_uid,
	struct mail_message *messages_out, size_t count)
{
	size_t used = 0;
	guint low = 0;

	pthread_mutex_lock(&mail->lock);
	for (guint high = folder->messages->len; low < high;) {
		guint middle = low + (high - low) / 2;

		if (g_array_index(folder->messages, struct message, middle).uid <= after_uid)
			low = middle + 1;
		else
			high = middle;
	}
	for (guint i = low; folder->info.loaded && i < folder->messages->len && used < count; i++)
		describe(&g_array_index(folder->messages, struct message, i), &messages_out[used++]);
	pthread_mutex_unlock(&mail->lock);
	return used;
}

GArray *mail_messages_cached(struct mail *mail, struct mail_folder *folder)
{
	return g_array_new(FALSE, FALSE, sizeof(uint32_t));
}

bool mail_message_find(struct mail *mail, struct mail_folder *folder, uint32_t uid, struct mail_message *message_out)
{
	pthread_mutex_lock(&mail->lock);
	struct message *message = folder->info.loaded ? message_of(folder, uid) : NULL;

	if (message)
		describe(message, message_out);
	pthread_mutex_unlock(&mail->lock);
	return message != NULL;
}

int mail_message_details(struct mail *mail, struct mail_folder *folder, uint32_t uid, struct mail_details *details_out,
	struct error *err)
{
	*details_out = (struct mail_details){
		.from = g_strdup("Olena <olena@contoso.com>"),
		.subject = g_strnfill(5000, 'x'),
		.keywords = g_strdup("$MDNSent"),
	};
	return 0;
}

void mail_details_fini(struct mail_details *details)
{
	g_free(details->from);
	g_free(details->to);
	g_free(details->subject);
	g_free(details->message_id);
	g_free(details->keywords);
}

void mail_slice_fini(struct mail_slice *slice)
{
	g_free(slice->owner);
	*slice = (struct mail_slice){.fd = -1};
}

/* It has no flags that could be older than its listing. */
int mail_folder_flags_fresh(
	struct mail *mail, struct mail_folder *folder, struct mail_waiter *waiter, struct error *err)
{
	return mail_folder_fresh(mail, folder, false, waiter, err);
}

int mail_message_size(struct mail *mail, struct mail_folder *folder, uint32_t uid, uint64_t *size_out,
	struct mail_waiter *waiter, struct error *err)
{
	int code = ERR_GONE;

	pthread_mutex_lock(&mail->lock);
	struct message *message = message_of(folder, uid);

	if (message && !message->exact && must_wait(mail, FAKE_SIZE)) {
		code = park(mail, FAKE_SIZE, folder, uid, waiter);
	} else if (message) {
		size_learn(message);
		*size_out = message->size;
		code = 0;
	}
	pthread_mutex_unlock(&mail->lock);
	return code;
}

int mail_read(struct mail *mail, struct mail_folder *folder, uint32_t uid, uint64_t offset, size_t length,
	uint64_t expected_size, struct mail_slice *slice_out, struct mail_waiter *waiter, struct error *err)
{
	int code = 0;

	if (uid == 1 && mail->options.disk_ms) {
		block_ahead();
		g_usleep(mail->options.disk_ms * 1000ul);
	}
	pthread_mutex_lock(&mail->lock);
	struct message *message = message_of(folder, uid);

	if (!message) {
		code = ERR_GONE;
	} else if (!message->cached && must_wait(mail, FAKE_BODY)) {
		code = park(mail, FAKE_BODY, folder, uid, waiter);
	} else if (expected_size != UINT64_MAX && expected_size != message->size) {
		size_learn(message);
		code = ERR_BROKEN;
	} else {
		uint64_t at = uid * 97ull % PATTERN_BYTES + offset % PATTERN_BYTES;
		size_t part = offset < message->size ? (size_t)MIN(length, message->size - offset) : 0;

		message->cached = true;
		*slice_out = (struct mail_slice){.fd = -1, .length = part, .owner = g_malloc(1)};
		if (mail->options.in_file) {
			slice_out->fd = mail->pattern_fd;
			slice_out->fd_offset = at % PATTERN_BYTES;
		} else {
			slice_out->memory = mail->pattern + at % PATTERN_BYTES;
		}
	}
	pthread_mutex_unlock(&mail->lock);
	return code;
}

/* ---- texts and attachments: "Text of UID\n", and one attachment of the octets of the body ---- */

#define TEXT_BYTES 100u /* of any text, filled up with dots */

static void text_of(uint32_t uid, char text[TEXT_BYTES + 1])
{
	int length = g_snprintf(text, TEXT_BYTES + 1, "Text of %u\n", uid);

	memset(text + length, '.', TEXT_BYTES - (size_t)length);
	text[TEXT_BYTES] = '\0';
}

uint64_t mail_text_estimate(
	struct mail *mail, struct mail_folder *folder, const struct mail_message *message, bool *exact_out)
{
	pthread_mutex_lock(&mail->lock);
	const struct message *known = message_of(folder, message->uid);

	*exact_out = known && known->text_made;
	pthread_mutex_unlock(&mail->lock);
	return *exact_out ? TEXT_BYTES : 3 * message->size_bytes;
}

int mail_text_size(struct mail *mail, struct mail_folder *folder, uint32_t uid, uint64_t *size_out,
	struct mail_waiter *waiter, struct error *err)
{
	int code = ERR_GONE;

	pthread_mutex_lock(&mail->lock);
	struct message *message = message_of(folder, uid);

	if (message && !message->cached && must_wait(mail, FAKE_BODY)) {
		code = park(mail, FAKE_BODY, folder, uid, waiter);
	} else if (message) {
		message->cached = message->text_made = true;
		*size_out = TEXT_BYTES;
		code = 0;
	}
	pthread_mutex_unlock(&mail->lock);
	return code;
}

bool mail_text_was_told(struct mail *mail, struct mail_folder *folder, uint32_t uid, uint64_t size_bytes)
{
	return false;
}

int mail_text_read(struct mail *mail, struct mail_folder *folder, uint32_t uid, uint64_t offset, size_t length,
	struct mail_slice *slice_out, struct mail_waiter *waiter, struct error *err)
{
	uint64_t size;
	int code = mail_text_size(mail, folder, uid, &size, waiter, err);
	char *text;

	if (code != 0)
		return code;
	text = g_malloc(TEXT_BYTES + 1);
	text_of(uid, text);
	*slice_out = (struct mail_slice){.fd = -1,
		.owner = text,
		.memory = text + MIN(offset, size),
		.length = offset < size ? (size_t)MIN(length, size - offset) : 0};
	return 0;
}

int mail_attachments(struct mail *mail, struct mail_folder *folder, uint32_t uid, GArray **list_out,
	struct mail_waiter *waiter, struct error *err)
{
	struct mail_attachment attachment = {.name = g_strdup("звіт.pdf"), .size_bytes = TEXT_BYTES};
	uint64_t size;
	int code = mail_text_size(mail, folder, uid, &size, waiter, err);

	if (code == 0) {
		*list_out = g_array_new(FALSE, FALSE, sizeof(struct mail_attachment));
		g_array_set_clear_func(*list_out, mail_attachment_clear);
		g_array_append_val(*list_out, attachment);
	} else {
		g_free(attachment.name);
	}
	return code;
}

void mail_attachment_clear(void *data)
{
	g_free(((struct mail_attachment *)data)->name);
}

int mail_attachment_read(struct mail *mail, struct mail_folder *folder, uint32_t uid, unsigned index, uint64_t offset,
	size_t length, struct mail_slice *slice_out, struct mail_waiter *waiter, struct error *err)
{
	return mail_text_read(mail, folder, uid, offset, length, slice_out, waiter, err);
}

char *mail_status_json(struct mail *mail, const char *mountpoint)
{
	static atomic_uint serial;

	return g_strdup_printf("{\"mountpoint\": \"%s\", \"serial\": %u}\n", mountpoint, atomic_fetch_add(&serial, 1));
}

void mail_retry_now(struct mail *mail)
{
	pthread_mutex_lock(&mail->lock);
	mail->retries++;
	pthread_mutex_unlock(&mail->lock);
}

unsigned fake_retries(struct mail *mail)
{
	unsigned retries;

	pthread_mutex_lock(&mail->lock);
	retries = mail->retries;
	pthread_mutex_unlock(&mail->lock);
	return retries;
}

char *mail_errors_text(struct mail *mail)
{
	return g_strdup("");
}

char *mail_metrics_text(struct mail *mail)
{
	/* how many bodies were waited for: of use where the model is in another process */
	return g_strdup_printf("bodies %u\n", fake_count(mail, FAKE_BODY));
}

int mail_refresh(struct mail *mail, struct mail_waiter *waiter, char **line_out, struct error *err)
{
	int code = 0;

	pthread_mutex_lock(&mail->lock);
	if (!mail->refreshed && must_wait(mail, FAKE_REFRESH)) {
		code = park(mail, FAKE_REFRESH, NULL, 0, waiter);
	} else {
		mail->refreshed = false;
		*line_out = g_strdup("checked 2 folders");
	}
	pthread_mutex_unlock(&mail->lock);
	return code;
}

void mail_quota(struct mail *mail, struct mail_quota *quota_out)
{
	*quota_out = (struct mail_quota){.used_bytes = 1 << 20, .limit_bytes = 4 << 20, .messages = 7};
}

/* ---- search ---- */

struct mail_results {
	atomic_uint references;
	uint64_t serial;
	GArray *hits; /* struct mail_hit */
};

void fake_found_add(struct mail *mail, struct mail_folder *folder, uint32_t uid)
{
	struct mail_hit hit = {folder, folder->info.message_number, uid};

	pthread_mutex_lock(&mail->lock);
	g_array_append_val(mail->found, hit);
	pthread_mutex_unlock(&mail->lock);
}

int mail_query_open(struct mail *mail, const char *text, struct query **query_out, struct error *err)
{
	return query_parse(text, query_out, err);
}

int mail_search(struct mail *mail, const struct query *query, struct mail_waiter *waiter,
	struct mail_results **results_out, struct error *err)
{
	int code = 0;

	*results_out = NULL;
	pthread_mutex_lock(&mail->lock);
	if (!mail->searched && must_wait(mail, FAKE_SEARCH)) {
		code = park(mail, FAKE_SEARCH, NULL, 0, waiter);
	} else {
		mail->searched = false;
		*results_out = g_new0(struct mail_results, 1);
		/* the caller's and the model's */
		atomic_init(&(*results_out)->references, 2);
		(*results_out)->serial = ++mail->serial;
		(*results_out)->hits = g_array_copy(mail->found);
		mail_results_unref(mail->results);
		mail->results = *results_out;
	}
	pthread_mutex_unlock(&mail->lock);
	return code;
}

struct mail_results *mail_results_ref(struct mail_results *results)
{
	atomic_fetch_add(&results->references, 1);
	return results;
}

void mail_results_unref(struct mail_results *results)
{
	if (!results || atomic_fetch_sub(&results->references, 1) != 1)
		return;
	g_array_unref(results->hits);
	g_free(results);
}

guint mail_results_count(const struct mail_results *results)
{
	return results->hits->len;
}

void mail_results_get(const struct mail_results *results, guint index, struct mail_hit *hit_out)
{
	*hit_out = g_array_index(results->hits, struct mail_hit, index);
}

bool mail_results_same_uid(const struct mail_results *results, uint32_t uid, guint index, struct mail_hit *hit_out)
{
	for (guint i = 0; i < results->hits->len; i++) {
		*hit_out = g_array_index(results->hits, struct mail_hit, i);
		if (hit_out->uid == uid && !index--)
			return true;
	}
	return false;
}

uint64_t mail_results_serial(const struct mail_results *results)
{
	return results->serial;
}

/* It keeps the last ones alone. */
struct mail_results *mail_results_known(struct mail *mail, uint64_t serial)
{
	struct mail_results *results = NULL;

	pthread_mutex_lock(&mail->lock);
	if (mail->results && mail->results->serial == serial)
		results = mail_results_ref(mail->results);
	pthread_mutex_unlock(&mail->lock);
	return results;
}

int mail_query_misspelt(struct mail *mail, const char *name)
{
	return ERR_INVALID;
}
