/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Operations on the model of tests, and calls that wait; included by the tests of fs. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/generated.h"
#include "fs/node.h"
#include "fs/ops.h"
#include "tests/unit/fake_mail.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define INBOX 77u
#define INBOX_INO ((uint64_t)INBOX << 32)
#define MAIL_INO(uid) ((uint64_t)(INBOX | FAKE_MESSAGE_NUMBER) << 32 | (uid))
#define MOUNTER 1000u

struct house {
	struct mail *mail;
	struct mail_folder *inbox;
	struct looks looks;
	struct ops ops;
};

static inline struct house *house_new(const struct fake_options *options)
{
	struct house *house = g_new0(struct house, 1);

	house->mail = fake_new(options);
	house->inbox = fake_folder_add(house->mail, NULL, "INBOX", INBOX, 0);
	house->ops = (struct ops){
		.mail = house->mail,
		.control = control_new(house->mail, "/mnt"),
		.generated = generated_new(),
		.looks = &house->looks,
		.attr = {.uid = MOUNTER, .gid = MOUNTER},
		.sizes_trusted = mail_sizes_trusted(house->mail),
		.mounter = MOUNTER,
	};
	looks_init(&house->looks);
	return house;
}

static inline void house_free(struct house *house)
{
	control_free(house->ops.control);
	generated_free(house->ops.generated);
	looks_fini(&house->looks);
	fake_free(house->mail);
	g_free(house);
}

/* ---- a call that waits ---- */

struct call {
	struct mail_waiter waiter; /* must be first */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool done;
	int code;
};

static void call_done(struct mail_waiter *waiter, int code)
{
	struct call *call = (struct call *)waiter;

	pthread_mutex_lock(&call->lock);
	call->done = true;
	call->code = code;
	pthread_cond_signal(&call->changed);
	pthread_mutex_unlock(&call->lock);
}

static inline void call_init(struct call *call)
{
	*call = (struct call){.waiter = {.done = call_done}};
	pthread_mutex_init(&call->lock, NULL);
	pthread_cond_init(&call->changed, NULL);
}

static inline int call_wait(struct call *call)
{
	pthread_mutex_lock(&call->lock);
	while (!call->done)
		pthread_cond_wait(&call->changed, &call->lock);
	call->done = false;
	pthread_mutex_unlock(&call->lock);
	return call->code;
}

static inline int lookup(struct house *house, uint64_t parent, const char *name, struct ops_entry *entry_out)
{
	struct call call;
	int result;

	call_init(&call);
	while ((result = ops_lookup(&house->ops, parent, name, MOUNTER, &call.waiter, entry_out)) == MAIL_PARKED)
		assert_int_equal(call_wait(&call), 0);
	return result;
}

static inline int opendir_now(struct house *house, uint64_t ino, uint64_t *handle_out)
{
	struct call call;
	int result;

	call_init(&call);
	while ((result = ops_opendir(&house->ops, ino, MOUNTER, &call.waiter, handle_out)) == MAIL_PARKED)
		assert_int_equal(call_wait(&call), 0);
	return result;
}

static inline int read_now(
	struct house *house, uint64_t ino, uint64_t offset, size_t length, uint64_t told, GBytes **bytes_out)
{
	struct ops_data data;
	struct call call;
	int result;

	call_init(&call);
	while ((result = ops_read(&house->ops, ino, offset, length, &told, &call.waiter, &data)) == MAIL_PARKED)
		assert_int_equal(call_wait(&call), 0);
	if (result == 0) {
		char *bytes = g_malloc(data.slice.length + 1);

		if (data.slice.memory)
			memcpy(bytes, data.slice.memory, data.slice.length);
		else if (data.slice.length)
			assert_int_equal(pread(data.slice.fd, bytes, data.slice.length, (off_t)data.slice.fd_offset),
				data.slice.length);
		*bytes_out = g_bytes_new_take(bytes, data.slice.length);
		ops_data_fini(&data);
	}
	return result;
}

/* ---- listings ---- */

struct reader {
	GPtrArray *names;
	off_t at;
	unsigned room;
	bool plus;
};

static inline bool reader_add(void *ctx, const struct ops_dirent *dirent)
{
	struct reader *reader = ctx;

	if (!reader->room)
		return false;
	reader->room--;
	/* offsets rise, or a reader that goes on would repeat */
	assert_true(dirent->next > reader->at);
	reader->at = dirent->next;
	g_ptr_array_add(reader->names, g_strdup(dirent->name));
	return true;
}

static inline char *list_all(struct house *house, uint64_t ino)
{
	struct reader reader = {.names = g_ptr_array_new_with_free_func(g_free), .room = 100};
	uint64_t handle;
	char *text;

	assert_int_equal(opendir_now(house, ino, &handle), 0);
	assert_int_equal(ops_readdir(&house->ops, ino, handle, 0, 100, reader_add, &reader), 0);
	g_ptr_array_add(reader.names, NULL);
	text = g_strjoinv(" ", (char **)reader.names->pdata);
	g_ptr_array_unref(reader.names);
	return text;
}
