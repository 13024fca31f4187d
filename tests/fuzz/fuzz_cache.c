/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The cache's files, changed in whatever way. The input is a list of changes to a small cache that was closed in
 * order: 1 octet which file (and what kind of change), 2 octets where, 1 octet how many, then as many octets. Whatever
 * they are, the cache opens, gives the bodies and rows that were stored or none, stores a new one, and finds itself
 * whole when it is opened again. "Whole" means against accidents: sums aren't forged by a fuzzer of our file format.
 */
#include "src/base/log.h"
#include "src/cache/cache.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/base/banned.h"

#define BODIES 12u
#define BODY_BYTES 500u
#define HOST "h"
#define USER "u"
#define FILES_MAX 8

enum { HEAD_BYTES = 4 };

static char *top;
static char *account; /* below it */
static struct {
	char *name;
	GBytes *content;
} files[FILES_MAX];
static unsigned file_count;

static struct cache *open_it(void)
{
	struct cache *cache = NULL;
	struct error err;

	g_assert_cmpint(cache_open(top, HOST, 993, USER, 0, &cache, &err), ==, 0);
	return cache;
}

static struct cache_key key_of(uint32_t uid)
{
	return (struct cache_key){.folder = 1, .uidvalidity = 7, .uid = uid};
}

static GBytes *body_of(uint32_t uid)
{
	char *bytes = g_malloc(BODY_BYTES);

	for (unsigned i = 0; i < BODY_BYTES; i++)
		bytes[i] = (char)(uid * 31 + i * 7);
	return g_bytes_new_take(bytes, BODY_BYTES);
}

static void put(struct cache *cache, uint32_t uid)
{
	struct cache_key key = key_of(uid);
	GBytes *bytes = body_of(uid);

	cache_body_unref(cache_body_put(cache, &key, bytes));
	g_bytes_unref(bytes);
}

static void remember_files(void)
{
	GDir *listing = g_dir_open(account, 0, NULL);

	for (const char *name; (name = g_dir_read_name(listing));) {
		g_autofree char *path = g_build_filename(account, name, NULL);
		char *content;
		gsize length;

		g_assert_true(file_count < FILES_MAX && g_file_get_contents(path, &content, &length, NULL));
		files[file_count].name = g_strdup(name);
		files[file_count++].content = g_bytes_new_take(content, length);
	}
	g_dir_close(listing);
}

static void forget_all(void)
{
	GDir *listing = account ? g_dir_open(account, 0, NULL) : NULL;

	for (const char *name; listing && (name = g_dir_read_name(listing));) {
		g_autofree char *path = g_build_filename(account, name, NULL);

		unlink(path);
	}
	if (listing)
		g_dir_close(listing);
}

static void leave(void)
{
	forget_all();
	rmdir(account);
	rmdir(top);
}

static void prepare(void)
{
	struct cache_folder folder = {.id = 1, .name = (char *)"INBOX", .uidvalidity = 7, .checked_at = 1700000000};
	const char *shm = g_file_test("/dev/shm", G_FILE_TEST_IS_DIR) ? "/dev/shm" : g_get_tmp_dir();
	struct cache_batch *batch;
	struct cache *cache;
	struct error err;
	uint32_t id;

	top = g_strdup_printf("%s/mailtree-fuzz-XXXXXX", shm);
	g_assert_nonnull(g_mkdtemp(top));
	cache = open_it();
	account = g_strdup(cache_path(cache));
	g_assert_cmpint(cache_folder_id(cache, folder.name, &id, &err), ==, 0);
	batch = cache_batch_new(cache, id);
	for (uint32_t uid = 1; uid <= BODIES; uid++) {
		cache_batch_put(
			batch, &(struct cache_message){
				       .uid = uid, .size_bytes = BODY_BYTES, .size_exact = true, .stem = "a_b"});
		put(cache, uid);
	}
	cache_batch_folder(batch, &folder);
	cache_batch_submit(batch);
	cache_close(cache);
	remember_files();
	atexit(leave);
	/* without a line for each damage */
	log_init(LOG_LEVEL_ERROR, LOG_TO_STDERR);
}

static void change(GByteArray **contents, const uint8_t *change, const uint8_t *bytes, size_t length)
{
	GByteArray *content = contents[change[0] % file_count];
	size_t at = (size_t)(change[1] << 8 | change[2]) * 2;

	switch (change[0] >> 6) {
	case 0:
	case 1: /* overwrite */
		for (size_t i = 0; i < length && at + i < content->len; i++)
			content->data[at + i] = bytes[i];
		break;
	case 2: /* insert, or append */
		if (!length)
			break;
		if (at > content->len)
			at = content->len;
		g_byte_array_append(content, bytes, (guint)length);
		memmove(content->data + at + length, content->data + at, content->len - length - at);
		memcpy(content->data + at, bytes, length);
		break;
	default: /* cut */
		g_byte_array_set_size(content, (guint)MIN(at, content->len));
		break;
	}
}

static void lay_out(const uint8_t *data, size_t size)
{
	GByteArray *contents[FILES_MAX];

	forget_all();
	for (unsigned i = 0; i < file_count; i++) {
		gsize length;
		const guint8 *bytes = g_bytes_get_data(files[i].content, &length);

		contents[i] = g_byte_array_new();
		g_byte_array_append(contents[i], bytes, (guint)length);
	}
	while (size > HEAD_BYTES) {
		size_t length = MIN(data[3], size - HEAD_BYTES);

		change(contents, data, data + HEAD_BYTES, length);
		data += HEAD_BYTES + length;
		size -= HEAD_BYTES + length;
	}
	for (unsigned i = 0; i < file_count; i++) {
		g_autofree char *path = g_build_filename(account, files[i].name, NULL);

		g_assert_true(g_file_set_contents_full(
			path, (const char *)contents[i]->data, contents[i]->len, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
		g_byte_array_unref(contents[i]);
	}
}

static void check_message(void *ctx, const struct cache_message *message)
{
	g_assert_true(message->uid >= 1 && message->uid <= BODIES);
	g_assert_cmpuint(message->size_bytes, ==, BODY_BYTES);
	g_assert_cmpstr(message->stem, ==, "a_b");
	++*(unsigned *)ctx;
}

static void check_folder(void *ctx, const struct cache_folder *folder)
{
	unsigned rows = 0;
	struct error err;

	if (!folder->checked_at)
		return;
	g_assert_cmpstr(folder->name, ==, "INBOX");
	g_assert_cmpint(cache_messages_load(ctx, folder->id, check_message, &rows, &err), ==, 0);
	g_assert_cmpuint(rows, ==, BODIES);
}

static void check_body(struct cache *cache, uint32_t uid)
{
	struct cache_key key = key_of(uid);
	struct cache_body *body = NULL;
	GBytes *expected = body_of(uid);
	char found[BODY_BYTES + 1];
	struct error err;

	if (cache_body_get(cache, &key, &body, &err) == 1) {
		g_assert_cmpuint(cache_body_length(body), ==, BODY_BYTES);
		g_assert_cmpint(cache_body_read(body, 0, found, sizeof(found), &err), ==, BODY_BYTES);
		g_assert_cmpmem(found, BODY_BYTES, g_bytes_get_data(expected, NULL), BODY_BYTES);
		cache_body_unref(body);
	}
	g_bytes_unref(expected);
}

static void check(bool repaired)
{
	struct cache *cache = open_it();
	uint64_t checked;
	int64_t damaged;
	struct error err;

	g_assert_cmpint(cache_folders_load(cache, check_folder, cache, &err), ==, 0);
	for (uint32_t uid = 1; uid <= BODIES + 1; uid++)
		check_body(cache, uid);
	put(cache, BODIES + 1);
	check_body(cache, BODIES + 1);
	damaged = cache_verify(cache, &checked, &err);
	g_assert_cmpint(damaged, >=, 0);
	if (repaired)
		g_assert_cmpint(damaged, ==, 0);
	cache_close(cache);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!top)
		prepare();
	lay_out(data, size);
	check(false);
	check(true);
	return 0;
}
